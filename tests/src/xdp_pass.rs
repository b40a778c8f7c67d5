//! The smallest XDP program: pass everything. It makes a veth a worthy peer of an interface that
//! runs the redirector, and nothing else.
//!
//! Two instructions need no compiler, so the program is written down as the kernel takes it and
//! loaded with bpf(2) itself. This and `packets` are the harness's only files with unsafe code.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Commands of bpf(2), from include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;
const XDP_PASS: u64 = 2;

/// `r0 = XDP_PASS; exit`. An instruction is opcode, registers, 16-bit offset, 32-bit immediate,
/// here as one little-endian word: the immediate is its upper half.
const PROGRAM: [u64; 2] = [0xb7 | (XDP_PASS << 32), 0x95];

/// The fields of `union bpf_attr` for BPF_PROG_LOAD up to the log.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The fields of `union bpf_attr` for BPF_OBJ_PIN.
#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Loads the program and pins it below the bpffs `dir`, where `ip link set .. xdpdrv pinned` finds
/// it.
///
/// # Errors
/// When the kernel refuses either (needs root).
pub fn load_and_pin(dir: &Path) -> Result<PathBuf> {
    let attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: PROGRAM.len() as u32,
        insns: PROGRAM.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let program = bpf(BPF_PROG_LOAD, &attributes).context("load the pass program")?;
    // SAFETY: BPF_PROG_LOAD returned a new file descriptor that nothing else owns.
    let program = unsafe { OwnedFd::from_raw_fd(program) };

    let path = dir.join("pass");
    let name = CString::new(path.as_os_str().as_bytes()).context("a path with a zero byte")?;
    let attributes = ObjPin {
        pathname: name.as_ptr() as u64,
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &attributes).with_context(|| format!("pin {}", path.display()))?;
    Ok(path)
}

/// bpf(2). `T` must be the leading part of `union bpf_attr` that `command` reads, and every address
/// in it must be of something that lives until this returns.
fn bpf<T>(command: libc::c_int, attributes: &T) -> Result<RawFd> {
    // SAFETY: the kernel reads size_of::<T>() bytes of a live `T`, and what the addresses in it
    // point to: both callers above fill them with addresses of live values. It writes nothing,
    // log_size is 0.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context("bpf(2)");
    }
    RawFd::try_from(result).context("a file descriptor beyond its type")
}
