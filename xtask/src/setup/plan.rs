//! What has to be installed, decided from the facts alone. Nothing here looks at the machine.

use std::collections::BTreeMap;
use std::fmt;

use super::machine::{
    BROWSER_TESTS, LINKED_TOOLCHAIN, Linker, Machine, NIGHTLY, ON_DEMAND, SCHEMATHESIS_VERSION,
    TOOLCHAIN_VARIABLE, TOOLS,
};

/// Debian's compiler with a ready-made `core` for BPF. Debian builds it for its browsers and moves
/// it to new releases as they need it, hence no version here.
const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Debian packages, each with its purpose.
    Packages(BTreeMap<String, &'static str>),
    /// Make the distribution's compiler known to rustup.
    LinkToolchain,
    /// Fetch a nightly compiler with the sources of `core`.
    InstallNightly,
    /// Build bpf-linker against this LLVM.
    BuildLinker { llvm_major: u32, why: &'static str },
    /// As above, once the compiler is there to say which LLVM.
    BuildLinkerLater,
    /// Install schemathesis from PyPI into an environment of its own.
    InstallSchemathesis,
    /// Install the library that drives a browser, from npm, as its lock file says.
    InstallPlaywright,
}

/// Steps in the order in which they have to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Why the steps cannot be taken here, and what to do by hand.
    pub(super) obstacle: Option<String>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.obstacle.is_none()
    }

    pub(super) fn needs_root(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Packages(_)))
    }
}

/// Only what is missing, in order.
pub(super) fn plan(machine: &Machine) -> Plan {
    let mut packages: BTreeMap<String, &'static str> = TOOLS
        .iter()
        .chain(ON_DEMAND)
        .filter(|tool| machine.missing_tools.contains(tool.program))
        .map(|tool| (tool.package.to_owned(), tool.purpose))
        .collect();
    let compiler_step = plan_compiler(machine, &mut packages);
    let linker_step = plan_linker(machine, &mut packages);
    let schemathesis_step = plan_schemathesis(machine, &mut packages);
    let obstacle = find_obstacle(machine, &packages);

    let packages = (!packages.is_empty()).then_some(Step::Packages(packages));
    let playwright_step = (!machine.playwright).then_some(Step::InstallPlaywright);
    let steps = packages.into_iter().chain(compiler_step).chain(linker_step);
    let steps = steps.chain(schemathesis_step).chain(playwright_step).collect();
    Plan { steps, obstacle }
}

fn plan_compiler(machine: &Machine, packages: &mut BTreeMap<String, &'static str>) -> Option<Step> {
    if machine.compiler.is_some() {
        return None;
    }
    if machine.distribution_core {
        return Some(Step::LinkToolchain);
    }
    if machine.debian {
        packages.extend(COMPILER_PACKAGES.map(|name| (name.to_owned(), "a Rust compiler for BPF")));
        return Some(Step::LinkToolchain);
    }
    Some(Step::InstallNightly)
}

fn plan_linker(machine: &Machine, packages: &mut BTreeMap<String, &'static str>) -> Option<Step> {
    let why = match (&machine.linker, &machine.compiler) {
        (Linker::Missing, _) => "there is none",
        (Linker::Broken, _) => "the one that is there does not start",
        (Linker::Present { llvm_major: Some(linked), .. }, Some(compiler)) => {
            if *linked == compiler.llvm_major {
                return None;
            }
            "the one that is there was built for another LLVM than the compiler's"
        }
        (Linker::Present { .. }, _) => return None,
    };
    let Some(compiler) = &machine.compiler else {
        return Some(Step::BuildLinkerLater);
    };
    let llvm_major = compiler.llvm_major;
    if machine.debian {
        packages.extend(
            [
                format!("llvm-{llvm_major}-dev"),
                format!("libpolly-{llvm_major}-dev"),
                "libzstd-dev".to_owned(),
                "zlib1g-dev".to_owned(),
                "libxml2-dev".to_owned(),
            ]
            .map(|name| (name, "building bpf-linker")),
        );
        if !machine.has_cxx {
            packages.insert("g++".to_owned(), "building bpf-linker");
        }
    }
    Some(Step::BuildLinker { llvm_major, why })
}

fn plan_schemathesis(
    machine: &Machine,
    packages: &mut BTreeMap<String, &'static str>,
) -> Option<Step> {
    if machine.schemathesis {
        return None;
    }
    if machine.debian && !machine.has_venv {
        packages.insert("python3-venv".to_owned(), "an environment for schemathesis");
    }
    Some(Step::InstallSchemathesis)
}

fn find_obstacle(machine: &Machine, packages: &BTreeMap<String, &'static str>) -> Option<String> {
    if let Some(name) = &machine.unusable_choice {
        return Some(format!(
            "{TOOLCHAIN_VARIABLE} names the toolchain {name}, which is absent or cannot build for \
             BPF (no core for BPF and no rust-src); unset the variable or name another"
        ));
    }
    if !machine.bpffs || !machine.btf {
        return Some(
            "this kernel lacks bpffs or BTF (CONFIG_BPF_SYSCALL, CONFIG_DEBUG_INFO_BTF); boot \
             another one"
                .to_owned(),
        );
    }
    if !machine.debian && !packages.is_empty() {
        let programs: Vec<_> = machine.missing_tools.iter().copied().collect();
        return Some(format!(
            "only Debian's packages are known here, and this is {}; install by hand the programs: \
             {}",
            machine.system_name,
            programs.join(", ")
        ));
    }
    None
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| write!(out, "{step}"))?;
        match &self.obstacle {
            Some(obstacle) => writeln!(out, "  cannot: {obstacle}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(packages) => {
                packages.iter().try_for_each(|(name, why)| writeln!(out, "  package {name}: {why}"))
            }
            Self::LinkToolchain => writeln!(
                out,
                "  rustup toolchain {LINKED_TOOLCHAIN}: a link to the compiler in /usr"
            ),
            Self::InstallNightly => {
                writeln!(out, "  rustup toolchain {NIGHTLY} with rust-src: a compiler for BPF")
            }
            Self::BuildLinker { llvm_major, why } => {
                writeln!(out, "  bpf-linker built for LLVM {llvm_major}: {why}")
            }
            Self::InstallSchemathesis => writeln!(
                out,
                "  schemathesis {SCHEMATHESIS_VERSION} from PyPI under target/tools: it checks the \
                 API against its description"
            ),
            Self::InstallPlaywright => {
                writeln!(
                    out,
                    "  playwright-core from npm in {BROWSER_TESTS}: it drives the browser"
                )
            }
            Self::BuildLinkerLater => writeln!(
                out,
                "  then bpf-linker, with the development files of the LLVM that the compiler says"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::machine::Compiler;
    use super::*;

    fn complete_machine() -> Machine {
        Machine {
            root: true,
            debian: true,
            system_name: "Debian".to_owned(),
            tools_len: TOOLS.len(),
            missing_tools: BTreeSet::new(),
            compiler: Some(Compiler {
                toolchain: LINKED_TOOLCHAIN.to_owned(),
                release: "1.96.0".to_owned(),
                llvm_major: 22,
            }),
            unusable_choice: None,
            distribution_core: true,
            linker: linker(Some(22)),
            has_venv: true,
            schemathesis: true,
            playwright: true,
            has_cxx: true,
            bpffs: true,
            btf: true,
        }
    }

    fn linker(llvm_major: Option<u32>) -> Linker {
        Linker::Present { version: "0.13.0".to_owned(), llvm_major }
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert!(plan(&complete_machine()).is_empty());
    }

    #[test]
    fn a_fresh_debian_gets_its_compiler_first_and_the_linker_later() {
        let machine = Machine {
            compiler: None,
            distribution_core: false,
            linker: Linker::Missing,
            missing_tools: BTreeSet::from(["fio", "nbdinfo", "nbdcopy"]),
            ..complete_machine()
        };
        assert_eq!(
            plan(&machine).to_string(),
            "  package cargo-web: a Rust compiler for BPF\n\
             \x20 package fio: clients that verify every byte\n\
             \x20 package libnbd-bin: clients that ask for a device or copy it\n\
             \x20 package libstd-rust-web-dev-bpf: a Rust compiler for BPF\n\
             \x20 package rustc-web: a Rust compiler for BPF\n\
             \x20 rustup toolchain redirector-bpf: a link to the compiler in /usr\n\
             \x20 then bpf-linker, with the development files of the LLVM that the compiler says\n"
        );
    }

    #[test]
    fn a_program_for_some_commands_only_is_installed_when_it_was_asked_for_and_is_missing() {
        let machine = Machine { missing_tools: BTreeSet::from(["haproxy"]), ..complete_machine() };
        let text = plan(&machine).to_string();
        assert!(text.starts_with("  package haproxy: a peer beside which servers die"), "{text}");
    }

    #[test]
    fn a_linker_for_another_llvm_is_built_again() {
        let machine = Machine { linker: linker(Some(19)), ..complete_machine() };
        let steps = plan(&machine).steps;
        let Some(Step::Packages(packages)) = steps.first() else { panic!("{steps:?}") };
        assert!(packages.contains_key("llvm-22-dev"), "{packages:?}");
        assert!(matches!(steps.get(1), Some(Step::BuildLinker { llvm_major: 22, .. })));
    }

    #[test]
    fn a_linker_with_its_own_llvm_is_left_alone() {
        let machine = Machine { linker: linker(None), ..complete_machine() };
        assert!(plan(&machine).is_empty());
    }

    #[test]
    fn a_compiler_that_is_there_but_unknown_to_rustup_is_only_linked() {
        let machine = Machine { compiler: None, ..complete_machine() };
        assert_eq!(plan(&machine).steps, [Step::LinkToolchain]);
        assert!(!plan(&machine).needs_root());
    }

    #[test]
    fn schemathesis_comes_into_an_environment_that_debian_must_be_able_to_make() {
        let machine = Machine { schemathesis: false, has_venv: false, ..complete_machine() };
        let steps = plan(&machine).steps;
        let Some(Step::Packages(packages)) = steps.first() else { panic!("{steps:?}") };
        assert!(packages.contains_key("python3-venv"), "{packages:?}");
        assert_eq!(steps.last(), Some(&Step::InstallSchemathesis));
    }

    #[test]
    fn the_library_that_drives_a_browser_needs_no_root() {
        let machine = Machine { playwright: false, ..complete_machine() };
        assert_eq!(plan(&machine).steps, [Step::InstallPlaywright]);
        assert!(!plan(&machine).needs_root());
    }

    #[test]
    fn elsewhere_the_programs_to_install_by_hand_are_named() {
        let machine = Machine {
            debian: false,
            system_name: "Fedora Linux".to_owned(),
            missing_tools: BTreeSet::from(["fio", "nbdkit"]),
            ..complete_machine()
        };
        let obstacle = plan(&machine).obstacle.expect("packages are unknown there");
        assert!(obstacle.contains("Fedora Linux"), "{obstacle}");
        assert!(obstacle.ends_with("fio, nbdkit"), "{obstacle}");
    }

    #[test]
    fn a_toolchain_asked_for_by_name_is_not_silently_replaced() {
        let machine = Machine {
            compiler: None,
            unusable_choice: Some("my-rust".to_owned()),
            ..complete_machine()
        };
        assert!(plan(&machine).obstacle.is_some_and(|text| text.contains("my-rust")));
    }
}
