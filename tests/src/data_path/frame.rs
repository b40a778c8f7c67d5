//! A frame of the host: a vector of bytes, which the very same code parses and rewrites.

use redirector_common::frame::Frame;
use redirector_common::verdict::Reason;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that the test-run of the kernel leaves in front of a frame (XDP_PACKET_HEADROOM).
pub const HEADROOM: usize = 256;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Room in front of it.
    headroom: usize,
}

impl Bytes {
    /// A frame as it comes in.
    pub fn new(bytes: &[u8]) -> Self {
        Self::behind(bytes, HEADROOM)
    }

    /// A frame with `headroom` bytes in front of it.
    pub fn behind(bytes: &[u8], headroom: usize) -> Self {
        Self { bytes: bytes.to_vec(), headroom }
    }
}

impl Frame for Bytes {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn linear_len(&self) -> usize {
        self.bytes.len()
    }

    fn header<T: FromBytes + KnownLayout + Immutable>(&self, at: usize) -> Result<&T, Reason> {
        let rest = self.bytes.get(at..).ok_or(Reason::Truncated)?;
        T::ref_from_prefix(rest).map(|(header, _)| header).map_err(|_| Reason::Truncated)
    }

    fn header_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
        &mut self,
        at: usize,
    ) -> Result<&mut T, Reason> {
        let rest = self.bytes.get_mut(at..).ok_or(Reason::Truncated)?;
        let (header, _) = T::mut_from_prefix(rest).map_err(|_| Reason::Truncated)?;
        Ok(header)
    }

    fn moved_head(mut self, by: isize) -> Result<Self, Self> {
        let len = by.unsigned_abs();
        if by >= 0 {
            if len > self.headroom {
                return Err(self);
            }
            // What the kernel leaves there is of any content; all of it is written over.
            self.bytes.splice(0..0, std::iter::repeat_n(0, len));
            self.headroom -= len;
        } else {
            if len > self.bytes.len() {
                return Err(self);
            }
            self.bytes.drain(..len);
            self.headroom += len;
        }
        Ok(self)
    }

    fn shortened(mut self, len: usize) -> Result<Self, Self> {
        if len > self.bytes.len() {
            return Err(self);
        }
        self.bytes.truncate(len);
        Ok(self)
    }
}
