//! `--wait`: until a change is in the packet path and what it made drain has drained.

use std::io::{self, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::args::Options;
use super::client::{self, AskError};
use super::request::{Drains, Request};
use super::{Exit, complain};
use crate::api::associations::DeviceAssociation;
use crate::api::servers::Server;
use crate::api::status::Status;

/// Time between two looks at what drains.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits, and says on `err` how far it is whenever that changes.
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
    let mut told = String::new();
    loop {
        let left = match left(drains, options).await {
            Ok(left) => left,
            Err(error) => return complain(&error, err),
        };
        if left.is_empty() {
            return Ok(Exit::Done);
        }
        if left != told {
            writeln!(err, "{left}")?;
            told = left;
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

/// What still drains, in words; empty when nothing does.
async fn left(drains: &Drains, options: &Options) -> Result<String, AskError> {
    let mut left = Vec::new();
    match drains {
        Drains::Nothing => {}
        Drains::Devices(names) => {
            for name in names {
                let path = ["associations", name.as_str()];
                let device: DeviceAssociation = get(&Request::show(&path), options).await?;
                for drain in device.association.drains {
                    let (flows, server) = (drain.flows_len, drain.server);
                    left.push(format!("device {name}: {flows} flows drain on {server}"));
                }
            }
        }
        Drains::Server(name) => {
            let server: Server = get(&Request::show(&["servers", name]), options).await?;
            if server.flows_len > 0 || !server.devices.is_empty() {
                let (flows, devices) = (server.flows_len, server.devices.len());
                left.push(format!(
                    "server {name}: {flows} flows drain, {devices} devices are on it"
                ));
            }
        }
    }
    Ok(left.join("; "))
}

async fn get<T: DeserializeOwned>(request: &Request, options: &Options) -> Result<T, AskError> {
    let answer = client::send(options, request).await?;
    let address = options.api.to_string();
    let status = answer.status;
    serde_json::from_slice(&answer.body).map_err(|_| AskError::Strange { address, status })
}
