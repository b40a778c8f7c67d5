//! A flow's entry: what the packet path remembers of a conversation.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::order::Be16;
use crate::wire::Hop;

/// The server has been seen answering: `server_next` counts.
pub const FLOW_ANSWERED: u32 = 1 << 0;
/// One end has closed: the entry ages fast.
pub const FLOW_CLOSING: u32 = 1 << 1;
/// A new conversation with the same addresses and ports was begun while this entry lived.
pub const FLOW_CHALLENGED: u32 = 1 << 2;

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
}

/// A flow's entry. Shape: five aligned 8-byte words; the first two never change, the others are stored whole.
///
/// Words: 0 device (bits 0-31), server (32-47), epoch (48-63); 1 incarnation (0-31), server port in network order
/// (32-47); 2 the client's [`Hop`]; 3 server's next sequence number (0-31), flags (32-63); 4 seconds of
/// the monotonic clock at the last packet.
#[derive(Debug, Default, FromBytes, IntoBytes, KnownLayout)]
#[repr(transparent)]
pub struct Flow([AtomicU64; FLOW_WORDS]);

/// Words in a flow's entry.
pub const FLOW_WORDS: usize = 5;

impl Flow {
    /// A flow opened now by a client behind `client_hop`.
    #[inline(always)]
    pub fn new(owner: Owner, client_hop: Hop, now_s: u64) -> Self {
        let identity =
            u64::from(owner.device) | u64::from(owner.server) << 32 | u64::from(owner.epoch) << 48;
        let life = u64::from(owner.incarnation) | u64::from(owner.server_port.raw()) << 32;
        Self([
            AtomicU64::new(identity),
            AtomicU64::new(life),
            AtomicU64::new(client_hop.0),
            AtomicU64::new(0),
            AtomicU64::new(now_s),
        ])
    }

    /// An entry from its words, as read from the kernel.
    pub fn from_words(words: [u64; FLOW_WORDS]) -> Self {
        Self(words.map(AtomicU64::new))
    }

    /// The entry's words.
    #[inline(always)]
    pub fn words(&self) -> [u64; FLOW_WORDS] {
        let [a, b, c, d, e] = &self.0;
        [a.load(Relaxed), b.load(Relaxed), c.load(Relaxed), d.load(Relaxed), e.load(Relaxed)]
    }

    /// Whose flow it is.
    #[inline(always)]
    pub fn owner(&self) -> Owner {
        let identity = self.0[0].load(Relaxed);
        let life = self.0[1].load(Relaxed);
        Owner {
            device: identity as u32,
            server: (identity >> 32) as u16,
            epoch: (identity >> 48) as u16,
            incarnation: life as u32,
            server_port: Be16::from_raw((life >> 32) as u16),
        }
    }

    /// The way back to the client, learnt from its last packet.
    #[inline(always)]
    pub fn client_hop(&self) -> Hop {
        Hop(self.0[2].load(Relaxed))
    }

    /// Flags.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        (self.0[3].load(Relaxed) >> 32) as u32
    }

    /// The server's next sequence number, host order; counts only with [`FLOW_ANSWERED`].
    #[inline(always)]
    pub fn server_next(&self) -> u32 {
        self.0[3].load(Relaxed) as u32
    }

    /// Seconds of the monotonic clock at the last packet.
    #[inline(always)]
    pub fn seen_s(&self) -> u64 {
        self.0[4].load(Relaxed)
    }

    /// Notes a packet of the client; stores only what changed, so that a quiet cache line stays shared.
    #[inline(always)]
    pub fn touch(&self, client_hop: Hop, now_s: u64) {
        if self.0[2].load(Relaxed) != client_hop.0 {
            self.0[2].store(client_hop.0, Relaxed);
        }
        self.touch_time(now_s);
    }

    /// Notes that a packet passed.
    #[inline(always)]
    pub fn touch_time(&self, now_s: u64) {
        if self.0[4].load(Relaxed) != now_s {
            self.0[4].store(now_s, Relaxed);
        }
    }

    /// Sets flags.
    #[inline(always)]
    pub fn mark(&self, flags: u32) {
        let word = self.0[3].load(Relaxed);
        let marked = word | u64::from(flags) << 32;
        if marked != word {
            self.0[3].store(marked, Relaxed);
        }
    }

    /// Notes how far the server has sent.
    #[inline(always)]
    pub fn answered(&self, server_next: u32) {
        let flags = self.flags() | FLOW_ANSWERED;
        self.0[3].store(u64::from(server_next) | u64::from(flags) << 32, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_gives_back_what_was_put_in(
            device: u32, server: u16, epoch: u16, incarnation: u32, port: u16, next: u32, now: u64,
        ) {
            let owner =
                Owner { device, server, epoch, incarnation, server_port: Be16::new(port) };
            let flow = Flow::new(owner, Hop(17), now);
            flow.mark(FLOW_CLOSING);
            flow.answered(next);
            prop_assert_eq!(flow.owner(), owner);
            prop_assert_eq!(flow.server_next(), next);
            prop_assert_eq!(flow.flags(), FLOW_CLOSING | FLOW_ANSWERED);
            prop_assert_eq!(flow.seen_s(), now);
            prop_assert_eq!(Flow::from_words(flow.words()).words(), flow.words());
        }
    }
}
