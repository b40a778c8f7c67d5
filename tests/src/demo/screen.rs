//! The demo's output: a story of lines, and below it, on a terminal, a view that is drawn anew in
//! place. Without a terminal the view becomes plain lines, fewer of them.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::wait;

/// Where the story is told. Shared by the story and the live view.
pub struct Screen {
    began: Instant,
    is_terminal: bool,
    view: Mutex<Vec<String>>,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// A screen whose clock starts now.
    pub fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { began: wait::now(), is_terminal, view: Mutex::new(Vec::new()) }
    }

    /// Whether the view is drawn in place.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A heading of the story.
    pub fn chapter(&self, text: &str) {
        let text = if self.is_terminal { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
        self.print(&["".to_owned(), text]);
    }

    /// A line of the story, with the time.
    pub fn say(&self, text: &str) {
        self.print(&[format!("{:5.1} s  {text}", self.began.elapsed().as_secs_f64())]);
    }

    /// A line without the time, such as a command to copy.
    pub fn plain(&self, text: &str) {
        self.print(&[text.to_owned()]);
    }

    /// Shows `lines` as the view: in place on a terminal, as lines of the story elsewhere.
    pub fn show(&self, lines: Vec<String>) {
        if !self.is_terminal {
            lines.iter().for_each(|line| self.say(line));
            return;
        }
        let mut view = self.lock();
        let mut text = erase(view.len());
        *view = lines;
        append_all(&mut text, &view);
        write(&text);
    }

    /// Takes the view off the screen.
    pub fn hide(&self) {
        let mut view = self.lock();
        if self.is_terminal {
            write(&erase(view.len()));
        }
        view.clear();
    }

    fn print(&self, lines: &[String]) {
        let view = self.lock();
        let mut text = if self.is_terminal { erase(view.len()) } else { String::new() };
        append_all(&mut text, lines);
        append_all(&mut text, &view);
        write(&text);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The escape sequence that goes up `len` lines and clears from there.
fn erase(len: usize) -> String {
    if len == 0 { String::new() } else { format!("\x1b[{len}A\x1b[J") }
}

fn append_all(text: &mut String, lines: &[String]) {
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone (`| head`) does not stop the demo: it still has to clean up.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
