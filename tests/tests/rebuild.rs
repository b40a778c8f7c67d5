//! The rebuild trap: an edit of the shared crate alone must reach the BPF object, or a stale
//! program is loaded and every other test lies.
//!
//! The build script under test is the real one, in a copy of the workspace that leaves out what the
//! script does not need (the daemon itself). The copy stays under cargo's directory for tests, so
//! that only the first run builds the script's dependencies.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

const OBJECT: &str = "redirector-xdp";
/// A file of the shared crate whose lines are in the program, and so in its debug information.
const SHARED_SOURCE: &str = "redirector-common/src/decide.rs";

#[test]
fn an_edit_of_the_shared_crate_alone_changes_the_bpf_object() -> Result<()> {
    let copy = make_copy()?;
    let first = read_object(&build(&copy)?)?;

    let source = copy.join(SHARED_SOURCE);
    let text = fs::read_to_string(&source)?;
    // Every later line moves down: the object differs if and only if it was built from this text.
    fs::write(&source, format!("{text}\n").replacen("\npub fn ", "\n\n\npub fn ", 1))?;
    let second = read_object(&build(&copy)?)?;

    ensure!(first != second, "the object is the same after {SHARED_SOURCE} was changed");
    Ok(())
}

#[test]
fn the_build_script_names_every_source_of_the_object() -> Result<()> {
    let script = fs::read_to_string(workspace_dir().join("redirector-ctl/build.rs"))?;
    let ebpf = fs::read_to_string(workspace_dir().join("redirector-ebpf/Cargo.toml"))?;
    let ours = ebpf.lines().filter_map(|line| line.strip_suffix(".workspace = true"));
    for name in ours.filter(|name| name.starts_with("redirector-")) {
        ensure!(
            script.contains(&format!("\"{name}\"")),
            "redirector-ebpf depends on {name}, and redirector-ctl/build.rs does not watch it"
        );
    }
    Ok(())
}

fn workspace_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// Copies the two crates of the program and the build script into a workspace of their own.
fn make_copy() -> Result<PathBuf> {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rebuild");
    for name in ["redirector-common", "redirector-ebpf"] {
        let target = copy.join(name);
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        copy_dir(&workspace_dir().join(name), &target)?;
    }
    fs::create_dir_all(copy.join("redirector-ctl/src"))?;
    for name in ["Cargo.lock", "redirector-ctl/build.rs"] {
        fs::copy(workspace_dir().join(name), copy.join(name)).with_context(|| name.to_owned())?;
    }

    let manifest = fs::read_to_string(workspace_dir().join("Cargo.toml"))?;
    let crates = r#"["redirector-common", "redirector-ebpf", "redirector-ctl"]"#;
    let lines = manifest.lines().map(|line| match line.split_once(" = ") {
        Some((key @ ("members" | "default-members"), _)) => format!("{key} = {crates}\n"),
        _ => format!("{line}\n"),
    });
    fs::write(copy.join("Cargo.toml"), lines.collect::<String>())?;

    let manifest = fs::read_to_string(workspace_dir().join("redirector-ctl/Cargo.toml"))?;
    fs::write(copy.join("redirector-ctl/Cargo.toml"), without_daemon(&manifest)?)?;
    fs::write(copy.join("redirector-ctl/src/lib.rs"), "//! The daemon is left out here.\n")?;
    Ok(copy)
}

/// The manifest of redirector-ctl with an empty library: only the build script's part remains.
fn without_daemon(manifest: &str) -> Result<String> {
    let (package, _) = manifest.split_once("\n[[bin]]").context("it has a program")?;
    let (_, rest) =
        manifest.split_once("\n[build-dependencies]").context("it builds the object")?;
    let script_part = rest.split("\n[").next().unwrap_or(rest);
    Ok(format!("{package}\n[build-dependencies]{script_part}"))
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Builds the copy and returns the object's path.
fn build(copy: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").context("cargo runs this test and says where it is")?;
    let output = Command::new(cargo)
        .current_dir(copy)
        // Nothing is fetched: what the script needs was there when this test was built.
        .args(["build", "--offline", "--package=redirector-ctl", "--message-format=json"])
        .arg("--target-dir")
        .arg(copy.join("target"))
        .output()?;
    ensure!(
        output.status.success(),
        "the copy does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout)?;
    let out_dir = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "build-script-executed")
        .find(|message| message["package_id"].to_string().contains("redirector-ctl"))
        .context("cargo does not name the build script of redirector-ctl")?;
    let out_dir = out_dir["out_dir"].as_str().context("cargo does not say where the object is")?;
    Ok(Path::new(out_dir).join(OBJECT))
}

fn read_object(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
