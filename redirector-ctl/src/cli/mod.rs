//! The command line: arguments, one HTTP request, one table. It knows the daemon only through the
//! API, like any other client.

mod args;
mod check_args;
mod client;
mod plan;
mod request;
mod service_args;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

pub use args::{Address, Args, Ask, Command, ConfigFile, Options, Output};
pub use client::AskError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Refused by the daemon, or failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Asks the daemon and prints its answer: data to `out`, everything else to `err`.
///
/// # Errors
/// When `out` or `err` cannot be written, for instance because the reader of a pipe is gone.
pub async fn ask(
    ask: Ask,
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let request = match request::of(ask) {
        Ok(request) => request,
        Err(mistake) => {
            writeln!(err, "redirector: {mistake}")?;
            return Ok(Exit::Usage);
        }
    };
    match client::send(&options.api, &request).await {
        Ok(body) => print(&body, &request.show, options.output, out, err),
        Err(AskError::Refused { body, .. }) if options.output == Output::Json => {
            err.write_all(&body)?;
            writeln!(err)?;
            Ok(Exit::Failed)
        }
        Err(error) => {
            writeln!(err, "redirector: {error}")?;
            let unreachable = matches!(error, AskError::Unreachable { .. });
            Ok(if unreachable { Exit::Unreachable } else { Exit::Failed })
        }
    }
}

fn print(
    body: &[u8],
    show: &request::Show,
    output: Output,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let shown = match (output, show) {
        (Output::Json, _) => {
            out.write_all(body)?;
            return Ok(Exit::Done);
        }
        (Output::Table, request::Show::Text(text)) => Ok(text.clone()),
        (Output::Table, request::Show::Body(shown)) => shown(body),
    };
    match shown {
        Ok(text) => out.write_all(text.as_bytes()).map(|()| Exit::Done),
        Err(error) => {
            writeln!(
                err,
                "redirector: the daemon answers in a form that this program does not know \
                 ({error}): are they of the same version? --output json prints it as it is"
            )?;
            Ok(Exit::Failed)
        }
    }
}
