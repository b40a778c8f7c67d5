//! A frame as the packet path sees it: headers at offsets, read and changed one at a time.
//!
//! The kernel crate's frame is packet memory; the host's is a vector of bytes. Both run the very
//! same code (`parse`, `nat`, `apply`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::verdict::Reason;

/// Received bytes, beginning with the Ethernet header.
pub trait Frame: Sized {
    /// Length in bytes, all buffers of a jumbo frame included.
    fn len(&self) -> usize;

    /// Length of the first buffer, in which all headers lie. Cheaper than [`Self::len`].
    fn linear_len(&self) -> usize;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.linear_len() == 0
    }

    /// Borrows what lies at `at`.
    ///
    /// # Errors
    ///
    /// `Truncated` when the frame ends before it does.
    fn header<T: FromBytes + KnownLayout + Immutable>(&self, at: usize) -> Result<&T, Reason>;

    /// Borrows what lies at `at`, to change it.
    ///
    /// # Errors
    ///
    /// `Truncated` when the frame ends before it does.
    fn header_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
        &mut self,
        at: usize,
    ) -> Result<&mut T, Reason>;

    /// Changes what lies at `at`. The change may become a function of its own in the kernel
    /// program; where its arguments would not survive that, use [`Self::header_mut`].
    ///
    /// # Errors
    ///
    /// `Truncated` when the frame ends before it does; then nothing has changed.
    #[inline(always)]
    fn change<T: FromBytes + IntoBytes + KnownLayout + Immutable, R>(
        &mut self,
        at: usize,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Reason> {
        Ok(change(self.header_mut(at)?))
    }

    /// The same frame with `by` bytes more in front (fewer if negative), of any content. Takes the
    /// frame by value, so that nothing borrowed from it survives.
    ///
    /// # Errors
    ///
    /// The frame as it was, when the driver left no such room.
    fn moved_head(self, by: isize) -> Result<Self, Self>;

    /// The same frame cut to `len` bytes, counted from its beginning.
    ///
    /// # Errors
    ///
    /// The frame as it was, when it is shorter or the kernel refuses.
    fn shortened(self, len: usize) -> Result<Self, Self>;
}
