//! The command line: arguments, one HTTP request, one table. It knows the daemon only through the
//! API, like any other client.

mod access_args;
mod args;
mod association_args;
mod check_args;
mod client;
mod declare;
mod device_args;
mod flow_args;
mod flow_table;
mod follow;
mod plan;
mod record;
mod request;
mod server_args;
mod service_args;
mod table;
#[cfg(test)]
mod tests;
mod top;
mod wait;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

pub use access_args::TokenCommand;
pub use args::{Address, Args, Ask, Command, ConfigFile, Options, Output};
pub use client::AskError;
use reqwest::{Method, StatusCode};

use crate::api::problem::Pending;

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
    if let Ask::Events { after, follow: true, .. } = ask {
        return follow::follow(after, options, out, err).await;
    }
    match ask {
        Ask::Top { .. } if options.output == Output::Json => {
            return top::snapshot(options, out, err).await;
        }
        Ask::Top { once: true } => return top::once(options, out, err).await,
        Ask::Record(command) => return record::record(command, options, out, err).await,
        Ask::Top { once: false } => return top::watch(options).await,
        Ask::Export => return declare::export(options, out, err).await,
        Ask::Apply { file, yes } => return declare::apply(&file, yes, options, out, err).await,
        _ => {}
    }
    let request = match request::of(ask) {
        Ok(request) => request,
        Err(mistake) => {
            writeln!(err, "redirector: {mistake}")?;
            return Ok(Exit::Usage);
        }
    };
    match client::send(options, &request).await {
        Ok(answer) => {
            let exit = if answer.status == StatusCode::ACCEPTED {
                pending(&answer.body, err)?
            } else {
                print(&answer.body, &request.show, options.output, out, err)?
            };
            match (exit, options.wait && request.method != Method::GET) {
                (Exit::Done, true) => {
                    wait::wait(answer.generation, &request.drains, options, err).await
                }
                _ => Ok(exit),
            }
        }
        Err(AskError::Refused { body, .. }) if options.output == Output::Json => {
            err.write_all(&body)?;
            writeln!(err)?;
            Ok(Exit::Failed)
        }
        Err(error) => complain(&error, err),
    }
}

/// Says why there is no good answer.
fn complain(error: &AskError, err: &mut impl Write) -> io::Result<Exit> {
    writeln!(err, "redirector: {error}")?;
    let unreachable = matches!(error, AskError::Unreachable { .. });
    Ok(if unreachable { Exit::Unreachable } else { Exit::Failed })
}

/// Says of a change that is accepted what it still lacks.
fn pending(body: &[u8], err: &mut impl Write) -> io::Result<Exit> {
    let detail = serde_json::from_slice::<Pending>(body).map(|pending| pending.detail);
    writeln!(err, "redirector: {}", detail.unwrap_or_else(|_| "accepted".to_owned()))?;
    Ok(Exit::Done)
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
