//! Ways in which a server dies, and back.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::Lab;
use crate::netns::run_quietly;
use crate::wait;

/// A way to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All its programs get SIGKILL. Its kernel lives and refuses new connections.
    Kill,
    /// Its links to gateway and storage go down at the switches: a pulled cable. Its programs live.
    Cut,
    /// The whole machine hangs: its programs are stopped and nothing enters or leaves it, while its
    /// links stay up on both sides.
    Freeze,
    /// Its kernel drops whatever comes in or would go out: a firewall gone wrong, a broken network
    /// stack. Its links stay up and it still answers ARP.
    Drop,
    /// Its programs are stopped, its kernel lives: it accepts connections, and nothing ever
    /// answers. A check that only connects cannot see this.
    Stop,
}

/// Networks that a server is in.
const NETWORKS: [&str; 2] = ["servers", "storage"];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "kill",
            Fault::Cut => "cut",
            Fault::Freeze => "freeze",
            Fault::Drop => "drop",
            Fault::Stop => "stop",
        })
    }
}

impl Fault {
    /// What it does, for people.
    pub fn what(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9 of all its programs; its kernel lives and refuses connections",
            Fault::Cut => "its links are taken down at the switches",
            Fault::Freeze => {
                "its programs are stopped (SIGSTOP) and the switches pass nothing from or to it, \
                 links up"
            }
            Fault::Drop => {
                "its kernel drops all IP packets, in and out (nftables); ARP is answered"
            }
            Fault::Stop => "its programs are stopped (SIGSTOP); its kernel accepts connections",
        }
    }

    /// Makes a server die and returns the moment before the first step of it.
    ///
    /// # Errors
    /// When there is no such server or a step is refused.
    pub fn inject(self, lab: &mut Lab, server: &str) -> Result<Instant> {
        let began = wait::now();
        match self {
            Fault::Kill => lab.server(server)?.kill()?,
            Fault::Cut => {
                for network in NETWORKS {
                    lab.network.set_link(server, network, false)?;
                }
            }
            Fault::Freeze => {
                // Silence first, so that nothing half frozen answers.
                for network in NETWORKS {
                    lab.network.set_silent(server, network, true)?;
                }
                lab.server(server)?.signal(Signal::SIGSTOP)?;
            }
            Fault::Drop => nft(lab, server, DROP_ALL)?,
            Fault::Stop => lab.server(server)?.signal(Signal::SIGSTOP)?,
        }
        Ok(began)
    }

    /// Brings the server back.
    ///
    /// # Errors
    /// When a step is refused or a program does not come up.
    pub fn repair(self, lab: &mut Lab, server: &str) -> Result<()> {
        match self {
            Fault::Kill => lab.restart_server(server)?,
            Fault::Cut => {
                for network in NETWORKS {
                    lab.network.set_link(server, network, true)?;
                }
            }
            Fault::Freeze => {
                lab.server(server)?.signal(Signal::SIGCONT)?;
                for network in NETWORKS {
                    lab.network.set_silent(server, network, false)?;
                }
            }
            Fault::Drop => nft(lab, server, "delete table inet lab_drop")?,
            Fault::Stop => lab.server(server)?.signal(Signal::SIGCONT)?,
        }
        Ok(())
    }
}

/// Rules that drop everything but a host's talk with itself.
const DROP_ALL: &str = "
    add table inet lab_drop
    add chain inet lab_drop incoming { type filter hook input priority -300; }
    add rule inet lab_drop incoming iifname != lo drop
    add chain inet lab_drop outgoing { type filter hook output priority -300; }
    add rule inet lab_drop outgoing oifname != lo drop
";

/// Gives nft's commands to a server's kernel, all in one step.
fn nft(lab: &Lab, server: &str, commands: &str) -> Result<()> {
    let mut nft = lab.network.host(server)?.command("nft");
    run_quietly(nft.arg(commands)).context("nft (package nftables)").map(drop)
}
