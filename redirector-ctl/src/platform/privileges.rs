//! What this process may do: the few capabilities that the daemon needs, and no more for the rest
//! of its life, whoever started it.
//!
//! Capabilities belong to threads, so they are given up while there is only one. What the daemon
//! needs to start is what it needs later: explanations load the program once more, changed service
//! addresses are announced, and SYNs and waking segments are sent whenever a server dies. Hence
//! nothing is kept for the start alone.
//!
//! The filter of system calls denies what no redirector does, and is inherited by the programs of
//! `exec` checks; a list of what is allowed would have to foresee those programs, so it is left to
//! the service manager's unit.

use std::collections::BTreeMap;
use std::io;

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// A capability and the work that needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    capability: CapabilitySet,
    /// Its name, as in capabilities(7).
    pub name: &'static str,
    /// What cannot be done without it.
    pub purpose: &'static str,
}

/// What the daemon needs. SECURITY.md explains each, and deploy/systemd grants them.
pub const NEEDS: [Need; 4] = [
    Need {
        capability: CapabilitySet::BPF,
        name: "CAP_BPF",
        purpose: "load the program and make its tables",
    },
    Need {
        capability: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        purpose: "have the program verified, which computes with addresses",
    },
    Need {
        capability: CapabilitySet::NET_ADMIN,
        name: "CAP_NET_ADMIN",
        purpose: "attach the program to interfaces and announce service addresses",
    },
    Need {
        capability: CapabilitySet::NET_RAW,
        name: "CAP_NET_RAW",
        purpose: "wake clients that only wait for a server that died, and ask servers for service \
                  addresses of their own",
    },
];

/// Where capabilities end; none has a higher number in any kernel (capability.h).
const CAPABILITIES_MAX: u32 = 64;

/// System calls that no redirector makes: those by which a process that was taken over would reach
/// for the rest of the machine.
const DENIED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Why the daemon does not begin with fewer privileges.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// The kernel refuses to take something away.
    #[error("cannot {attempt}; this kernel is older than the ones supported, or confined further")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The filter cannot be made or set.
    #[error("cannot filter system calls; the kernel needs CONFIG_SECCOMP_FILTER")]
    Filter(#[source] seccompiler::Error),
}

/// Gives up, for the rest of this process and of those it starts, every capability but those of
/// [`NEEDS`], new privileges by `execve`, and the system calls that no redirector makes. Programs
/// that it starts have no capability at all.
///
/// To be called while the process has one thread: the kernel keeps capabilities for each.
///
/// # Errors
///
/// When the kernel refuses. What is missing of [`NEEDS`] is no error here, see [`lacking`].
pub fn confine() -> Result<(), PrivilegesError> {
    let refused = |attempt| move |error: rustix::io::Errno| refusal(attempt, error);
    let had = capabilities(None).map_err(refused("read the capabilities"))?;
    // Only who may change these two has something to lose by them.
    if had.effective.contains(CapabilitySet::SETPCAP) {
        set_capabilities_secure_bits(
            CapabilitiesSecureBits::NO_ROOT
                | CapabilitiesSecureBits::NO_ROOT_LOCKED
                | CapabilitiesSecureBits::NO_SETUID_FIXUP
                | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
                | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
                | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
        )
        .map_err(refused("make the user root an ordinary one"))?;
        bound().map_err(refused("limit the capabilities of programs it starts"))?;
    }
    clear_ambient_capability_set().map_err(refused("keep capabilities from programs it starts"))?;
    let kept = had.permitted & needed();
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(refused("give up capabilities"))?;
    set_no_new_privs(true).map_err(refused("refuse new privileges"))?;
    apply_filter(&filter()?).map_err(PrivilegesError::Filter)
}

/// Which of [`NEEDS`] this thread does not have.
#[must_use]
pub fn lacking() -> Vec<Need> {
    // Without an answer from the kernel nothing is known to be missing.
    let Ok(has) = capabilities(None) else { return Vec::new() };
    NEEDS.into_iter().filter(|need| !has.effective.contains(need.capability)).collect()
}

/// Says which capabilities are missing and how to get them; None when none is.
#[must_use]
pub fn complaint() -> Option<String> {
    let lacking = lacking();
    if lacking.is_empty() {
        return None;
    }
    let each = lacking.iter().map(|need| format!("{} (to {})", need.name, need.purpose));
    Some(format!(
        "this process lacks {}: start it as root, or grant them as the unit in deploy/systemd does",
        each.collect::<Vec<_>>().join(" and ")
    ))
}

fn refusal(attempt: &'static str, error: rustix::io::Errno) -> PrivilegesError {
    PrivilegesError::Refused { attempt, source: error.into() }
}

fn needed() -> CapabilitySet {
    NEEDS.iter().fold(CapabilitySet::empty(), |all, need| all | need.capability)
}

/// Takes everything but the needed ones out of the bounding set.
fn bound() -> rustix::io::Result<()> {
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if needed().contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Beyond the last one that this kernel knows.
            Err(rustix::io::Errno::INVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn filter() -> Result<BpfProgram, PrivilegesError> {
    let failed = |error| PrivilegesError::Filter(seccompiler::Error::Backend(error));
    let rules: BTreeMap<i64, _> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into().map_err(failed)?;
    SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)
        .and_then(BpfProgram::try_from)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_purpose_and_a_remedy() {
        let text = std::thread::spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= CapabilitySet::PERFMON;
            set_capabilities(None, sets).unwrap();
            complaint().unwrap()
        });
        let text = text.join().unwrap();
        assert!(text.contains("CAP_PERFMON (to have the program verified"), "{text}");
        assert!(text.contains("deploy/systemd"), "{text}");
    }

    #[test]
    fn a_confined_thread_has_what_is_needed_and_cannot_do_the_rest() {
        let confined = std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            confine().unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after.permitted, before.permitted & needed());
            assert_eq!(after.effective, after.permitted);
            let made = rustix::process::chroot("/");
            assert_eq!(made, Err(rustix::io::Errno::PERM));
            assert!(rustix::thread::no_new_privs().unwrap());
        });
        confined.join().unwrap();
    }
}
