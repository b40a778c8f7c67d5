//! The only place that touches packet memory.
//!
//! It lends headers at offsets and reshapes the frame; what headers mean and how they are rewritten
//! is shared with the host (`redirector_common`). What moves packet memory takes the frame by
//! value, so that a stale reference does not compile.

use core::ptr::read_volatile;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
};
use redirector_common::frame::Frame;
use redirector_common::verdict::Reason;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The frame that the program was called for.
pub struct PacketMemory {
    context: *mut xdp_md,
}

impl PacketMemory {
    /// The frame of a context.
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// Read anew each time: the compiler must not conclude from one check of bounds that another
    /// one holds, because the verifier does not follow it there.
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the context is the one that the kernel called us with.
        (unsafe { read_volatile(&raw const (*self.context).data) }) as usize
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        (unsafe { read_volatile(&raw const (*self.context).data_end) }) as usize
    }
}

impl Frame for PacketMemory {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is the one that the kernel called us with.
        (unsafe { bpf_xdp_get_buff_len(self.context) }) as usize
    }

    #[inline(always)]
    fn linear_len(&self) -> usize {
        self.end() - self.start()
    }

    #[inline(always)]
    fn header<T: FromBytes + KnownLayout + Immutable>(&self, at: usize) -> Result<&T, Reason> {
        let start = self.start() + at;
        if start + size_of::<T>() > self.end() {
            return Err(Reason::Truncated);
        }
        // SAFETY: in bounds by the check above; headers accept any bytes and start at even
        // addresses.
        Ok(unsafe { &*(start as *const T) })
    }

    #[inline(always)]
    fn header_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
        &mut self,
        at: usize,
    ) -> Result<&mut T, Reason> {
        let start = self.start() + at;
        if start + size_of::<T>() > self.end() {
            return Err(Reason::Truncated);
        }
        // SAFETY: in bounds by the check above; headers accept any bytes and start at even
        // addresses; the frame is borrowed for as long as what is lent.
        Ok(unsafe { &mut *(start as *mut T) })
    }

    #[inline(always)]
    fn moved_head(self, by: isize) -> Result<Self, Self> {
        // SAFETY: the context is the kernel's own, and no reference into packet memory is alive.
        match unsafe { bpf_xdp_adjust_head(self.context, -(by as i32)) } {
            0 => Ok(self),
            _ => Err(self),
        }
    }

    #[inline(always)]
    fn shortened(self, len: usize) -> Result<Self, Self> {
        let delta = len as i64 - self.len() as i64;
        if delta > 0 {
            return Err(self);
        }
        // SAFETY: as above.
        match unsafe { bpf_xdp_adjust_tail(self.context, delta as i32) } {
            0 => Ok(self),
            _ => Err(self),
        }
    }
}
