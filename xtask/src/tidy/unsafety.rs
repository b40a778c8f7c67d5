//! Unsafe code has few homes, and this is their list.

use super::source::{Finding, Rule, RustFile};

const UNSAFE_HOME: Rule = Rule {
    name: "unsafe-home",
    reason: "unsafe code stays in few files, read with care: xtask/src/tidy/unsafety.rs lists them",
};

/// How much of the word a home may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Code,
    /// Only attributes such as `#[unsafe(no_mangle)]`.
    Attributes,
}

struct Home {
    path: &'static str,
    extent: Extent,
    /// For the reader of this table.
    #[expect(dead_code, reason = "an exception without a reason is not an exception")]
    why: &'static str,
}

const fn home(path: &'static str, extent: Extent, why: &'static str) -> Home {
    Home { path, extent, why }
}

const HOMES: &[Home] = &[
    home("redirector-ebpf/src/frame.rs", Extent::Code, "the only file that touches packet memory"),
    home("redirector-ebpf/src/maps.rs", Extent::Code, "map values are pointers into the kernel"),
    home("redirector-ebpf/src/tables.rs", Extent::Code, "likewise, read as the decision's tables"),
    home(
        "redirector-ebpf/src/route.rs",
        Extent::Code,
        "the routing table is asked by a BPF helper",
    ),
    home("redirector-ebpf/src/latest.rs", Extent::Code, "lines of this CPU"),
    home("redirector-ebpf/src/recall.rs", Extent::Code, "a frame is copied by a BPF helper"),
    home("redirector-ebpf/src/recorder.rs", Extent::Code, "frames are copied by a BPF helper"),
    home("redirector-ebpf/src/response.rs", Extent::Code, "counters of this CPU, and BPF helpers"),
    home("redirector-ebpf/src/step.rs", Extent::Code, "global functions, and the redirect helper"),
    home("redirector-ebpf/src/clock.rs", Extent::Code, "time comes from BPF helpers"),
    home("redirector-ebpf/src/ticks.rs", Extent::Code, "likewise, in a program of its own"),
    home("redirector-ebpf/src/lab/host.rs", Extent::Code, "programs of the lab's end hosts"),
    home("redirector-ebpf/src/lab/main.rs", Extent::Code, "the benchmark's own small programs"),
    home("redirector-ebpf/src/lab/floors.rs", Extent::Code, "the benchmark's own small programs"),
    home("redirector-ebpf/src/lab/live.rs", Extent::Code, "the benchmark's own small programs"),
    home("redirector-ebpf/src/lab/lower_bound.rs", Extent::Code, "likewise: packets and a map"),
    home("redirector-ebpf/src/main.rs", Extent::Attributes, "the licence's section"),
    home("redirector-ctl/src/platform/tables/raw.rs", Extent::Code, "mapped memory and one `Pod`"),
    home("tests/src/xdp_pass.rs", Extent::Code, "bpf(2), for a program of two instructions"),
];

pub(super) fn check(file: &RustFile, findings: &mut Vec<Finding>) {
    let extent = HOMES.iter().find(|home| home.path == file.path).map(|home| home.extent);
    if extent == Some(Extent::Code) {
        return;
    }
    for pair in file.tokens.windows(2) {
        let is_unsafe = pair[0].word() == Some("unsafe");
        let is_attribute = pair[1].is_mark('(');
        if is_unsafe && !(is_attribute && extent == Some(Extent::Attributes)) {
            findings.push(file.finding(pair[0].line, &UNSAFE_HOME, "`unsafe` here".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::findings_of;
    use super::*;

    #[test]
    fn unsafe_outside_its_homes_is_found() {
        let text = "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        let found = findings_of("redirector-ctl/src/daemon.rs", text, check);
        assert_eq!(found, ["2: unsafe-home: `unsafe` here"]);
        assert_eq!(findings_of("redirector-ebpf/src/frame.rs", text, check), [""; 0]);
    }

    #[test]
    fn the_programs_main_file_has_unsafe_attributes_only() {
        let text = "#[unsafe(no_mangle)]\nstatic A: u8 = 0;\nunsafe fn g() {}\n";
        let found = findings_of("redirector-ebpf/src/main.rs", text, check);
        assert_eq!(found, ["3: unsafe-home: `unsafe` here"]);
    }
}
