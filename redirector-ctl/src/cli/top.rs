//! `redirector top`: devices, servers, flows and events as they change, in a terminal. It asks the
//! API again and again, like anybody else, and says so when nobody answers.

use std::io::{self, Write};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event as TerminalEvent, KeyEventKind};
use ratatui::crossterm::terminal;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::args::Options;
use super::client::AskError;
use super::request::Request;
use super::{Exit, client};
use crate::api::events::EventList;

mod draw;
mod model;

use model::{Look, Model, Next};

/// From one look to the next.
const REFRESH: Duration = Duration::from_secs(1);
/// A look that takes long keeps the next one away for so many times as long.
const REST_FACTOR: u32 = 4;
/// How long a key is waited for before the screen is drawn again.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Events asked for at a time.
const EVENTS_MAX: usize = 1000;
/// A frame's size where there is no terminal.
const PLAIN_SIZE: (u16, u16) = (120, 40);

/// Prints one frame.
///
/// # Errors
/// When `out` cannot be written.
pub(super) async fn once(
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let mut model = Model::default();
    if let Err(error) = look(options, &mut model).await {
        return super::complain(&error, err);
    }
    let (columns, rows) = terminal::size().unwrap_or(PLAIN_SIZE);
    let mut terminal = Terminal::new(TestBackend::new(columns.max(60), rows.max(20)))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let drawn = terminal.draw(|frame| draw::draw(frame, &model));
    let buffer = drawn.map_err(|error| io::Error::other(error.to_string()))?.buffer;
    let width = usize::from(buffer.area.width).max(1);
    for row in buffer.content.chunks(width) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(Exit::Done)
}

/// Prints one look as one line of JSON: an object with the answers of the API as they are, each
/// under the name of what was asked for. It is for programs, so that it ends in any case.
///
/// # Errors
/// When `out` cannot be written.
pub(super) async fn snapshot(
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let model = Model::default();
    let asked = [
        ("status", Request::show(&["status"])),
        ("servers", servers()),
        ("devices", list("devices", wanted(&model))),
        ("events", events(0)),
    ];
    let mut parts = Vec::new();
    for (name, request) in asked {
        match client::send(options, &request).await {
            Ok(answer) => parts.push((name, answer.body)),
            Err(AskError::Refused { body, .. }) => {
                err.write_all(&body)?;
                writeln!(err)?;
                return Ok(Exit::Failed);
            }
            Err(error) => return super::complain(&error, err),
        }
    }
    let mut separator = "{";
    for (name, body) in parts {
        write!(out, "{separator}\"{name}\":")?;
        out.write_all(body.trim_ascii())?;
        separator = ",";
    }
    writeln!(out, "}}")?;
    Ok(Exit::Done)
}

/// Draws until the user has seen enough. The terminal is as before then, also after a signal or a
/// panic.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) async fn watch(options: &Options) -> io::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut terminal = ratatui::try_init()?;
    let watched = tokio::select! {
        watched = draw_until_quit(&mut terminal, options) => watched,
        _ = terminate.recv() => Ok(()),
    };
    ratatui::try_restore()?;
    watched.map(|()| Exit::Done)
}

async fn draw_until_quit(
    terminal: &mut ratatui::DefaultTerminal,
    options: &Options,
) -> io::Result<()> {
    let mut model = Model::default();
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            let began = Instant::now();
            if let Err(error) = look(options, &mut model).await {
                model.lost(error.to_string());
            }
            due = Instant::now() + REFRESH.max(began.elapsed() * REST_FACTOR);
        }
        terminal.draw(|frame| draw::draw(frame, &model))?;
        // Reading keys blocks, and the signal must still be heard.
        let read = tokio::task::spawn_blocking(key).await.map_err(io::Error::other)?;
        if let Some(key) = read?
            && model.key(key) == Next::Quit
        {
            return Ok(());
        }
    }
}

/// The next key, if one comes soon.
fn key() -> io::Result<Option<event::KeyEvent>> {
    if !event::poll(KEY_WAIT)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => Some(key),
        _ => None,
    })
}

/// Asks the daemon for everything that is shown.
async fn look(options: &Options, model: &mut Model) -> Result<(), AskError> {
    let look = Look {
        status: get(options, &Request::show(&["status"])).await?,
        servers: get(options, &servers()).await?,
        devices: get(options, &list("devices", wanted(model))).await?,
    };
    let after = model.take(look);
    model.take_events(get::<EventList>(options, &events(after)).await?);
    Ok(())
}

/// All servers, without what grows with the devices.
fn servers() -> Request {
    list("servers", vec![("brief", "true".to_owned())])
}

fn events(after: u64) -> Request {
    let query = vec![("after", after.to_string()), ("limit", EVENTS_MAX.to_string())];
    list("events", query)
}

fn list(what: &'static str, query: Vec<(&'static str, String)>) -> Request {
    Request { query, ..Request::list(what) }
}

/// Which devices: one page of them, in the order and with the words that are looked for.
fn wanted(model: &Model) -> Vec<(&'static str, String)> {
    let mut query = vec![("order", model.sort.name().to_owned())];
    if !model.filter.is_empty() {
        query.push(("search", model.filter.clone()));
    }
    query
}

async fn get<T: DeserializeOwned>(options: &Options, request: &Request) -> Result<T, AskError> {
    let answer = client::send(options, request).await?;
    let strange = AskError::Strange { address: options.api.to_string(), status: answer.status };
    serde_json::from_slice(&answer.body).map_err(|_| strange)
}
