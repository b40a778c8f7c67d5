//! Small on purpose: files, functions, parameter lists, lines, and BPF map names.

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::{Finding, Rule, RustFile};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const PARAMETERS_MAX: usize = 5;
/// The kernel's BPF_OBJ_NAME_LEN is 16 with the final zero.
const MAP_NAME_BYTES_MAX: usize = 15;

const FILE_LENGTH: Rule = Rule {
    name: "file-length",
    reason: "a file is read in one sitting: split it along what its parts are about",
};
const FUNCTION_LENGTH: Rule = Rule {
    name: "function-length",
    reason: "a function fits on one screen: make the cases calls of their own",
};
const LINE_LENGTH: Rule = Rule {
    name: "line-length",
    reason: "two files fit side by side, and rustfmt does not wrap comments and strings",
};
const PARAMETERS: Rule = Rule {
    name: "parameters",
    reason: "arguments in a long row get swapped: give them a struct with names",
};
const MODULE_DOC: Rule =
    Rule { name: "module-doc", reason: "a file opens with `//!`: what it is and what it is not" };
const MAP_NAME: Rule = Rule {
    name: "map-name",
    reason: "the kernel cuts longer names, and a cut name is not found again at a reload",
};

pub(super) fn check(file: &RustFile, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//!") {
        findings.push(file.finding(1, &MODULE_DOC, "the first line is not `//!`".to_owned()));
    }
    check_lines(file, findings);
    let mut sizes = Sizes { file, findings };
    sizes.visit_file(&file.syntax);
}

fn check_lines(file: &RustFile, findings: &mut Vec<Finding>) {
    let lines_len = file.text.lines().count();
    if lines_len > FILE_LINES_MAX && !is_data(file) {
        let what = format!("{lines_len} lines, at most {FILE_LINES_MAX}");
        findings.push(file.finding(lines_len, &FILE_LENGTH, what));
    }
    for (index, line) in file.text.lines().enumerate() {
        let columns_len = line.chars().count();
        if columns_len > LINE_COLUMNS_MAX && !is_data(file) {
            let what = format!("{columns_len} columns, at most {LINE_COLUMNS_MAX}");
            findings.push(file.finding(index + 1, &LINE_LENGTH, what));
        }
    }
}

/// Fixtures and generated files are not read from top to bottom.
fn is_data(file: &RustFile) -> bool {
    file.path.contains("/fixtures/") || file.text.contains("\n// @generated")
}

/// Visits every function and every static, at any depth.
struct Sizes<'a> {
    file: &'a RustFile,
    findings: &'a mut Vec<Finding>,
}

impl Sizes<'_> {
    fn check_function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let lines_len = last_line(body.brace_token.span.close()) - line + 1;
        let name = &signature.ident;
        if lines_len > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines_len} lines, at most {FUNCTION_LINES_MAX}");
            self.findings.push(self.file.finding(line, &FUNCTION_LENGTH, what));
        }
        let is_named = |argument: &&syn::FnArg| matches!(argument, syn::FnArg::Typed(_));
        let parameters_len = signature.inputs.iter().filter(is_named).count();
        if parameters_len > PARAMETERS_MAX {
            let what =
                format!("`{name}` takes {parameters_len} parameters, at most {PARAMETERS_MAX}");
            self.findings.push(self.file.finding(line, &PARAMETERS, what));
        }
    }

    fn check_map(&mut self, item: &syn::ItemStatic) {
        for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("map")) {
            let mut name = item.ident.to_string();
            if let syn::Meta::List(list) = &attribute.meta
                && let Ok(syn::MetaNameValue { value: syn::Expr::Lit(literal), .. }) =
                    list.parse_args()
                && let syn::Lit::Str(text) = literal.lit
            {
                name = text.value();
            }
            if name.len() > MAP_NAME_BYTES_MAX {
                let what =
                    format!("`{name}` has {} bytes, at most {MAP_NAME_BYTES_MAX}", name.len());
                self.findings.push(self.file.finding(item.span().start().line, &MAP_NAME, what));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Sizes<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check_function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check_function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.check_function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.check_map(item);
        visit::visit_item_static(self, item);
    }
}

fn last_line(span: Span) -> usize {
    span.end().line
}

#[cfg(test)]
mod tests {
    use super::super::source::findings_of;
    use super::*;

    #[test]
    fn a_file_without_an_opening_comment_is_found() {
        assert_eq!(
            findings_of("a.rs", "fn f() {}\n", check),
            ["1: module-doc: the first line is not `//!`"]
        );
    }

    #[test]
    fn a_file_of_401_lines_is_one_too_long() {
        let fits = format!("//! A.\n{}", "\n".repeat(399));
        assert_eq!(findings_of("a.rs", &fits, check), [""; 0]);
        let found = findings_of("a.rs", &format!("{fits}\n"), check);
        assert_eq!(found, ["401: file-length: 401 lines, at most 400"]);
        assert_eq!(findings_of("a/fixtures/b.rs", &format!("{fits}\n"), check), [""; 0]);
    }

    #[test]
    fn a_method_of_71_lines_is_one_too_long() {
        let source = |lines: usize| {
            format!("//! A.\nimpl A {{\n    fn f() {{{}    }}\n}}\n", "\n".repeat(lines - 1))
        };
        assert_eq!(findings_of("a.rs", &source(70), check), [""; 0]);
        let found = findings_of("a.rs", &source(71), check);
        assert_eq!(found, ["3: function-length: `f` has 71 lines, at most 70"]);
    }

    #[test]
    fn a_long_line_is_found_even_in_a_comment() {
        let text = format!("//! A.\n// {}\n", "x".repeat(98));
        let found = findings_of("a.rs", &text, check);
        assert_eq!(found, ["2: line-length: 101 columns, at most 100"]);
    }

    #[test]
    fn six_parameters_are_too_many_and_self_is_none() {
        let text = "//! A.\nimpl A { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }\n\
                    fn g(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}\n";
        let found = findings_of("a.rs", text, check);
        assert_eq!(found, ["3: parameters: `g` takes 6 parameters, at most 5"]);
    }

    #[test]
    fn a_map_is_judged_by_the_name_the_kernel_sees() {
        let text = "//! A.\n#[map]\nstatic A_NAME_THAT_IS_CUT: u8 = 0;\n\
                    #[map(name = \"short\")]\nstatic A_NAME_THAT_IS_FREE: u8 = 0;\n";
        let found = findings_of("a.rs", text, check);
        assert_eq!(found, ["2: map-name: `A_NAME_THAT_IS_CUT` has 18 bytes, at most 15"]);
    }
}
