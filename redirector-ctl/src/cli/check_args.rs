//! Arguments that say how a device's servers are asked.

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value};

use crate::api::wire::Check;

/// How a device's servers are asked.
#[derive(Debug, Clone, ClapArgs)]
pub struct CheckArgs {
    /// How a server is asked whether it serves the device
    #[arg(long, value_enum, default_value_t = CheckArg::Connect)]
    check: CheckArg,
    /// A parameter of the check, such as export=disk-a or path=/health; may be repeated
    #[arg(long, value_name = "FIELD=VALUE", value_parser = parameter)]
    check_with: Vec<(String, String)>,
    /// Time from the end of one check to the next, in ms
    #[arg(long, value_name = "N")]
    pub check_interval_ms: Option<u64>,
    /// Time after which an unanswered check has failed, in ms
    #[arg(long, value_name = "N")]
    pub check_timeout_ms: Option<u64>,
    /// Answered checks in a row that bring a server back
    #[arg(long, value_name = "N")]
    pub rise: Option<u32>,
    /// Failed checks in a row that make a server dead
    #[arg(long, value_name = "N")]
    pub fall: Option<u32>,
}

impl CheckArgs {
    /// The check for the API.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn check(&self) -> Result<Check, String> {
        let kind = self.check.to_possible_value().map(|value| value.get_name().to_owned());
        let mut table = Map::new();
        table.insert("kind".to_owned(), kind.into());
        for (field, value) in &self.check_with {
            // Which fields are numbers is the API's knowledge: both forms are offered to it.
            let value = match field.as_str() {
                "size_bytes" | "status_min" | "status_max" | "version" => {
                    value.parse::<u64>().map_or_else(|_| value.as_str().into(), Value::from)
                }
                _ => value.as_str().into(),
            };
            if table.insert(field.clone(), value).is_some() {
                return Err(format!("--check-with {field}: is given twice; give it once"));
            }
        }
        serde_json::from_value(table.into()).map_err(|error| format!("--check-with {error}"))
    }
}

/// The words of the command line for a check. `exec` is not among them: the API does not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckArg {
    /// It accepts a connection
    Connect,
    /// It also sends its first bytes in time, as NBD servers do
    Greeting,
    /// It answers a GET request (path, host, status_min, status_max)
    Http,
    /// It has an export (export, size_bytes)
    Nbd,
    /// It has a target (target, initiator, session)
    Iscsi,
    /// It answers the NULL call (version)
    Nfs,
    /// It answers a negotiation of SMB 2 or 3
    Smb,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), value.to_owned())),
        _ => Err("write FIELD=VALUE, such as export=disk-a".to_owned()),
    }
}
