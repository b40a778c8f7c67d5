//! Numbers in network byte order, as types, so that one in host order can never be stored by
//! mistake.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 16-bit number in network byte order. Shape: 2 bytes, alignment 2.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// Takes a number in host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// Takes the bits as they lie in memory.
    #[inline(always)]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The bits as they lie in memory: what ones' complement sums are made of, because such a sum
    /// does not depend on the byte order (RFC 1071, section 2 B).
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

/// A 32-bit number in network byte order as it lies in a header. Shape: 4 bytes, alignment 2.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Be32([u16; 2]);

impl Be32 {
    /// Takes a number in host order.
    #[inline(always)]
    pub fn new(host: u32) -> Self {
        Self::from_raw(host.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub fn get(self) -> u32 {
        u32::from_be(self.raw())
    }

    /// Takes the bits as they lie in memory.
    #[inline(always)]
    pub fn from_raw(raw: u32) -> Self {
        Self(zerocopy::transmute!(raw))
    }

    /// The bits as they lie in memory.
    #[inline(always)]
    pub fn raw(self) -> u32 {
        zerocopy::transmute!(self.0)
    }
}

/// 128 bits as they lie in a header: an IPv6 address. Shape: 16 bytes, alignment 2.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Be128([u16; 8]);

impl Be128 {
    /// Takes the bytes in the order in which they are sent.
    #[inline(always)]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(zerocopy::transmute!(bytes))
    }

    /// The bytes in the order in which they are sent.
    #[inline(always)]
    pub fn to_bytes(self) -> [u8; 16] {
        zerocopy::transmute!(self.0)
    }

    /// The bits as they lie in memory, as four numbers.
    #[inline(always)]
    pub fn raw(self) -> [u32; 4] {
        zerocopy::transmute!(self.0)
    }
}

/// Four 16-bit words as they lie in memory one after the other, in one.
#[inline(always)]
pub const fn joined(words: [u16; 4]) -> u64 {
    let [a, b, c, d] = words;
    let (a, b, c, d) = (a as u64, b as u64, c as u64, d as u64);
    if cfg!(target_endian = "little") {
        a | b << 16 | c << 32 | d << 48
    } else {
        a << 48 | b << 32 | c << 16 | d
    }
}

/// Four 16-bit words, out of one.
#[inline(always)]
pub const fn parted(joined: u64) -> [u16; 4] {
    let (a, b) = (joined as u16, (joined >> 16) as u16);
    let (c, d) = ((joined >> 32) as u16, (joined >> 48) as u16);
    if cfg!(target_endian = "little") { [a, b, c, d] } else { [d, c, b, a] }
}

/// Two 32-bit words as they lie in memory one after the other, in one.
#[inline(always)]
pub const fn joined_pair([a, b]: [u32; 2]) -> u64 {
    if cfg!(target_endian = "little") {
        a as u64 | (b as u64) << 32
    } else {
        (a as u64) << 32 | b as u64
    }
}

/// Something whose 16-bit words take part in a checksum, and that can be told from others by a
/// number.
pub trait Words: Copy {
    /// Sum of its 16-bit words, as they lie in memory; less than 2^20.
    fn sum(self) -> u32;
    /// Sum of its inverted 16-bit words; less than 2^20.
    fn inverted_sum(self) -> u32;
    /// All its bits folded into 32.
    fn fold(self) -> u32;

    /// The same, copied as numbers: as a whole, 16 bytes that might overlap with where they go are
    /// moved by a loop over bytes in the kernel program.
    #[inline(always)]
    fn copied(self) -> Self {
        self
    }
}

#[inline(always)]
fn halves(raw: u32) -> u32 {
    (raw & 0xffff) + (raw >> 16)
}

impl Words for Be16 {
    #[inline(always)]
    fn sum(self) -> u32 {
        u32::from(self.0)
    }

    #[inline(always)]
    fn inverted_sum(self) -> u32 {
        u32::from(!self.0)
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        u32::from(self.0)
    }
}

impl Words for Be32 {
    #[inline(always)]
    fn sum(self) -> u32 {
        halves(self.raw())
    }

    #[inline(always)]
    fn inverted_sum(self) -> u32 {
        halves(!self.raw())
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        self.raw()
    }
}

impl Words for Be128 {
    #[inline(always)]
    fn sum(self) -> u32 {
        let [a, b, c, d] = self.raw();
        halves(a) + halves(b) + halves(c) + halves(d)
    }

    #[inline(always)]
    fn inverted_sum(self) -> u32 {
        let [a, b, c, d] = self.raw();
        halves(!a) + halves(!b) + halves(!c) + halves(!d)
    }

    #[inline(always)]
    fn copied(self) -> Self {
        let [a, b, c, d] = self.raw();
        Self(zerocopy::transmute!([a, b, c, d]))
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        let [a, b, c, d] = self.raw();
        a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_as_they_lie_in_memory() {
        let words = [0x0123_u16, 0x4567, 0x89ab, 0xcdef];
        let joined: u64 = zerocopy::transmute!(words);
        assert_eq!((super::joined(words), parted(joined)), (joined, words));
        let pair = [0x0123_4567_u32, 0x89ab_cdef];
        let joined: u64 = zerocopy::transmute!(pair);
        assert_eq!(joined_pair(pair), joined);
    }

    #[test]
    fn network_order_is_the_order_of_the_bytes() {
        assert_eq!(Be16::new(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Be32::new(0x1234_5678).as_bytes(), [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(Be32::new(0x1234_5678).get(), 0x1234_5678);
        assert_eq!(Be16::new(0x1234).get(), 0x1234);
    }
}
