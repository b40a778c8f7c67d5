//! What this machine has: facts only, gathered without changing anything.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

/// The toolchain name under which a distribution's compiler is linked; redirector-ctl/build.rs
/// looks for the same one.
pub(super) const LINKED_TOOLCHAIN: &str = "redirector-bpf";
pub(super) const NIGHTLY: &str = "nightly";
/// Overrides the search here and in redirector-ctl/build.rs.
pub(super) const TOOLCHAIN_VARIABLE: &str = "REDIRECTOR_BPF_TOOLCHAIN";
/// Where a distribution puts its own compiler.
pub(super) const DISTRIBUTION_PREFIX: &str = "/usr";
/// Where the tests of the dashboard and their npm lock file are.
pub(super) const BROWSER_TESTS: &str = "tests/ui";
/// The system's Python: one of the user's may be of any version.
pub(super) const PYTHON: &str = "/usr/bin/python3";
/// From PyPI; a later one may find more.
pub(super) const SCHEMATHESIS_VERSION: &str = "4.32.5";
const BPF_TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// A program that harness, demo or build start, and the Debian package that brings it. Debian
/// starts the services of tgt, nfs-ganesha, rpcbind and samba when it installs them; the harness
/// needs only their programs and starts its own, each in a namespace.
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
    pub(super) purpose: &'static str,
}

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { program, package, purpose }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("ip", "iproute2", "network namespaces, links and sockets"),
    tool("ss", "iproute2", "network namespaces, links and sockets"),
    tool("nsenter", "util-linux", "entering namespaces, ending helpers with their starter"),
    tool("unshare", "util-linux", "entering namespaces, ending helpers with their starter"),
    tool("setpriv", "util-linux", "entering namespaces, ending helpers with their starter"),
    tool("kill", "procps", "taking a server away without warning"),
    tool("ethtool", "ethtool", "checksum offload of the end hosts' links"),
    tool("nbdkit", "nbdkit", "the storage behind the servers"),
    tool("qemu-nbd", "qemu-utils", "the servers' NBD exports"),
    tool("fio", "fio", "clients that verify every byte"),
    tool("nbdinfo", "libnbd-bin", "clients that ask for a device or copy it"),
    tool("nbdcopy", "libnbd-bin", "clients that ask for a device or copy it"),
    tool("tgtd", "tgt", "an iSCSI server for checks (its service may be disabled)"),
    tool("tgtadm", "tgt", "an iSCSI server for checks (its service may be disabled)"),
    tool(
        "ganesha.nfsd",
        "nfs-ganesha-mem",
        "an NFS server for checks (its service may be disabled)",
    ),
    tool(
        "rpcbind",
        "rpcbind",
        "where the NFS server registers itself (its service may be disabled)",
    ),
    tool("smbd", "samba", "an SMB server for checks (its service may be disabled)"),
    tool("iperf3", "iperf3", "bulk transfers between end hosts"),
    tool("dnsmasq", "dnsmasq-base", "a DNS and TFTP server behind a device"),
    tool("dig", "bind9-dnsutils", "a DNS client"),
    tool("curl", "curl", "a TFTP client"),
    tool("ping", "iputils-ping", "echo requests to service addresses"),
    tool("traceroute", "traceroute", "the way to service addresses"),
    tool("nft", "nftables", "connection tracking on the way of a RST"),
    tool("python3", "python3", "an HTTP server for checks"),
    tool(
        "prometheus-node-exporter",
        "prometheus-node-exporter",
        "the servers' figures about their load (its service may be disabled)",
    ),
    tool("nft", "nftables", "what the kernel has for the same work, for the benchmark"),
    tool(
        "promtool",
        "prometheus",
        "checks of metrics and alert rules (its service may be disabled)",
    ),
    tool("script", "bsdutils", "a terminal for the live view"),
    tool("strace", "strace", "the daemon's system calls, beside those that its unit allows"),
    tool("systemd-analyze", "systemd", "judging the daemon's unit, and starting it in namespaces"),
    tool("tshark", "tshark", "another reader of the flight recorder's dumps"),
    tool("chromium", "chromium", "the browser that looks at the dashboard"),
    tool("node", "nodejs", "drives the browser"),
    tool("npm", "npm", "brings what drives the browser"),
];

/// Programs that only some commands start: installed when one of these asks for them.
pub(super) const ON_DEMAND: &[Tool] =
    &[tool("haproxy", "haproxy", "a peer beside which servers die (its service may be disabled)")];

/// A compiler that can build for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    /// What rustup calls it.
    pub(super) toolchain: String,
    /// Its release, for example `1.96.0`.
    pub(super) release: String,
    pub(super) llvm_major: u32,
}

/// The state of bpf-linker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Linker {
    Missing,
    /// It is there but does not start: its LLVM library has gone.
    Broken,
    /// It runs; `llvm_major` is unknown when LLVM is linked into it, as in the released binaries.
    Present {
        version: String,
        llvm_major: Option<u32>,
    },
}

/// The facts.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) root: bool,
    /// apt-get is there and the system says that it is Debian or made from it.
    pub(super) debian: bool,
    /// The name the system gives itself.
    pub(super) system_name: String,
    /// How many programs were asked for.
    pub(super) tools_len: usize,
    /// Those of them that are not on PATH.
    pub(super) missing_tools: BTreeSet<&'static str>,
    /// What the build script will use.
    pub(super) compiler: Option<Compiler>,
    /// A toolchain that the user asked for by name and that cannot build for BPF.
    pub(super) unusable_choice: Option<String>,
    /// The distribution's compiler has a core for BPF, linked into rustup or not.
    pub(super) distribution_core: bool,
    pub(super) linker: Linker,
    /// Python can make environments of its own, which Debian has in a package apart.
    pub(super) has_venv: bool,
    /// The program that checks answers against the API's description, in an environment of its own.
    pub(super) schemathesis: bool,
    /// The library that drives a browser, as [`BROWSER_TESTS`] locks it.
    pub(super) playwright: bool,
    /// `c++` is there: bpf-linker needs its run-time library to link.
    pub(super) has_cxx: bool,
    /// The kernel knows bpffs, where programs and tables are pinned.
    pub(super) bpffs: bool,
    /// The kernel describes its types, which attaching needs.
    pub(super) btf: bool,
}

impl Machine {
    /// Looks around, for [`TOOLS`] and for those [`ON_DEMAND`] that are named; takes a fraction of
    /// a second.
    pub(super) fn survey(on_demand: &[&str]) -> Self {
        let asked = ON_DEMAND.iter().filter(|tool| on_demand.contains(&tool.program));
        let tools: Vec<&Tool> = TOOLS.iter().chain(asked).collect();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let choice = env::var(TOOLCHAIN_VARIABLE).ok();
        let compiler = match &choice {
            Some(name) => inspect_toolchain(name),
            None => [LINKED_TOOLCHAIN, NIGHTLY].iter().find_map(|name| inspect_toolchain(name)),
        };
        Self {
            root: run::is_root(),
            debian: is_debian(&release) && run::find_in_path("apt-get").is_some(),
            system_name: os_release_field(&release, "PRETTY_NAME").unwrap_or("unknown").to_owned(),
            tools_len: tools.len(),
            missing_tools: tools
                .iter()
                .map(|tool| tool.program)
                .filter(|program| run::find_in_path(program).is_none())
                .collect(),
            unusable_choice: choice.filter(|_| compiler.is_none()),
            compiler,
            distribution_core: has_bpf_core(Path::new(DISTRIBUTION_PREFIX))
                && Path::new(DISTRIBUTION_PREFIX).join("bin/rustc").exists(),
            linker: inspect_linker(),
            has_venv: run::ask(Command::new(PYTHON).args(["-c", "import ensurepip"])).is_some(),
            schemathesis: has_schemathesis(),
            playwright: has_playwright(),
            has_cxx: run::find_in_path("c++").is_some(),
            bpffs: fs::read_to_string("/proc/filesystems")
                .is_ok_and(|list| list.lines().any(|line| line.ends_with("\tbpf"))),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        }
    }

    /// The choice in one line.
    pub(super) fn summary(&self) -> String {
        let compiler = match &self.compiler {
            Some(compiler) => compiler.to_string(),
            None => "no BPF compiler".to_owned(),
        };
        format!("{compiler}; {}", self.linker)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_or_no = |yes: bool| if yes { "yes" } else { "no" };
        writeln!(out, "  system        {}", self.system_name)?;
        writeln!(out, "  root          {}", yes_or_no(self.root))?;
        match &self.compiler {
            Some(compiler) => writeln!(out, "  BPF compiler  {compiler}")?,
            None => writeln!(out, "  BPF compiler  none")?,
        }
        writeln!(out, "  bpf-linker    {}", self.linker)?;
        let present_len = self.tools_len.saturating_sub(self.missing_tools.len());
        write!(out, "  programs      {present_len} of {}", self.tools_len)?;
        if !self.missing_tools.is_empty() {
            let names: Vec<_> = self.missing_tools.iter().copied().collect();
            write!(out, ", without {}", names.join(", "))?;
        }
        write!(out, "\n  schemathesis  {}", yes_or_no(self.schemathesis))?;
        write!(out, "\n  playwright    {}", yes_or_no(self.playwright))?;
        writeln!(
            out,
            "\n  kernel        bpffs {}, BTF {}",
            yes_or_no(self.bpffs),
            yes_or_no(self.btf)
        )
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { toolchain, release, llvm_major } = self;
        write!(out, "rustc {release} with LLVM {llvm_major}, toolchain {toolchain}")
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(out, "no bpf-linker"),
            Self::Broken => write!(out, "bpf-linker that does not start: its LLVM has gone"),
            Self::Present { version, llvm_major: Some(major) } => {
                write!(out, "{version} with LLVM {major}")
            }
            Self::Present { version, llvm_major: None } => {
                write!(out, "{version} with its own LLVM")
            }
        }
    }
}

/// What a rustup toolchain is good for: `None` when it is absent or cannot build for BPF.
fn inspect_toolchain(name: &str) -> Option<Compiler> {
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(["run", name, "rustc"]).args(arguments);
        // Asking about a toolchain must not install it.
        run::ask(command.env("RUSTUP_AUTO_INSTALL", "0"))
    };
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
    let has_sources = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    if !has_bpf_core(&sysroot) && !has_sources {
        return None;
    }
    let (release, llvm_major) = parse_rustc_version(&rustc(&["--version", "--verbose"])?)?;
    Some(Compiler { toolchain: name.to_owned(), release, llvm_major })
}

fn has_bpf_core(prefix: &Path) -> bool {
    prefix.join("lib/rustlib").join(BPF_TARGET).join("lib").is_dir()
}

/// Release and LLVM major from `rustc --version --verbose`.
fn parse_rustc_version(text: &str) -> Option<(String, u32)> {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let llvm_major = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((field("release:")?.to_owned(), llvm_major))
}

fn inspect_linker() -> Linker {
    let Some(path) = run::find_in_path("bpf-linker") else {
        return Linker::Missing;
    };
    let Some(version) = run::ask(Command::new(&path).arg("--version")) else {
        return Linker::Broken;
    };
    let version = version.trim().trim_start_matches("bpf-linker ").to_owned();
    let libraries = run::ask(Command::new("ldd").arg(&path)).unwrap_or_default();
    Linker::Present { version, llvm_major: parse_llvm_library(&libraries) }
}

/// The LLVM major in ldd's listing: Debian names the library `libLLVM.so.22.1`, others
/// `libLLVM-22.so`.
fn parse_llvm_library(libraries: &str) -> Option<u32> {
    let name = libraries.split_whitespace().find(|word| word.starts_with("libLLVM"))?;
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether the pinned version is there and starts.
fn has_schemathesis() -> bool {
    let said = run::ask(Command::new(schemathesis_dir().join("bin/schemathesis")).arg("--version"));
    said.is_some_and(|said| said.trim_end().ends_with(SCHEMATHESIS_VERSION))
}

/// The environment that has it.
pub(super) fn schemathesis_dir() -> PathBuf {
    run::workspace_dir().join("target/tools/schemathesis")
}

/// Whether npm has installed what the lock file says: it keeps a copy of what it installed.
fn has_playwright() -> bool {
    let dir = run::workspace_dir().join(BROWSER_TESTS);
    let version = |file: &str| {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        let (_, package) = text.split_once("\"node_modules/playwright-core\": {")?;
        Some(package.lines().find(|line| line.contains("\"integrity\""))?.trim().to_owned())
    };
    let wanted = version("package-lock.json");
    wanted.is_some() && wanted == version("node_modules/.package-lock.json")
}

fn is_debian(os_release: &str) -> bool {
    let is_listed = |field| {
        os_release_field(os_release, field)
            .is_some_and(|names| names.split_whitespace().any(|name| name == "debian"))
    };
    is_listed("ID") || is_listed("ID_LIKE")
}

fn os_release_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_llvm_is_read_from_its_own_words() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
                    binary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_rustc_version(text), Some(("1.96.0".to_owned(), 22)));
        assert_eq!(parse_rustc_version("gcc 12"), None);
    }

    #[test]
    fn the_linkers_llvm_is_read_from_its_libraries() {
        let debian = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7f9a70600000)";
        assert_eq!(parse_llvm_library(debian), Some(22));
        assert_eq!(parse_llvm_library("\tlibLLVM-19.so.1 => /usr/lib/libLLVM-19.so.1"), Some(19));
        assert_eq!(parse_llvm_library("\tstatically linked"), None);
    }

    #[test]
    fn a_derived_system_counts_as_debian() {
        assert!(is_debian("ID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nID_LIKE=\"rhel\"\n"));
    }
}
