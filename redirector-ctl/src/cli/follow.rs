//! `redirector events --follow`: the daemon's event stream, line by line, over its restarts.

use std::io::{self, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args::{Options, Output};
use super::client::{AskError, Stream};
use super::words::word;
use super::{Exit, client, complain};
use crate::api::events::Event;
use crate::api::stream::Notice;

/// Pause before the daemon is asked again after a stream has ended.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is asked in vain before that is the end.
const TRIES_MAX: u32 = 30;

/// Prints events as they come, first those after number `after`, until somebody stops it.
///
/// # Errors
/// When `out` or `err` cannot be written.
pub(super) async fn follow(
    after: u64,
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let mut last_id: Option<String> = None;
    let mut tries = 0;
    loop {
        match client::stream(options, after, last_id.as_deref()).await {
            Ok(mut stream) => {
                tries = 0;
                let mut printer = Printer { output: options.output, last_id: &mut last_id };
                printer.all(&mut stream, out, err).await?;
                writeln!(err, "redirector: the stream has ended, asking for a new one")?;
            }
            // Somebody who has listened before waits for the daemon to come back.
            Err(AskError::Unreachable { .. }) if last_id.is_some() && tries < TRIES_MAX => {
                tries += 1;
            }
            Err(error) => return complain(&error, err),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Printer<'a> {
    output: Output,
    last_id: &'a mut Option<String>,
}

impl Printer<'_> {
    /// Prints a stream to its end.
    async fn all(
        &mut self,
        stream: &mut Stream,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> io::Result<()> {
        let mut reader = Reader::default();
        // How a stream breaks off does not matter: it is asked for again.
        while let Ok(Some(bytes)) = stream.next().await {
            for message in reader.take(&bytes) {
                self.one(message, out, err)?;
            }
            out.flush()?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        message: Message,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> io::Result<()> {
        if !message.event.is_empty() {
            return match parsed::<Notice>(&message.data) {
                Some(notice) => writeln!(err, "redirector: {}: {}", notice.code, notice.detail),
                None => Ok(()),
            };
        }
        if !message.id.is_empty() {
            *self.last_id = Some(message.id);
        }
        match (self.output, parsed::<Event>(&message.data)) {
            (Output::Json, _) | (_, None) => writeln!(out, "{}", message.data),
            (Output::Table, Some(event)) => {
                let Event { id, at, kind, text, .. } = event;
                writeln!(out, "{id:>4}  {at}  {:<14}  {text}", word(&kind))
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(data: &str) -> Option<T> {
    serde_json::from_str(data).ok()
}

/// One message of a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Message {
    event: String,
    id: String,
    data: String,
}

/// Bytes into messages, wherever they were cut (WHATWG HTML, section 9.2.6; lines end in LF here,
/// which is what the daemon sends).
#[derive(Debug, Default)]
struct Reader {
    rest: Vec<u8>,
    message: Message,
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend_from_slice(bytes);
        let mut done = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            done.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        done
    }

    /// A line; an empty one ends a message.
    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return (!message.data.is_empty()).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "id" => value.clone_into(&mut self.message.id),
            "data" if self.message.data.is_empty() => value.clone_into(&mut self.message.data),
            "data" => {
                self.message.data.push('\n');
                self.message.data.push_str(value);
            }
            // Comments, which keep the stream alive, and what a later daemon may add.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_wherever_the_bytes_were_cut() {
        let text = ": nothing new\n\nid: 5-1\ndata: {\"a\":1}\n\nevent: end\ndata: x\ndata: y\n\n";
        let whole = Reader::default().take(text.as_bytes());
        let message = |event: &str, id: &str, data: &str| {
            let [event, id, data] = [event, id, data].map(str::to_owned);
            Message { event, id, data }
        };
        assert_eq!(whole, [message("", "5-1", "{\"a\":1}"), message("end", "", "x\ny")]);
        let mut reader = Reader::default();
        let by_byte: Vec<Message> = text.bytes().flat_map(|byte| reader.take(&[byte])).collect();
        assert_eq!(by_byte, whole);
    }
}
