//! The unsafe part of the tables: kernel memory mapped into the daemon, batch reads, and the one
//! `Pod`.
//!
//! Everything here is as small as it can be; the meaning of what is read and written is in
//! `tables.rs`.

use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use zerocopy::{FromBytes, IntoBytes};

/// A wire type as a value of an aya map.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Wire<T>(pub T);

// SAFETY: `FromBytes` accepts any bytes, `IntoBytes` has no padding, so the bytes are the value
// both ways.
unsafe impl<T: FromBytes + IntoBytes + Copy + 'static> aya::Pod for Wire<T> {}

/// An array map's values, mapped: words of 8 bytes, each stored and loaded whole.
///
/// Only for arrays made with `BPF_F_MMAPABLE` (kernel 5.5, commit fc9702273e2e), whose value size
/// is a multiple of 8.
#[derive(Debug)]
pub struct MappedWords {
    start: NonNull<AtomicU64>,
    words_len: usize,
    mapped_len: NonZeroUsize,
}

// SAFETY: the memory is the kernel's and lives as long as the mapping; all access is atomic.
unsafe impl Send for MappedWords {}

impl MappedWords {
    /// Maps an array of `entries` values of `value_len` bytes.
    ///
    /// # Errors
    ///
    /// What mmap says: the map was not made to be mapped, or memory is short.
    pub fn new(map: &MapData, entries: u32, value_len: usize) -> io::Result<Self> {
        let bytes = entries as usize * value_len;
        let page = page_len();
        let mapped_len = NonZeroUsize::new(bytes.div_ceil(page) * page)
            .ok_or_else(|| io::Error::other("an empty array cannot be mapped"))?;
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new shared mapping of a file descriptor that we hold; the kernel chooses the
        // place.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_len.get(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast())
            .ok_or_else(|| io::Error::other("the array was mapped at address zero"))?;
        Ok(Self { start, words_len: bytes / 8, mapped_len })
    }

    /// Number of words.
    pub fn words_len(&self) -> usize {
        self.words_len
    }

    /// Loads a word.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`Self::words_len`]: callers check ids against the table's size
    /// first.
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Stores a word, whole: a packet on another CPU sees the old word or the new one.
    ///
    /// # Panics
    ///
    /// As of [`Self::load`].
    pub fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words_len, "word {index} of {}", self.words_len);
        // SAFETY: inside the mapping by the check above, so the sum cannot overflow.
        let word = unsafe { self.start.add(index) };
        // SAFETY: aligned, since a mapping begins at a page; the kernel too only accesses it by
        // whole words.
        unsafe { word.as_ref() }
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: our own mapping; no reference to its words outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped_len.get()) };
    }
}

fn page_len() -> usize {
    // SAFETY: asks for a constant of the system.
    let len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(len).unwrap_or(4096)
}

/// Waits until no packet is in flight that began before the call: an RCU grace period.
///
/// XDP programs run as RCU readers, so a packet that read the old bank has left when this returns.
/// Milliseconds.
///
/// # Errors
///
/// What membarrier says: EINVAL on kernels with `nohz_full` CPUs.
pub fn wait_for_packets_in_flight() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without memory arguments.
    match unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `bpf_attr` of BPF_MAP_LOOKUP_BATCH (kernel 5.6, commit cb4d03ab499d).
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// What one reading gave.
#[derive(Debug)]
pub enum Batch<K, V> {
    /// The next entries.
    Entries(Vec<(K, V)>),
    /// Those that the kernel keeps together do not fit into the room.
    NoRoom,
}

/// Reads a hash map batch by batch; entries that come or go meanwhile may be met or not.
#[derive(Debug)]
pub struct BatchReader<K, V> {
    /// The kernel's position: a bucket number.
    position: Option<u32>,
    done: bool,
    entries: PhantomData<(K, V)>,
}

impl<K: FromBytes + IntoBytes + Copy, V: FromBytes + IntoBytes + Copy> BatchReader<K, V> {
    /// A reader at the map's beginning.
    pub fn from_beginning() -> Self {
        Self::from_position(None)
    }

    /// A reader that goes on where another one was; None for the beginning. A position beyond the
    /// map's end is its end.
    pub fn from_position(position: Option<u32>) -> Self {
        Self { position, done: false, entries: PhantomData }
    }

    /// Where it is; None at the beginning.
    pub fn position(&self) -> Option<u32> {
        self.position
    }

    /// Whether it is at the end.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads the next entries, at most `room` of them.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn batch(&mut self, map: &MapData, room: u32) -> io::Result<Batch<K, V>> {
        let mut keys = vec![K::new_zeroed(); room as usize];
        let mut values = vec![V::new_zeroed(); room as usize];
        let before = self.position;
        let (error, count) = self.read(map, &mut keys, &mut values);
        match error.as_ref().and_then(io::Error::raw_os_error) {
            Some(libc::ENOSPC) => {
                self.position = before;
                Ok(Batch::NoRoom)
            }
            None | Some(libc::ENOENT) => {
                self.done = error.is_some();
                Ok(Batch::Entries(keys.into_iter().zip(values).take(count as usize).collect()))
            }
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Reads the next entries, about `batch_len` of them; None at the end.
    ///
    /// # Errors
    ///
    /// What the kernel says; a bucket that does not fit is asked for again with more room.
    pub fn next(&mut self, map: &MapData, batch_len: u32) -> io::Result<Option<Vec<(K, V)>>> {
        let mut room = batch_len.max(64);
        while !self.done {
            match self.batch(map, room)? {
                Batch::NoRoom => room *= 2,
                Batch::Entries(entries) => return Ok(Some(entries)),
            }
        }
        Ok(None)
    }

    fn read(
        &mut self,
        map: &MapData,
        keys: &mut [K],
        values: &mut [V],
    ) -> (Option<io::Error>, u32) {
        let mut out_position = 0_u32;
        let in_position = self.position;
        let mut attr = BatchAttr {
            in_batch: in_position
                .as_ref()
                .map_or(0, |position| std::ptr::from_ref(position) as u64),
            out_batch: std::ptr::from_mut(&mut out_position) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: keys.len().min(values.len()) as u32,
            map_fd: map.fd().as_fd().as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values, for which there is room, and
        // any bytes are valid for them; the map's key and value sizes were compared with K and V
        // when it was opened.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                std::ptr::from_mut(&mut attr),
                size_of::<BatchAttr>(),
            )
        };
        let error = (result != 0).then(io::Error::last_os_error);
        self.position = Some(out_position);
        (error, attr.count)
    }
}
