//! Builds the XDP program for its own target, so that the daemon carries it inside.
//!
//! Into `OUT_DIR` come `redirector-xdp` and `redirector-ticks` (the product) and `redirector-lab`
//! (the harness). The script chooses among the compilers that are there and installs nothing: that
//! is the work of `cargo xtask setup`. `AYA_BUILD_SKIP=1` leaves empty objects, for a look at the
//! daemon's sources without a BPF compiler; such a daemon cannot attach.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use aya_build::{Package, Toolchain};

/// Names the rustup toolchain to use, before any search.
const TOOLCHAIN_VARIABLE: &str = "REDIRECTOR_BPF_TOOLCHAIN";
/// The name under which `cargo xtask setup` links a distribution's compiler that has a `core` for
/// BPF.
const LINKED_TOOLCHAIN: &str = "redirector-bpf";
const NIGHTLY: &str = "nightly";
const OBJECTS: [&str; 3] = ["redirector-xdp", "redirector-ticks", "redirector-lab"];
/// The argument by which the second start knows that it is the second.
const STARTED_AGAIN: &str = "--started-again";
const REMEDY: &str = "run: cargo xtask setup";

/// A toolchain that can build for BPF, and what it needs to be told.
struct Compiler {
    name: String,
    sysroot: PathBuf,
    /// A released compiler has a `core` for BPF ready made, but refuses the one unstable feature of
    /// aya-ebpf unless `RUSTC_BOOTSTRAP` names that crate. A nightly needs no leave and builds
    /// `core` from rust-src.
    released: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line that says what to do; a backtrace of a build script helps nobody.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    print_inputs()?;
    if skipped() {
        return write_empty_objects();
    }
    let compiler = choose_compiler()?;
    let linker = find_in_path("bpf-linker").with_context(|| {
        format!("bpf-linker is not on PATH and nothing else links BPF; {REMEDY}")
    })?;
    // A new compiler or linker makes a new object.
    println!("cargo::rerun-if-changed={}", compiler.sysroot.join("bin/rustc").display());
    println!("cargo::rerun-if-changed={}", linker.display());

    if env::args().nth(1).as_deref() == Some(STARTED_AGAIN) {
        return build(&compiler);
    }
    start_again(&compiler)
}

/// Tells cargo what the objects are made of.
///
/// The build dependency on redirector-ebpf covers only its (empty) library, and on the host that
/// library does not depend on redirector-common. Without these lines an edit of the shared crate
/// alone would leave the old program in a new daemon.
fn print_inputs() -> Result<()> {
    let workspace = workspace_dir()?;
    for input in ["redirector-common", "redirector-ebpf", "Cargo.toml", "Cargo.lock"] {
        let path = workspace.join(input);
        ensure!(path.exists(), "{} is missing: the BPF object is built from it", path.display());
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    Ok(())
}

fn skipped() -> bool {
    println!("cargo::rerun-if-env-changed=AYA_BUILD_SKIP");
    env::var("AYA_BUILD_SKIP").is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
}

fn write_empty_objects() -> Result<()> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    println!(
        "cargo::warning=AYA_BUILD_SKIP is set: this daemon carries no XDP program and cannot attach"
    );
    for object in OBJECTS {
        fs::write(out_dir.join(object), []).with_context(|| format!("cannot write {object}"))?;
    }
    Ok(())
}

fn choose_compiler() -> Result<Compiler> {
    if let Ok(name) = env::var(TOOLCHAIN_VARIABLE) {
        return inspect(&name)?.with_context(|| {
            format!(
                "{TOOLCHAIN_VARIABLE}={name}: rustup has no such toolchain, or it has neither a \
                 core for {target} nor rust-src; unset the variable and {REMEDY}",
                target = bpf_target(),
            )
        });
    }
    for name in [LINKED_TOOLCHAIN, NIGHTLY] {
        if let Some(compiler) = inspect(name)? {
            return Ok(compiler);
        }
    }
    bail!(
        "no compiler for {target}: rustup has neither a toolchain linked as {LINKED_TOOLCHAIN} \
         with a core for BPF nor a {NIGHTLY} with rust-src; {REMEDY}",
        target = bpf_target(),
    )
}

/// What the toolchain `name` is good for; `None` when it is absent or cannot build for BPF.
fn inspect(name: &str) -> Result<Option<Compiler>> {
    let output = Command::new("rustup")
        .args(["run", name, "rustc", "--print", "sysroot"])
        .env("RUSTUP_AUTO_INSTALL", "0")
        .output()
        .context(
            "cannot run rustup, which names the BPF compiler; install it from https://rustup.rs",
        )?;
    if !output.status.success() {
        return Ok(None);
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let released = sysroot.join("lib/rustlib").join(bpf_target()).join("lib").is_dir();
    let has_sources = sysroot.join("lib/rustlib/src/rust/library/core").is_dir();
    Ok((released || has_sources).then(|| Compiler { name: name.to_owned(), sysroot, released }))
}

/// Runs this very script once more, as a child whose environment and output are ours to shape.
///
/// A released compiler needs `RUSTC_BOOTSTRAP`, which aya-build takes from its process and hands
/// on. Changing the environment of a running process is unsafe, and an `[env]` entry in cargo's
/// configuration would reach the build of every crate on the host.
fn start_again(compiler: &Compiler) -> Result<()> {
    let mut command = Command::new(env::current_exe().context("cannot find this build script")?);
    command.arg(STARTED_AGAIN).stdout(Stdio::piped());
    if compiler.released {
        command.env("RUSTC_BOOTSTRAP", "aya_ebpf");
    }
    let mut child = command.spawn().context("cannot start the build script again")?;
    let stdout = child.stdout.take().context("the child's output was asked to be a pipe")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the build prints")?;
        if !is_progress(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for the build")?;
    ensure!(status.success(), "the build of the BPF objects failed ({status})");
    Ok(())
}

/// The inner cargo's progress, which aya-build hands on as warnings: cargo right-aligns its verb in
/// twelve columns, a compiler's message never looks like that.
fn is_progress(line: &str) -> bool {
    let Some(message) = line.strip_prefix("cargo:warning=") else {
        return false;
    };
    let verb = message.trim_start().split(' ').next().unwrap_or_default();
    message.len() > 12
        && message.find(verb).is_some_and(|indent| indent + verb.len() == 12)
        && verb.starts_with(|first: char| first.is_ascii_uppercase())
}

fn build(compiler: &Compiler) -> Result<()> {
    let root_dir = workspace_dir()?.join("redirector-ebpf");
    let root_dir = root_dir.to_str().context("the path of redirector-ebpf is not UTF-8")?;
    share_target_dir()?;
    let package = Package { name: "redirector-ebpf", root_dir, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&compiler.name))
        .with_context(|| format!("toolchain {}; if tools are missing, {REMEDY}", compiler.name))
}

/// Lets all builds of the workspace compile the BPF crates in one place, `target/bpf`.
///
/// Cargo gives this script another `OUT_DIR` for each profile and set of features, and aya-build
/// compiles everything below it; the objects are the same each time. The inner cargo locks the
/// place while it works there.
fn share_target_dir() -> Result<()> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    // target/<profile>/build/<package>/out
    let Some(target_dir) = out_dir.ancestors().nth(4) else { return Ok(()) };
    let (own, shared) = (out_dir.join("aya-build"), target_dir.join("bpf"));
    fs::create_dir_all(&shared).with_context(|| format!("cannot make {}", shared.display()))?;
    if own.is_dir() && !own.is_symlink() {
        fs::remove_dir_all(&own).with_context(|| format!("cannot remove {}", own.display()))?;
    }
    match std::os::unix::fs::symlink(&shared, &own) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot link {}", own.display()))
        }
        _ => Ok(()),
    }
}

fn bpf_target() -> &'static str {
    match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    }
}

fn workspace_dir() -> Result<PathBuf> {
    let manifest_dir =
        env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let parent = Path::new(&manifest_dir).parent();
    Ok(parent.context("redirector-ctl lies in its workspace")?.to_owned())
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
