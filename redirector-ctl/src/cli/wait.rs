//! `--wait`: until a change is in the packet path and what it made drain has drained.

use std::io::{self, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::args::Options;
use super::client::{self, AskError};
use super::request::{Drains, Request};
use super::words::bytes;
use super::{Exit, complain};
use crate::api::associations::{Carried, DeviceAssociation};
use crate::api::servers::Server;
use crate::api::status::Status;

/// Time between two looks at what drains.
const PAUSE: Duration = Duration::from_millis(500);
/// Time after which bytes are told where nothing else has changed.
const TELL_BYTES: Duration = Duration::from_secs(5);

/// Waits, and says on `err` how far it is whenever that changes: flows and clients that are left,
/// and what they have carried at most.
///
/// # Errors
/// When `err` cannot be written.
pub(super) async fn wait(
    generation: Option<u64>,
    drains: &Drains,
    options: &Options,
    err: &mut impl Write,
) -> io::Result<Exit> {
    match applied(generation, options).await {
        Ok(()) => {}
        Err(error) => return complain(&error, err),
    }
    let mut told = Left::default();
    let mut told_at = Instant::now();
    loop {
        let left = match left(drains, options).await {
            Ok(left) => left,
            Err(error) => return complain(&error, err),
        };
        if left.what.is_empty() {
            return Ok(Exit::Done);
        }
        // Bytes change all the time: alone they are told from time to time.
        let is_due = left.carried != told.carried && told_at.elapsed() >= TELL_BYTES;
        if left.what != told.what || is_due {
            writeln!(err, "{}", left.line())?;
            (told, told_at) = (left, Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until the tables hold the generation; the daemon waits with us.
async fn applied(generation: Option<u64>, options: &Options) -> Result<(), AskError> {
    let Some(generation) = generation else { return Ok(()) };
    loop {
        let status: Status = get(&Request::status_of(generation), options).await?;
        if status.applied_generation >= generation {
            return Ok(());
        }
    }
}

/// What still drains. Nothing when it is empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Of what there is how much left, in words.
    what: Vec<String>,
    /// How much each has carried at most, in words.
    carried: Vec<String>,
}

impl Left {
    fn add(&mut self, what: String, carried: Option<Carried>) {
        let carried = carried.map(|of| format!("; at most {} since it began", bytes(of.bytes_max)));
        self.what.push(what);
        self.carried.push(carried.unwrap_or_default());
    }

    fn line(&self) -> String {
        let all = self.what.iter().zip(&self.carried);
        all.map(|(what, carried)| format!("{what}{carried}")).collect::<Vec<_>>().join(", ")
    }
}

fn drains_of((flows, clients): (u64, u64)) -> String {
    match clients {
        // They have not been counted yet, or the flows are closed already.
        0 => format!("{flows} flows drain"),
        clients => format!("{flows} flows of {clients} clients drain"),
    }
}

async fn left(drains: &Drains, options: &Options) -> Result<Left, AskError> {
    let mut left = Left::default();
    match drains {
        Drains::Nothing => {}
        Drains::Devices(names) => {
            for name in names {
                let path = ["associations", name.as_str()];
                let device: DeviceAssociation = get(&Request::show(&path), options).await?;
                for drain in device.association.drains {
                    let counted = (drain.flows_len, drain.clients_len);
                    let what = format!("device {name}: {} on {}", drains_of(counted), drain.server);
                    left.add(what, drain.carried);
                }
            }
        }
        Drains::Server(name) => {
            let server: Server = get(&Request::show(&["servers", name]), options).await?;
            if server.flows_len > 0 || !server.devices.is_empty() {
                let clients = server.draining.as_ref().map_or(0, |of| of.clients_len);
                let (flows, devices) = (server.flows_len, server.devices.len());
                let drains = drains_of((flows, clients));
                let what = format!("server {name}: {drains}, {devices} devices are on it");
                left.add(what, server.draining.and_then(|of| of.carried));
            }
        }
    }
    Ok(left)
}

async fn get<T: DeserializeOwned>(request: &Request, options: &Options) -> Result<T, AskError> {
    let answer = client::send(options, request).await?;
    let address = options.api.to_string();
    let status = answer.status;
    serde_json::from_slice(&answer.body).map_err(|_| AskError::Strange { address, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_flows_clients_and_bytes() {
        let mut left = Left::default();
        left.add(format!("device d1: {} on s1", drains_of((3, 2))), None);
        let carried = Carried { bytes_max: 2048, since: String::new() };
        left.add(format!("device d2: {} on s2", drains_of((1, 0))), Some(carried));
        let line = "device d1: 3 flows of 2 clients drain on s1, \
                    device d2: 1 flows drain on s2; at most 2.0 KiB since it began";
        assert_eq!(left.line(), line);
    }
}
