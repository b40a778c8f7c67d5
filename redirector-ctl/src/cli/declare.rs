//! `redirector export` and `redirector apply`: servers and devices as a file.

mod carry_out;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::carry_out::Work;
use super::args::{Options, Output};
use super::client::{self, AskError};
use super::request::Request;
use super::{Exit, complain};
use crate::api::desired::Desired;
use crate::api::device_list::DeviceList;
use crate::api::devices::{Device, PutDevice};
use crate::api::servers::{PutServer, Server, ServerList};

/// Prints what there is, in the form that [`apply`] takes.
///
/// # Errors
/// When `out` or `err` cannot be written.
pub(super) async fn export(
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let present = match Present::ask(options).await {
        Ok(present) => present,
        Err(error) => return complain(&error, err),
    };
    let desired = present.desired();
    let text = match options.output {
        Output::Json => serde_json::to_string_pretty(&desired).map_err(io::Error::other)? + "\n",
        Output::Table => toml::to_string_pretty(&desired).map_err(io::Error::other)?,
    };
    out.write_all(text.as_bytes()).map(|()| Exit::Done)
}

/// Shows the difference between a file and what there is, and makes it go away if `yes`.
///
/// # Errors
/// When `out` or `err` cannot be written.
pub(super) async fn apply(
    file: &Path,
    yes: bool,
    options: &Options,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let desired = match read(file) {
        Ok(desired) => desired,
        Err(mistake) => {
            writeln!(err, "redirector: {}: {mistake}", file.display())?;
            return Ok(Exit::Failed);
        }
    };
    let present = match Present::ask(options).await {
        Ok(present) => present,
        Err(error) => return complain(&error, err),
    };
    let steps = steps(&desired, &present);
    for step in &steps {
        match options.output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(step)?)?,
            Output::Table => write!(out, "{}", step.shown())?,
        }
    }
    match (steps.is_empty(), yes) {
        (true, _) => writeln!(err, "nothing differs")?,
        (false, false) => writeln!(err, "nothing is changed yet: repeat it with --yes")?,
        (false, true) => {
            let work = Work { steps: &steps, desired: &desired, options };
            return work.carry_out(present.generation, err).await;
        }
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<Desired, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    if is_json {
        return serde_json::from_str(&text).map_err(|error| error.to_string());
    }
    toml::from_str(&text).map_err(|error| error.to_string())
}

/// Things by name, and the generation at which they are so.
type Answered<T> = Result<(BTreeMap<String, T>, Option<u64>), AskError>;

/// What there is, read piece by piece.
#[derive(Default)]
struct Present {
    /// When the first piece was read: a change that comes between two pieces makes the first step
    /// stale.
    generation: Option<u64>,
    servers: BTreeMap<String, Server>,
    devices: BTreeMap<String, Device>,
}

impl Present {
    async fn ask(options: &Options) -> Result<Self, AskError> {
        let (servers, generation) = Self::ask_servers(options).await?;
        let (devices, _) = Self::ask_devices(None, None, options).await?;
        Ok(Self { generation, servers, devices })
    }

    /// The servers, and the generation at which they are so.
    async fn ask_servers(options: &Options) -> Answered<Server> {
        let (list, generation) = list::<ServerList>(&Request::brief_servers(), options).await?;
        Ok((list.items.into_iter().map(|one| (one.name.clone(), one)).collect(), generation))
    }

    /// The devices whose names come after one name, and some page or so beyond another; and the
    /// generation of the first page.
    async fn ask_devices(
        after: Option<String>,
        until: Option<&str>,
        options: &Options,
    ) -> Answered<Device> {
        let (mut devices, mut cursor, mut first) = (BTreeMap::new(), after, None);
        loop {
            let page = Request::devices_from(cursor);
            let (page, generation) = list::<DeviceList>(&page, options).await?;
            first = first.or(generation);
            devices.extend(page.items.into_iter().map(|one| (one.name.clone(), one)));
            let wants_more = |next: &String| until.is_none_or(|until| next.as_str() < until);
            cursor = page.next.filter(wants_more);
            if cursor.is_none() {
                return Ok((devices, first));
            }
        }
    }

    fn desired(&self) -> Desired {
        let servers = self.servers.iter().map(|(name, one)| (name.clone(), one.into()));
        let devices = self.devices.iter().map(|(name, one)| (name.clone(), one.into()));
        Desired { servers: servers.collect(), devices: devices.collect() }
    }
}

async fn list<T: DeserializeOwned>(
    request: &Request,
    options: &Options,
) -> Result<(T, Option<u64>), AskError> {
    let answer = client::send(options, request).await?;
    let address = options.api.to_string();
    let strange = |_| AskError::Strange { address, status: answer.status };
    Ok((serde_json::from_slice(&answer.body).map_err(strange)?, answer.generation))
}

/// One change on the way from what there is to what is desired.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    /// `servers` or `devices`.
    kind: &'static str,
    name: String,
    /// What it is to be; None: it is to go.
    to: Option<Value>,
    /// Field -> what it is and what it is to be; of something new all, of something that goes none.
    fields: BTreeMap<String, (Value, Value)>,
    is_new: bool,
}

impl Step {
    fn shown(&self) -> String {
        let kind = self.kind.trim_end_matches('s');
        let sign = match (&self.to, self.is_new) {
            (None, _) => '-',
            (Some(_), true) => '+',
            (Some(_), false) => '~',
        };
        let mut text = format!("{sign} {kind} {}\n", self.name);
        for (field, (from, to)) in &self.fields {
            text += &match self.is_new {
                true => format!("    {field} = {to}\n"),
                false => format!("    {field}: {from} -> {to}\n"),
            };
        }
        text
    }
}

/// Devices that go, servers, devices, and last the servers that nobody lists any more.
fn steps(desired: &Desired, present: &Present) -> Vec<Step> {
    let mut steps = Vec::new();
    let gone = |name: &&String| !desired.devices.contains_key(*name);
    steps.extend(present.devices.keys().filter(gone).map(|name| goes("devices", name)));
    for (name, wish) in &desired.servers {
        let known = present.servers.get(name).map(PutServer::from);
        let wish = wish.clone().in_full(known.as_ref());
        steps.extend(differs("servers", name, known.as_ref(), &wish));
    }
    for (name, wish) in &desired.devices {
        let known = present.devices.get(name).map(|device| PutDevice {
            // Only where the file names a server is another one a difference.
            server: wish.server.as_ref().map(|_| device.association.server.clone()),
            ..PutDevice::from(device)
        });
        steps.extend(differs("devices", name, known.as_ref(), &wish.clone().in_full()));
    }
    let gone = |name: &&String| !desired.servers.contains_key(*name);
    steps.extend(present.servers.keys().filter(gone).map(|name| goes("servers", name)));
    steps
}

fn goes(kind: &'static str, name: &str) -> Step {
    Step { kind, name: name.to_owned(), to: None, fields: BTreeMap::new(), is_new: false }
}

fn differs<T: Serialize>(
    kind: &'static str,
    name: &str,
    known: Option<&T>,
    wish: &T,
) -> Option<Step> {
    let value = |of: &T| serde_json::to_value(of).expect("wire types are always JSON");
    let (from, to) = (known.map(value).unwrap_or_default(), value(wish));
    let names = [&from, &to].into_iter().filter_map(Value::as_object).flat_map(|of| of.keys());
    let mut fields = BTreeMap::new();
    for field in names {
        let (was, is) = (from[field.as_str()].clone(), to[field.as_str()].clone());
        if was != is {
            fields.insert(field.clone(), (was, is));
        }
    }
    let name = name.to_owned();
    (!fields.is_empty()).then(|| Step { kind, name, to: Some(to), fields, is_new: known.is_none() })
}
