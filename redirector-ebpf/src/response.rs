//! Response times: where questions lie, and which clock times them.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use redirector_common::response::{self, Question, Saying};
use redirector_common::verdict::{Account, Action};

use crate::maps::{QUESTIONS, RESPONSES};
use crate::tables::{load, store};

struct Place(*mut u64);

impl Question for Place {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        load(self.0.wrapping_add(index))
    }

    #[inline(always)]
    fn set_word(&self, index: usize, value: u64) {
        store(self.0.wrapping_add(index), value);
    }
}

/// Notes a packet that was carried for a device.
#[inline(always)]
pub fn note(account: &Account, saying: &Saying) {
    if matches!(account.action, Action::Pass | Action::Drop) {
        return;
    }
    let Some(question) = QUESTIONS.get_ptr_mut(account.device) else { return };
    // SAFETY: the helper takes no argument; the kernel puts a load in its place.
    let tick = || unsafe { bpf_jiffies64() } as u32;
    // SAFETY: the helper takes no argument.
    let now_ns = || unsafe { bpf_ktime_get_ns() };
    let Some(took_ns) = response::note(&Place(question.cast()), saying, tick, now_ns) else {
        return;
    };
    if let Some(times) = RESPONSES.get_ptr_mut(account.device) {
        // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
        let times = unsafe { &mut *times };
        times.sum_ns += took_ns;
        // The compiler knows how many buckets there are; the verifier wants it checked.
        let bucket = core::hint::black_box(response::bucket(took_ns));
        if let Some(count) = times.buckets.get_mut(bucket) {
            *count += 1;
        }
    }
}
