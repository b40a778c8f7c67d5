//! Who may know whom: the layers of the house as a table of what each may not name.

use super::source::{Finding, Rule, RustFile};
use super::tokens::{self, PathName};

const LAYERING: Rule =
    Rule { name: "layering", reason: "who may know whom is what keeps a change in one place" };

/// What the files below one directory may not name, outside their tests.
struct Layer {
    /// A directory or file, by its beginning.
    home: &'static str,
    /// Paths that are forbidden with everything below them.
    never_below: &'static [&'static str],
    /// Paths that are forbidden however they are imported, by their last segments.
    never_ending: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        home: "redirector-common/src/",
        never_below: &["std", "aya", "aya_ebpf", "redirector_ctl", "redirector_ebpf", "tokio"],
        never_ending: &[],
        why: "the shared crate runs in the kernel too and knows nobody",
    },
    Layer {
        home: "redirector-ebpf/src/",
        never_below: &["std", "aya", "redirector_ctl", "tokio"],
        never_ending: &[],
        why: "the kernel program knows only the shared crate and aya-ebpf",
    },
    Layer {
        home: "redirector-ctl/src/core",
        never_below: &[
            "crate::platform",
            "crate::daemon",
            "crate::api",
            "crate::cli",
            "crate::config",
            "aya",
            "axum",
            "reqwest",
            "rtnetlink",
            "tokio",
            "futures",
            "std::fs",
            "std::process",
            "std::thread",
            "std::env",
        ],
        never_ending: &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "Instant::now",
            "SystemTime::now",
        ],
        why: "core is pure: time, randomness and I/O are its arguments",
    },
    Layer {
        home: "redirector-ctl/src/platform",
        never_below: &["crate::daemon", "crate::api", "crate::cli", "crate::config", "axum"],
        never_ending: &[],
        why: "platform does what it is told and makes no choices",
    },
    Layer {
        home: "redirector-ctl/src/api",
        // What the tables measured are values that the API shows; the tables themselves are not.
        never_below: &["crate::platform::bpf", "crate::platform::tables::raw", "crate::cli", "aya"],
        never_ending: &["Tables"],
        why: "api speaks to the daemon's handle and never touches a map",
    },
    Layer {
        home: "redirector-ctl/src/cli",
        never_below: &["crate::daemon", "crate::platform", "crate::core", "aya"],
        never_ending: &[],
        why: "cli speaks HTTP like anybody else and knows only the API's wire types",
    },
    Layer {
        home: "redirector-ctl/src/config",
        never_below: &["crate::daemon", "crate::platform", "crate::api", "crate::cli", "tokio"],
        never_ending: &[],
        why: "a configuration is text that becomes values",
    },
    Layer {
        home: "xtask/",
        never_below: &["redirector_common", "redirector_ctl", "redirector_tests"],
        never_ending: &[],
        why: "xtask must build and run when the product does not",
    },
];

pub(super) fn check(file: &RustFile, findings: &mut Vec<Finding>) {
    let Some(layer) = LAYERS.iter().find(|layer| file.path.starts_with(layer.home)) else {
        return;
    };
    if file.is_test() {
        return;
    }
    let module = module_of(&file.path);
    for path in tokens::paths(&tokens::without_tests(&file.tokens)) {
        let segments = absolute(&path, &module);
        if let Some(forbidden) = forbidden_by(layer, &segments) {
            let what = format!("`{forbidden}` is not for {}: {}", layer.home, layer.why);
            findings.push(file.finding(path.line, &LAYERING, what));
        }
    }
}

fn forbidden_by(layer: &Layer, segments: &[String]) -> Option<&'static str> {
    let is_below = |rule: &str| {
        let rule: Vec<_> = rule.split("::").collect();
        // A single word is a crate only where a path or an import follows, never a local name.
        segments.len() > 1 && segments.len() >= rule.len() && segments.iter().zip(&rule).all(eq)
    };
    let is_ending = |rule: &str| {
        let rule: Vec<_> = rule.split("::").collect();
        segments.len() >= rule.len() && segments.iter().rev().zip(rule.iter().rev()).all(eq)
    };
    let below = layer.never_below.iter().copied().find(|rule| is_below(rule));
    below.or_else(|| layer.never_ending.iter().copied().find(|rule| is_ending(rule)))
}

fn eq((segment, wanted): (&String, &&str)) -> bool {
    segment == wanted
}

/// `super` and `self` resolved against the file's own module. Modules inside the file are not
/// counted: their `super` ends up one level too high, which is never a layer's name.
fn absolute(path: &PathName, module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut segments = path.segments.as_slice();
    let is_relative = matches!(segments.first().map(String::as_str), Some("super" | "self"));
    while let Some((first, rest)) = segments.split_first() {
        match first.as_str() {
            "super" => {
                base.pop();
            }
            "self" if segments.len() == path.segments.len() => {}
            _ => break,
        }
        segments = rest;
    }
    if is_relative { [&base, segments].concat() } else { path.segments.clone() }
}

/// `redirector-ctl/src/core/plan.rs` is `crate::core::plan`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let inside = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    let names = inside.split('/').filter(|name| !matches!(*name, "lib" | "main"));
    std::iter::once("crate").chain(names).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::findings_of;
    use super::*;

    const CORE: &str = "redirector-ctl/src/core/plan.rs";

    fn lines(path: &str, text: &str) -> Vec<String> {
        findings_of(path, text, check)
            .iter()
            .map(|text| text.split(" is not").next().unwrap_or(text).to_owned())
            .collect()
    }

    #[test]
    fn core_may_not_know_the_platform_however_it_says_it() {
        for text in [
            "use crate::platform::tables::Tables;",
            "use crate::{core::spec, platform};",
            "use super::super::platform;",
            "fn f() { crate::platform::probe::probe(); }",
        ] {
            assert_eq!(lines(CORE, text), ["1: layering: `crate::platform`"], "{text}");
        }
    }

    #[test]
    fn core_reads_no_clock_and_opens_no_file() {
        let text = "use std::time::Instant;\nfn f() { Instant::now(); }\nuse std::{fs, io};\n";
        let found = lines(CORE, text);
        assert_eq!(found, ["2: layering: `Instant::now`", "3: layering: `std::fs`"]);
    }

    #[test]
    fn core_may_know_core_and_its_tests_may_read_files() {
        let text = "use super::spec::Spec;\nuse crate::core::op;\nfn f(std: u8, tokio: u8) {}\n\
                    #[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(lines(CORE, text), [""; 0]);
    }

    #[test]
    fn cli_may_not_know_the_daemon() {
        let found = lines("redirector-ctl/src/cli/mod.rs", "use crate::daemon::DaemonHandle;");
        assert_eq!(found, ["1: layering: `crate::daemon`"]);
    }

    #[test]
    fn api_may_not_touch_a_map() {
        let found = lines(
            "redirector-ctl/src/api/mod.rs",
            "use crate::platform::{tables::{Count, Tables}};",
        );
        assert_eq!(found, ["1: layering: `Tables`"]);
    }

    #[test]
    fn a_file_that_is_no_layer_is_free() {
        assert_eq!(lines("redirector-ctl/src/main.rs", "use tokio::net;"), [""; 0]);
    }
}
