//! The binary as a shell sees it: what it prints where, and its exit codes. Nothing here needs root
//! or a daemon.

use std::path::Path;
use std::process::{Command, Output};

const FIFTY_MISTAKES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/testdata/fifty_mistakes.toml");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redirector.example.toml");

fn redirector(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redirector"));
    command.env_remove("REDIRECTOR_API").args(words).output().expect("the binary is built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

#[test]
fn fifty_mistakes_are_fifty_lines_with_file_and_line() {
    let output = redirector(&["check", "--config", FIFTY_MISTAKES]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    assert_eq!(lines.len(), 50, "{lines:#?}");
    let first = format!("{FIFTY_MISTAKES}:3: redirector.state_dir: ");
    assert!(lines[0].starts_with(&first), "{}", lines[0]);
}

#[test]
fn the_example_is_checked_well() {
    let output = redirector(&["check", "--config", EXAMPLE]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("is valid: 2 interfaces, 3 servers, 2 devices\n"));
}

#[test]
fn a_daemon_does_not_start_with_a_bad_or_missing_file() {
    let output = redirector(&["run", "--config", FIFTY_MISTAKES]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().count(), 50);
    let output = redirector(&["run", "--config", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("/nonexistent.toml: No such file or directory"), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn a_daemon_does_not_start_on_an_interface_that_does_not_exist() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("redirector.toml");
    let state_dir = directory.path().join("state");
    let socket = directory.path().join("api.sock");
    let written = format!(
        "[redirector]\nstate_dir = {state_dir:?}\n[api]\nunix_socket = {socket:?}\n\
         [[interface]]\nname = \"nosuch0\"\n"
    );
    std::fs::write(&config, written).expect("a file");
    let output = redirector(&["run", "--config", path(&config)]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("interface[0].name: nosuch0 does not exist"), "{said}");
    assert!(!socket.exists());
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn wrong_usage_exits_2_and_an_unreachable_daemon_3() {
    assert_eq!(redirector(&["fly"]).status.code(), Some(2));
    assert_eq!(redirector(&[]).status.code(), Some(2));
    let output = redirector(&["--api", "unix:/nonexistent/api.sock", "device", "list"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("is it running"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn completions_and_manual_pages_have_the_commands() {
    let script = redirector(&["completions", "bash"]);
    assert_eq!(script.status.code(), Some(0));
    assert!(text(&script.stdout).contains("redirector__subcmd__device__subcmd__move"));
    let page = redirector(&["man"]);
    assert!(text(&page.stdout).starts_with(".ie") || text(&page.stdout).contains(".TH redirector"));
    let directory = tempfile::tempdir().expect("a directory");
    let output = redirector(&["man", "--dir", path(directory.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let page = directory.path().join("redirector-device-move.1");
    let page = std::fs::read_to_string(page).expect("a page for each command");
    assert!(page.contains("its new flows go to another server"), "{page}");
}
