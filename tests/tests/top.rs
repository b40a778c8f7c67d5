//! `redirector top` on a real terminal: it shows what is there and what changes, says when the
//! daemon is gone, and leaves the terminal as it found it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::terminal::Terminal;

const WITHIN: Duration = Duration::from_secs(20);

fn top(lab: &Lab) -> Result<Terminal> {
    let program = lab.redirector.program().display();
    let socket = lab.redirector.socket().display();
    Terminal::start(lab.run(), &format!("{program} --api unix:{socket} top"))
}

/// What the shell said after the program had ended: its exit code, and how the terminal is set.
fn expect_restored(written: &str) -> Result<()> {
    let (drawn, after) = written.rsplit_once("ended 0").context("it did not end with 0")?;
    ensure!(drawn.contains("\x1b[?1049h"), "it did not draw on a screen of its own");
    let left = drawn.rfind("\x1b[?1049l") > drawn.rfind("\x1b[?1049h");
    ensure!(left, "it did not go back to the first screen");
    ensure!(drawn.rfind("\x1b[?25h") > drawn.rfind("\x1b[?25l"), "the cursor is hidden");
    let set: Vec<&str> = after.split([' ', ';', '\r', '\n']).collect();
    for flag in ["echo", "icanon", "isig"] {
        ensure!(set.contains(&flag), "the terminal has lost {flag}: {after}");
    }
    Ok(())
}

#[test]
fn it_draws_follows_a_move_says_when_the_daemon_is_gone_and_quits_cleanly() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let mut terminal = top(&lab)?;
    terminal.wait_for(&["SERVER", "HEALTH", "LOAD"], WITHIN)?;
    terminal.wait_for(&["s3", "active", "healthy", "------------"], WITHIN)?;
    terminal.wait_for(&["echo-a", "10.0.1.102:7000", "s1"], WITHIN)?;
    lab.api()?.move_device("echo-a", "s3")?;
    terminal.wait_for(&["echo-a", "10.0.1.102:7000", "s3"], WITHIN)?;
    terminal.wait_for(&["move", "echo-a"], WITHIN)?;

    terminal.press("s")?;
    terminal.wait_for(&["sort: traffic"], WITHIN)?;
    terminal.press("/disk-b\r")?;
    terminal.wait_for(&["devices, 1 shown"], WITHIN)?;
    ensure!(!terminal.wait_for(&["10.0.1."], WITHIN)?.contains("echo-a"));
    terminal.press("\x1b")?;
    terminal.wait_for(&["devices, 4 shown"], WITHIN)?;

    lab.redirector.kill()?;
    terminal.wait_for(&["UNREACHABLE", "old"], WITHIN)?;
    terminal.wait_for(&["disk-a"], WITHIN)?;
    lab.start_redirector()?;
    terminal.wait_for(&["redirector 0", "generation"], WITHIN)?;
    terminal.press("q")?;
    expect_restored(&terminal.wait_end(WITHIN)?)
}

#[test]
fn one_frame_is_text_without_control_characters_and_a_missing_daemon_is_code_3() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let frame = lab.redirector.cli(&["top", "--once"])?;
    ensure!(frame.status.success(), "{frame:?}");
    let text = String::from_utf8(frame.stdout)?;
    for word in ["servers", "s1", "disk-a", "REQUESTS", "events", "q quit"] {
        ensure!(text.contains(word), "{word} is missing in:\n{text}");
    }
    ensure!(!text.contains('\x1b'), "{text:?}");
    lab.redirector.stop()?;
    let nobody = lab.redirector.cli(&["top", "--once"])?;
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    Ok(())
}
