//! `redirector record`: the flight recorder's dumps.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use reqwest::Method;

use super::args::{Options, Output};
use super::request::{Request, Show};
use super::table::{Shown, pairs, parse, table, text};
use super::{Exit, client, complain, print};
use crate::api::recorder::{Dump, DumpList, Recorder};

/// What can be done with the flight recorder.
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Show what it keeps and what it costs
    #[command(after_help = "Example:\n  redirector record show")]
    Show,
    /// List its dumps, oldest first
    #[command(after_help = "Example:\n  redirector record list")]
    List,
    /// Make a dump of what it has now
    #[command(after_help = "Examples:\n  redirector record dump --file now.pcapng\n  redirector \
                            record dump --device disk-a --client 10.0.1.11 --file - | tshark -r -")]
    Dump(RecordDump),
    /// Fetch a dump
    #[command(after_help = "Example:\n  redirector record get \
                            2026-11-27T03-12-07.123Z-failover.pcapng --file incident.pcapng")]
    Get {
        /// Name of the dump, as `record list` shows it
        #[arg(value_parser = super::args::name)]
        name: String,
        /// Where to write it; `-` for the standard output
        #[arg(long, value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
}

/// What a dump is to hold.
#[derive(Debug, ClapArgs)]
pub struct RecordDump {
    /// Only packets of this device
    #[arg(long)]
    pub device: Option<String>,
    /// Only packets from or to this client
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// Fetch it at once and write it there; `-` for the standard output
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Carries a command out.
///
/// # Errors
/// When `out` or `err` cannot be written.
pub(super) async fn record(
    command: RecordCommand,
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let (request, file) = match command {
        RecordCommand::Show => (Request::get(&["recorder"], show), None),
        RecordCommand::List => (Request::get(&["recorder", "dumps"], list), None),
        RecordCommand::Dump(RecordDump { device, client, file }) => {
            let show = Show::Body(made);
            let wishes = [("device", device), ("client", client.map(|client| client.to_string()))];
            let query = wishes.into_iter().filter_map(|(name, wish)| Some((name, wish?)));
            let request = Request::new(Method::POST, &["recorder", "dumps"], show);
            (Request { query: query.collect(), ..request }, file)
        }
        RecordCommand::Get { name, file } => return fetch(&name, &file, options, out, err).await,
    };
    let answer = match client::send(options, &request).await {
        Ok(answer) => answer,
        Err(error) => return complain(&error, err),
    };
    match (file, parse::<Dump>(&answer.body)) {
        (Some(file), Ok(dump)) => fetch(&dump.name, &file, options, out, err).await,
        _ => print(&answer.body, &request.show, options.output, out, err),
    }
}

async fn fetch(
    name: &str,
    file: &Path,
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let answer = match client::send(options, &Request::show(&["recorder", "dumps", name])).await {
        Ok(answer) => answer,
        Err(error) => return complain(&error, err),
    };
    if file == Path::new("-") {
        out.write_all(&answer.body)?;
        return Ok(Exit::Done);
    }
    // Whom clients talk to is for whoever fetched it alone.
    let mut new = OpenOptions::new();
    new.write(true).create(true).truncate(true).mode(0o600);
    let written = new.open(file).and_then(|mut file| file.write_all(&answer.body));
    match written {
        Ok(()) if options.output == Output::Table => {
            writeln!(out, "{name}: {} bytes in {}", answer.body.len(), file.display())?;
            Ok(Exit::Done)
        }
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            writeln!(err, "redirector: cannot write {}: {error}", file.display())?;
            Ok(Exit::Failed)
        }
    }
}

fn show(body: &[u8]) -> Shown {
    let recorder: Recorder = parse(body)?;
    let state = if recorder.on { "recording" } else { "off" };
    let sample = match recorder.sample_one_in {
        0 => "none".to_owned(),
        one_in => format!("1 in {one_in}"),
    };
    let (dumps, bytes) = (recorder.dumps, recorder.dump_bytes);
    let (dumps_max, bytes_max) = (recorder.dumps_max, recorder.dump_bytes_max);
    Ok(pairs(&[
        ("state", state.to_owned()),
        ("keeps", format!("{} packets of each class and CPU", recorder.packets_max)),
        ("samples", sample),
        ("headers", format!("at most {} bytes of a packet", recorder.snap_len)),
        ("memory", format!("{} KiB", recorder.memory_bytes >> 10)),
        ("recorded", recorder.recorded.to_string()),
        ("overwritten", recorder.overwritten.to_string()),
        ("left out", recorder.left_out.to_string()),
        ("dumps", format!("{dumps} of at most {dumps_max}")),
        ("on disk", format!("{bytes} of at most {bytes_max} bytes")),
    ]))
}

fn list(body: &[u8]) -> Shown {
    let list: DumpList = parse(body)?;
    let mut rows = table(["NAME", "BYTES"], &[1]);
    for dump in list.items {
        rows.add_row([dump.name, dump.bytes.to_string()]);
    }
    Ok(text(&rows))
}

fn made(body: &[u8]) -> Shown {
    let dump: Dump = parse(body)?;
    Ok(format!("{}: {} bytes; fetch it with `redirector record get`\n", dump.name, dump.bytes))
}
