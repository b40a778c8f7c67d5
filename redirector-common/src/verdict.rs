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
    /// Destination rewritten to the server (full NAT: source too), sent to its next hop.
    ToServer,
    /// Source rewritten to the service address (full NAT: destination too), sent to the client's
    /// hop.
    ToClient,
    /// Sent to the server's next hop as it is.
    Direct,
    /// Put into a packet to the server.
    Tunnel,
    /// Turned into an exact RST and sent back where it came from.
    Reset,
    /// Turned into an echo reply and sent back where it came from.
    Echo,
    /// Answered with an ICMP error.
    Unreachable,
}

/// To whose account a packet goes, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Device concerned, or [`DEVICE_NONE`].
    pub device: u32,
    /// Server concerned, or [`SERVER_NONE`].
    pub server: u16,
}

impl Account {
    /// A packet that concerns neither a device nor a server.
    #[inline(always)]
    pub fn of_nobody(action: Action, reason: Reason) -> Self {
        Self { action, reason, device: DEVICE_NONE, server: SERVER_NONE }
    }
}

/// A packet's verdict: one flat value, because large enums returned across branches upset the
/// verifier.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<F: Family> {
    /// What is done.
    pub action: Action,
    /// How a tunnel is made; counts for `Tunnel`.
    pub forwarding: u8,
    /// Why.
    pub reason: Reason,
    /// Device concerned, or [`DEVICE_NONE`].
    pub device: u32,
    /// Server concerned, or [`SERVER_NONE`].
    pub server: u16,
    /// The device's epoch when the flow was opened.
    pub epoch: u16,
    /// The server's incarnation when the flow was opened.
    pub incarnation: u32,
    /// Whether the next packet of the flow is to be treated alike.
    pub lasting: bool,
    /// New port of the server's end (`ToServer`: destination, `ToClient`: source).
    pub port: Be16,
    /// New port of the client's end (`ToServer`: source, `ToClient`: destination); zero to leave
    /// that end as it is.
    pub other_port: Be16,
    /// Largest segment that a SYN may ask for, in bytes; zero for no limit.
    pub mss_max: Be16,
    /// New address of the server's end.
    pub address: F::Address,
    /// New address of the client's end; counts if `other_port` is not zero.
    pub other: F::Address,
    /// Where the frame goes; [`Hop::UNKNOWN`] leaves the rewritten packet to the kernel's stack.
    pub egress: Hop,
}

impl<F: Family> Verdict<F> {
    /// A place for a verdict: a packet about which nothing is decided yet passes.
    #[inline(always)]
    pub fn undecided() -> Self {
        Self {
            action: Action::Pass,
            forwarding: 0,
            reason: Reason::NotOurs,
            device: DEVICE_NONE,
            server: SERVER_NONE,
            epoch: 0,
            incarnation: 0,
            lasting: false,
            port: Be16::default(),
            other_port: Be16::default(),
            mss_max: Be16::default(),
            address: F::Address::default(),
            other: F::Address::default(),
            egress: Hop::UNKNOWN,
        }
    }

    /// Decides; whatever was there before is gone, but for the addresses, which count only with
    /// what is set after this.
    #[inline(always)]
    pub fn set(&mut self, action: Action, reason: Reason) {
        self.action = action;
        self.reason = reason;
        self.device = DEVICE_NONE;
        self.server = SERVER_NONE;
        self.lasting = false;
        self.other_port = Be16::default();
        self.mss_max = Be16::default();
        self.egress = Hop::UNKNOWN;
    }

    /// To whose account the packet goes.
    #[inline(always)]
    pub fn account(&self) -> Account {
        let Self { action, reason, device, server, .. } = *self;
        Account { action, reason, device, server }
    }

    /// Puts the verdict to the account of a device and a server.
    #[inline(always)]
    pub fn charge(&mut self, device: u32, server: u16) {
        self.device = device;
        self.server = server;
    }

    /// Both.
    #[inline(always)]
    pub fn set_for(&mut self, action: Action, reason: Reason, device: u32, server: u16) {
        self.set(action, reason);
        self.charge(device, server);
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
        "Passed: neither an IPv4 nor an IPv6 packet (ARP and others)."
    1 Truncated "truncated"
        "Passed: the frame ends before the headers do."
    2 BadHeader "bad_header"
        "Passed: a header contradicts itself or the frame (version, lengths, checksum)."
    3 FragmentUnknown "fragment_unknown"
        "Passed: a later fragment of a packet whose first fragment was not seen, or not redirected."
    4 Extensions "extensions"
        "Passed: more or longer IPv6 extension headers than are looked past, or a routing header \
         that names a further destination."
    5 IcmpOther "icmp_other"
        "Passed: an ICMP message that is neither an echo request nor an error about a packet."
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
        "Answered: with RST, the flow's server is dead or has begun a new life."
    19 ResetRetired "reset_retired"
        "Answered: with RST, the flow's epoch is retired (drain deadline or policy reset)."
    20 Unanswerable "unanswerable"
        "Dropped: would be reset, but a RST or a segment without ACK is never answered."
    21 HopsExceeded "hops_exceeded"
        "Answered: with an ICMP error, no hop is left for the way to the server or client."
    22 NoRoom "no_room"
        "Dropped: the driver leaves no room to reshape the frame; see the driver's XDP headroom."
    23 Stateless "stateless"
        "To the server: a stateless device, by its association."
    24 ReturnedUntracked "returned_untracked"
        "To the client: a server's packet without an entry, by the kernel's routing table."
    25 Repinned "repinned"
        "Dropped: a server's RST for a flow in mid-conversation while its device drains; the flow \
         goes to the other server from now on."
    26 Unrecorded "unrecorded"
        "To the server: a new flow beyond the rate of new entries, by the association alone; \
         raise limits.new_flows_per_second_max if these are no flood."
    27 FragmentForwarded "fragment_forwarded"
        "To the server: a later fragment, with its first one."
    28 FragmentReturned "fragment_returned"
        "To the client: a later fragment, with its first one."
    29 ErrorForwarded "error_forwarded"
        "To the server: an ICMP error about one of its packets."
    30 ErrorReturned "error_returned"
        "To the client: an ICMP error about one of its packets."
    31 ErrorUnknown "error_unknown"
        "Passed: an ICMP error about a packet of no flow of ours."
    32 EchoAnswered "echo_answered"
        "Answered: an echo request to a service address."
    33 TooBig "too_big"
        "Answered: with an ICMP error, the packet does not fit into the way out."
    34 PortsFull "ports_full"
        "Dropped: no local port is free for a full-NAT flow to the server; add [local] addresses."
    35 AnswerLimited "answer_limited"
        "Dropped: would be answered with RST or an ICMP error, but the rate of answers is reached."
    36 NoHop "no_hop"
        "Dropped: the server's Ethernet address is not known, and the packet cannot be routed."
    37 VlanUnknown "vlan_unknown"
        "Passed: the VLAN is none of the configured interfaces'."
    38 Affine "affine"
        "To the server: a new flow of a client whose open flows to the device are there."
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
        let fates = ["Passed:", "Dropped:", "To the server:", "To the client:", "Answered:"];
        for reason in Reason::ALL {
            assert!(fates.iter().any(|fate| reason.help().starts_with(fate)), "{}", reason.name());
        }
    }
}
