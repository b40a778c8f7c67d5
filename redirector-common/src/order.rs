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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_order_is_the_order_of_the_bytes() {
        assert_eq!(Be16::new(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Be32::new(0x1234_5678).as_bytes(), [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(Be32::new(0x1234_5678).get(), 0x1234_5678);
        assert_eq!(Be16::new(0x1234).get(), 0x1234);
    }
}
