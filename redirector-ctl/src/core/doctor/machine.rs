//! Rules about the machine: its kernel, what this process may do, the BPF file system.

use super::{Facts, Finding, Machine, Verdict};

/// `xdp.frags` and test runs with live frames.
const KERNEL_MIN: (u32, u32) = (5, 18);
/// From here on tables are accounted to the cgroup and no longer locked memory.
const KERNEL_WITHOUT_MEMLOCK: (u32, u32) = (5, 11);
/// Clock sources that take some nanoseconds to read.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"];
const MACHINE: &str = "machine";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut findings = vec![kernel(machine), btf(machine), bpffs(machine), capabilities(machine)];
    findings.extend([lockdown(machine), memlock(machine), clock(machine), conntrack(machine)]);
    findings.push(forwarding(facts));
    findings
}

/// Major and minor number of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel(machine: &Machine) -> Finding {
    let release = &machine.kernel;
    let good = Finding::good("kernel", MACHINE, format!("Linux {release}"));
    match version(release) {
        Some(found) if found >= KERNEL_MIN => good,
        Some(_) => good.bad(
            Verdict::Fault,
            format!("Linux {release} has no xdp.frags and no live test runs"),
            format!("boot a kernel of {}.{} or later", KERNEL_MIN.0, KERNEL_MIN.1),
        ),
        None => good.bad(
            Verdict::Note,
            format!("the release {release:?} cannot be read as a version"),
            format!("make sure that it is {}.{} or later", KERNEL_MIN.0, KERNEL_MIN.1),
        ),
    }
}

fn btf(machine: &Machine) -> Finding {
    let good = Finding::good("btf", MACHINE, "the kernel describes its types");
    if machine.btf {
        return good;
    }
    let remedy = "boot a kernel with CONFIG_DEBUG_INFO_BTF, as distributions' kernels have it";
    good.bad(Verdict::Fault, "there is no /sys/kernel/btf/vmlinux", remedy)
}

fn bpffs(machine: &Machine) -> Finding {
    let dir = &machine.bpffs_dir;
    let good = Finding::good("bpffs", MACHINE, format!("{dir} is on a BPF file system"));
    if machine.bpffs {
        return good;
    }
    good.bad(
        Verdict::Fault,
        format!("{dir} is not on a BPF file system, or may not be looked at"),
        "mount -t bpf bpf /sys/fs/bpf, or set redirector.bpffs_dir to a directory on one",
    )
}

fn capabilities(machine: &Machine) -> Finding {
    let good = Finding::good("capabilities", MACHINE, "all that the daemon needs are there");
    if machine.lacking.is_empty() {
        return good;
    }
    let lacking = machine.lacking.iter().map(|(name, purpose)| format!("{name} (to {purpose})"));
    good.bad(
        Verdict::Fault,
        format!("missing: {}", lacking.collect::<Vec<_>>().join(", ")),
        "start the daemon, and this command, as root or as the unit in deploy/systemd does",
    )
}

fn lockdown(machine: &Machine) -> Finding {
    let mode = machine.lockdown.as_deref().unwrap_or("none");
    let good = Finding::good("lockdown", MACHINE, format!("lockdown: {mode}"));
    if mode != "confidentiality" {
        return good;
    }
    good.bad(
        Verdict::Fault,
        "lockdown in mode confidentiality forbids programs to read kernel memory",
        "boot with lockdown=integrity",
    )
}

fn memlock(machine: &Machine) -> Finding {
    let good = Finding::good("memlock", MACHINE, "tables are not bounded by locked memory");
    let counts = version(&machine.kernel).is_some_and(|found| found < KERNEL_WITHOUT_MEMLOCK);
    match machine.memlock_bytes {
        Some(bytes) if counts => good.bad(
            Verdict::Fault,
            format!("at most {bytes} bytes of memory may be locked, and tables are locked memory"),
            "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited",
        ),
        _ => good,
    }
}

fn clock(machine: &Machine) -> Finding {
    let Some(source) = &machine.clock_source else {
        return Finding::good("clock", MACHINE, "the kernel's clock source").bad(
            Verdict::Note,
            "the kernel's clock source cannot be seen",
            "look into /sys/devices/system/clocksource/clocksource0/current_clocksource",
        );
    };
    let good = Finding::good("clock", MACHINE, format!("clock source {source}"));
    if FAST_CLOCKS.contains(&source.as_str()) {
        return good;
    }
    good.bad(
        Verdict::Warning,
        format!("clock source {source} takes a microsecond or more to read, for each new flow"),
        "find out why the kernel does not trust the TSC (dmesg), or boot with tsc=reliable",
    )
}

fn conntrack(machine: &Machine) -> Finding {
    let good = Finding::good("conntrack", MACHINE, "no connections are tracked here");
    match machine.tracked_len {
        None | Some(0) => good,
        Some(len) => good.bad(
            Verdict::Note,
            format!("the kernel tracks {len} connections, and does not see redirected packets"),
            "let no rule with `ct state` judge packets of service addresses: what passes to the \
             kernel of them looks invalid to it",
        ),
    }
}

fn forwarding(facts: &Facts) -> Finding {
    let good = Finding::good("ip_forward", MACHINE, "the kernel forwards IPv4 packets");
    if facts.machine.ip_forward {
        return good;
    }
    let remedy = "sysctl -w net.ipv4.ip_forward=1, and keep it in /etc/sysctl.d";
    let detail = "the kernel does not forward IPv4 packets";
    if facts.stateless {
        return good.bad(
            Verdict::Fault,
            format!("{detail}: answers of servers of `stateless` devices pass unrewritten"),
            remedy,
        );
    }
    if !facts.nat {
        return Finding::good("ip_forward", MACHINE, format!("{detail}, and nothing needs it"));
    }
    good.bad(
        Verdict::Warning,
        format!("{detail}: whatever else servers send this way is lost"),
        remedy,
    )
}
