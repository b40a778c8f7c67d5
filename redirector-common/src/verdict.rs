//! Verdicts and their reasons: every packet leaves under exactly one named reason (G7).

use crate::family::Family;
use crate::order::Be16;
use crate::wire::{DEVICE_NONE, Hop, SERVER_NONE};

/// What is done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Given to the kernel's stack, untouched.
    Pass,
    /// Dropped.
    Drop,
    /// Destination rewritten to the server, sent to its next hop.
    ToServer,
    /// Source rewritten to the service address, sent to the client's hop.
    ToClient,
    /// Turned into an exact RST and sent back where it came from.
    Reset,
}

/// A packet's verdict: one flat value, because large enums returned across branches upset the
/// verifier.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<F: Family> {
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Device concerned, or [`DEVICE_NONE`].
    pub device: u32,
    /// Server concerned, or [`SERVER_NONE`].
    pub server: u16,
    /// New port; counts for `ToServer` and `ToClient`.
    pub port: Be16,
    /// New address; counts for `ToServer` and `ToClient`.
    pub address: F::Address,
    /// Where the frame goes; [`Hop::UNKNOWN`] leaves the rewritten packet to the kernel's stack.
    pub egress: Hop,
}

impl<F: Family> Verdict<F> {
    /// A verdict that rewrites nothing.
    #[inline(always)]
    pub fn plain(action: Action, reason: Reason) -> Self {
        Self {
            action,
            reason,
            device: DEVICE_NONE,
            server: SERVER_NONE,
            port: Be16::default(),
            address: F::Address::default(),
            egress: Hop::UNKNOWN,
        }
    }

    /// The same verdict, put to the account of a device and a server.
    #[inline(always)]
    pub fn of(self, device: u32, server: u16) -> Self {
        Self { device, server, ..self }
    }
}

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $help:literal)+) => {
        /// The one named cause of a packet's verdict.
        ///
        /// Numbers are the wire: explicit, append-only, contiguous; a retired one stays as a
        /// comment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $help] $variant = $number,)+
        }

        impl Reason {
            /// All reasons, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The metric label.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it means and what to do: the heading of the runbook.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

reasons! {
    0 NotIp "not_ip"
        "Passed: not an IPv4 packet (ARP, IPv6, VLAN tags and others)."
    1 Truncated "truncated"
        "Passed: the frame ends before the headers do."
    2 BadHeader "bad_header"
        "Passed: a header contradicts itself or the frame (version, lengths, checksum)."
    3 Fragment "fragment"
        "Passed: a fragment of an IP packet; fragments are not redirected yet."
    4 IpOptions "ip_options"
        "Passed: an IPv4 header with options; these are not redirected yet."
    5 OtherProtocol "other_protocol"
        "Passed: neither TCP nor UDP."
    6 NotOurs "not_ours"
        "Passed: no service address and no server's endpoint."
    7 NotConfigured "not_configured"
        "Passed: a table names a device that has no line; restart the daemon to reconcile."
    8 Established "established"
        "To the server: a proven flow stays on its server."
    9 Opened "opened"
        "To the server: a new flow, by the device's association."
    10 Candidate "candidate"
        "To the server: a flow that its client has not proven yet."
    11 Proven "proven"
        "To the server: the client acknowledged what only its server could have sent."
    12 Adopted "adopted"
        "To the server: an unknown flow in mid-conversation, by the device's association."
    13 FlowsFull "flows_full"
        "To the server: proven, but the flow table is full; raise limits.flows_max."
    14 Returned "returned"
        "To the client: a server's packet of a known flow."
    15 ReturnUnknown "return_unknown"
        "Passed: a server's packet that belongs to no flow (health checks do)."
    16 ReturnStale "return_stale"
        "Dropped: a server's packet for a flow that is not, or no longer, its own."
    17 NoServer "no_server"
        "Dropped: neither the device's server nor its backup is alive."
    18 ResetDead "reset_dead"
        "Answered with RST: the flow's server is dead or has begun a new life."
    19 ResetRetired "reset_retired"
        "Answered with RST: the flow's epoch is retired (drain deadline or policy reset)."
    20 Unanswerable "unanswerable"
        "Dropped: would be reset, but a RST or a segment without ACK is never answered."
    21 TtlExpired "ttl_expired"
        "Dropped: no hop is left for the way to the server or client."
    22 ResetFailed "reset_failed"
        "Dropped: the frame could not be shortened to a RST."
}

/// How many reasons there are.
pub const REASONS_LEN: u32 = Reason::ALL.len() as u32;

const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!(Reason::ALL[i] as usize == i, "reason numbers are contiguous");
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_metric_labels() {
        let mut names: std::vec::Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn every_help_says_first_what_happened_to_the_packet() {
        let fates =
            ["Passed:", "Dropped:", "To the server:", "To the client:", "Answered with RST:"];
        for reason in Reason::ALL {
            assert!(fates.iter().any(|fate| reason.help().starts_with(fate)), "{}", reason.name());
        }
    }
}
