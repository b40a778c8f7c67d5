//! What each CPU has looked up last: service addresses and servers' endpoints. Most packets go to
//! or come from few of them, and a line here costs a fraction of a look at the kernel's hash.
//!
//! A line counts in one edition of both tables. The daemon begins another one with each change of
//! them, after the change and before whatever rests on it. The edition is read before the table, so
//! that what was found before a change is not noted under the edition after it. A processor that
//! reorders loads might; so another edition begins before a device's line changes.

use redirector_common::family::Family;
use redirector_common::order::Words as _;
use redirector_common::wire::{CONTROL_EDITION, Origin};

use crate::maps::Maps;
use crate::tables::control;

/// Lines for ends of each kind, as a power of two.
const LINES_SHIFT: u32 = 8;
/// Lines of each CPU.
pub const LINES_LEN: u32 = 2 << LINES_SHIFT;

/// What an end is looked up as.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A service address: of the answer only the device counts.
    Service,
    /// A server's endpoint.
    Origin,
}

/// An end that was looked up. All zero for none.
#[repr(C, align(8))]
pub struct Line<F: Family> {
    /// The edition, and one more.
    edition: u64,
    end: F::Endpoint,
    means: Origin,
}

/// What an end means: as this CPU has looked it up last, or else as `look` finds it now.
///
/// Only what is found takes a line, so that packets to where nothing is cannot push out the rest.
#[inline(always)]
pub fn find<F: Maps>(
    kind: Kind,
    end: &F::Endpoint,
    look: impl FnOnce() -> Option<Origin>,
) -> Option<Origin> {
    let edition = control(CONTROL_EDITION).wrapping_add(1);
    let line = F::latest().get_ptr_mut(place::<F>(kind, end))?;
    // SAFETY: this CPU's own line, and no other program runs on it meanwhile.
    let line = unsafe { &mut *line };
    if line.edition == edition && F::same_end(&line.end, end) {
        return Some(line.means);
    }
    let means = look()?;
    line.edition = edition;
    line.end = *end;
    line.means = means;
    Some(means)
}

/// Addresses are told apart by their upper bits once mixed, and ports by either byte.
#[inline(always)]
fn place<F: Family>(kind: Kind, end: &F::Endpoint) -> u32 {
    let (address, port, _) = F::parts(end);
    let port = u32::from(port.raw());
    let mixed = address.fold().wrapping_mul(0x9e37_79b1) >> (32 - LINES_SHIFT);
    (kind as u32) << LINES_SHIFT | (mixed ^ port ^ port >> 8) & ((1 << LINES_SHIFT) - 1)
}
