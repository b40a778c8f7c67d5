//! TCP facts: flags and sequence arithmetic (RFC 9293).

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Opens a conversation.
pub const SYN: u8 = 0x02;
/// Breaks a conversation.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// What the decision needs of a TCP header; all zero for other protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Flags.
    pub flags: u8,
    /// Sequence number, host order.
    pub sequence: u32,
    /// Acknowledgement number, host order.
    pub acknowledgement: u32,
    /// The sequence number after this segment: sequence + payload + SYN + FIN, host order.
    pub next: u32,
}

impl Segment {
    /// Whether the segment opens a conversation: SYN and neither ACK, RST nor FIN.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether one of `flags` is set.
    #[inline(always)]
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// Whether a segment that begins at `sequence` goes on where its sender had got to.
#[inline(always)]
pub fn continues(sequence: u32, sender_next: u32) -> bool {
    sequence.wrapping_sub(sender_next) < PROOF_WINDOW
}

/// How far below the peer's next sequence number an acknowledgement may lie and still prove that
/// its sender saw the peer's segments: 64 KiB, so that a blind guess succeeds once in 65,536 tries.
pub const PROOF_WINDOW: u32 = 65_536;

/// Whether `acknowledgement` acknowledges what the peer sent up to `peer_next`.
#[inline(always)]
pub fn proves(acknowledgement: u32, peer_next: u32) -> bool {
    peer_next.wrapping_sub(acknowledgement) < PROOF_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_syn_opens_a_conversation() {
        let with = |flags| Segment { flags, ..Segment::default() };
        assert!(with(SYN).opens());
        assert!(with(SYN | PSH).opens());
        for flags in [SYN | ACK, SYN | RST, SYN | FIN, ACK, RST, FIN, 0] {
            assert!(!with(flags).opens(), "{flags:#x}");
        }
    }

    #[test]
    fn an_acknowledgement_proves_across_the_wrap_of_sequence_numbers() {
        assert!(proves(5, 5));
        assert!(proves(u32::MAX, 3));
        assert!(!proves(6, 5));
        assert!(!proves(5, 5 + PROOF_WINDOW));
    }
}
