//! A flow's entry: what the packet path remembers of a conversation.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::Be16;
use crate::wire::Hop;

/// The server has been seen answering: `server_next` counts.
pub const FLOW_ANSWERED: u32 = 1 << 0;
/// One end has closed: the entry ages fast.
pub const FLOW_CLOSING: u32 = 1 << 1;
/// A new conversation with the same addresses and ports was begun while this entry lived.
pub const FLOW_CHALLENGED: u32 = 1 << 2;
/// The flow was met in mid-conversation, and its server is a guess.
pub const FLOW_ADOPTED: u32 = 1 << 3;
/// The guess was wrong, and this is the other server's turn.
pub const FLOW_REPINNED: u32 = 1 << 4;
/// The server answers by itself: what the client acknowledged last is noted instead of what the
/// server sent.
pub const FLOW_DIRECT: u32 = 1 << 5;

/// The clock of the tables is nanoseconds of the monotonic clock shifted right by this: units of
/// 1.07 s, without a division in the packet path.
pub const CLOCK_SHIFT: u32 = 30;

/// Rates are kept in windows of the coarse clock shifted right by this: 67 ms.
pub const WINDOW_SHIFT: u32 = 26;

/// Whose flow it is. Fixed for the entry's life, which is what keeps a flow on its server (G2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Device.
    pub device: u32,
    /// Server.
    pub server: u16,
    /// The device's epoch when the flow was opened.
    pub epoch: u16,
    /// The server's incarnation when the flow was opened.
    pub incarnation: u32,
    /// Port at the server.
    pub server_port: Be16,
    /// How its packets get there: a [`Forwarding`](crate::wire::Forwarding).
    pub forwarding: u8,
}

/// The local end of a full-NAT flow, as the server sees its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Local {
    /// Line of the table of local addresses.
    pub index: u16,
    /// Port; zero where there is no such end.
    pub port: Be16,
}

/// A flow's entry as it lies in the table. Shape: six aligned 8-byte words; the first two and
/// the last never change, the others are stored whole.
///
/// Words: 0 device (bits 0-31), server (32-47), epoch (48-63); 1 incarnation (0-31), server port in
/// network order (32-47), forwarding (48-55); 2 the client's [`Hop`]; 3 server's next sequence
/// number (0-31), flags (32-63); 4 the last packet, in units of the table's clock; 5 the client's
/// sequence number after its SYN (0-31), local port in network order (32-47), index of the local
/// address (48-63).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Flow {
    words: [u64; FLOW_WORDS],
}

/// Words in a flow's entry.
pub const FLOW_WORDS: usize = 6;

const _: () = assert!(size_of::<Flow>() == FLOW_WORDS * 8);

impl Flow {
    /// A flow opened now by a client behind `client_hop`.
    #[inline(always)]
    pub fn new(owner: Owner, client_hop: Hop, now: u64) -> Self {
        let identity =
            u64::from(owner.device) | u64::from(owner.server) << 32 | u64::from(owner.epoch) << 48;
        let life = u64::from(owner.incarnation)
            | u64::from(owner.server_port.raw()) << 32
            | u64::from(owner.forwarding) << 48;
        Self { words: [identity, life, client_hop.0, 0, now, 0] }
    }

    /// The same flow, whose client goes on at `client_next` after its SYN.
    #[inline(always)]
    pub fn with_client_next(mut self, client_next: u32) -> Self {
        self.words[5] = self.words[5] >> 32 << 32 | u64::from(client_next);
        self
    }

    /// The same flow, which the server knows by `local`.
    #[inline(always)]
    pub fn with_local(mut self, local: Local) -> Self {
        self.words[5] = u64::from(self.words[5] as u32)
            | u64::from(local.port.raw()) << 32
            | u64::from(local.index) << 48;
        self
    }

    /// The same flow with flags.
    #[inline(always)]
    pub fn with_flags(mut self, flags: u32) -> Self {
        self.words[3] |= u64::from(flags) << 32;
        self
    }

    /// A word, for tables that keep entries as plain values.
    pub fn word_at(&self, index: usize) -> u64 {
        self.words[index]
    }

    /// Replaces a word, for tables that keep entries as plain values.
    pub fn set_word_at(&mut self, index: usize, value: u64) {
        self.words[index] = value;
    }
}

/// A flow's entry where it lies, shared with other CPUs: every word is loaded and stored whole.
pub trait Entry {
    /// Loads a word, once.
    fn word(&self, index: usize) -> u64;
    /// Stores a word, whole.
    fn set_word(&self, index: usize, value: u64);

    /// Whose flow it is.
    #[inline(always)]
    fn owner(&self) -> Owner {
        let (identity, life) = (self.word(0), self.word(1));
        Owner {
            device: identity as u32,
            server: (identity >> 32) as u16,
            epoch: (identity >> 48) as u16,
            incarnation: life as u32,
            server_port: Be16::from_raw((life >> 32) as u16),
            forwarding: (life >> 48) as u8,
        }
    }

    /// The end by which the server knows the client.
    #[inline(always)]
    fn local(&self) -> Local {
        let word = self.word(5);
        Local { index: (word >> 48) as u16, port: Be16::from_raw((word >> 32) as u16) }
    }

    /// The way back to the client, learnt from its last packet.
    #[inline(always)]
    fn client_hop(&self) -> Hop {
        Hop(self.word(2))
    }

    /// Flags.
    #[inline(always)]
    fn flags(&self) -> u32 {
        (self.word(3) >> 32) as u32
    }

    /// The server's next sequence number, host order; counts only with [`FLOW_ANSWERED`].
    #[inline(always)]
    fn server_next(&self) -> u32 {
        self.word(3) as u32
    }

    /// The last packet, in units of the table's clock.
    #[inline(always)]
    fn seen(&self) -> u64 {
        self.word(4)
    }

    /// Notes a packet of the client; stores only what changed, so that a quiet cache line stays
    /// shared.
    #[inline(always)]
    fn touch(&self, client_hop: Hop, now: u64) {
        if self.word(2) != client_hop.0 {
            self.set_word(2, client_hop.0);
        }
        self.touch_time(now);
    }

    /// Notes that a packet passed.
    #[inline(always)]
    fn touch_time(&self, now: u64) {
        if self.word(4) != now {
            self.set_word(4, now);
        }
    }

    /// Sets flags.
    #[inline(always)]
    fn mark(&self, flags: u32) {
        let word = self.word(3);
        let marked = word | u64::from(flags) << 32;
        if marked != word {
            self.set_word(3, marked);
        }
    }

    /// The client's sequence number after its SYN, host order; zero for what began otherwise. Data
    /// in the SYN is not counted, because its server may not take it (RFC 7413, section 4.2.2).
    #[inline(always)]
    fn client_next(&self) -> u32 {
        self.word(5) as u32
    }

    /// Notes how far the server has sent; a repeated segment takes nothing back.
    #[inline(always)]
    fn answered(&self, server_next: u32) {
        let ahead = server_next.wrapping_sub(self.server_next()) as i32 > 0;
        if self.flags() & FLOW_ANSWERED != 0 && !ahead {
            return;
        }
        self.accepted(server_next);
    }

    /// Notes where the server begins, after its SYN.
    #[inline(always)]
    fn accepted(&self, server_next: u32) {
        let flags = self.flags() | FLOW_ANSWERED;
        self.set_word(3, u64::from(server_next) | u64::from(flags) << 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An entry in a test.
    struct Here(core::cell::Cell<Flow>);

    impl Entry for Here {
        fn word(&self, index: usize) -> u64 {
            self.0.get().word_at(index)
        }

        fn set_word(&self, index: usize, value: u64) {
            let mut flow = self.0.get();
            flow.set_word_at(index, value);
            self.0.set(flow);
        }
    }

    proptest! {
        #[test]
        fn an_entry_gives_back_what_was_put_in(
            device: u32, server: u16, epoch: u16, incarnation: u32, port: u16, next: u32, now: u64,
            forwarding: u8,
        ) {
            let server_port = Be16::new(port);
            let owner = Owner { device, server, epoch, incarnation, server_port, forwarding };
            let local = Local { index: server, port: Be16::new(port) };
            let flow = Flow::new(owner, Hop(17), 0).with_local(local).with_client_next(next);
            let flow = Here(core::cell::Cell::new(flow));
            flow.mark(FLOW_CLOSING);
            flow.answered(next);
            flow.touch(Hop(18), now);
            prop_assert_eq!(flow.owner(), owner);
            prop_assert_eq!((flow.local(), flow.client_next()), (local, next));
            prop_assert_eq!(flow.server_next(), next);
            prop_assert_eq!(flow.flags(), FLOW_CLOSING | FLOW_ANSWERED);
            prop_assert_eq!((flow.seen(), flow.client_hop()), (now, Hop(18)));
        }
    }
}
