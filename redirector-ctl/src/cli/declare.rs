//! `redirector export` and `redirector apply`: servers and devices as a file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::{Options, Output};
use super::client::{self, AskError};
use super::request::Request;
use super::{Exit, complain};
use crate::api::desired::Desired;
use crate::api::device_list::DeviceList;
use crate::api::devices::{Device, PutDevice};
use crate::api::many_devices::PatchDevices;
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
            return carry_out(&steps, (&desired, present.generation), options, err).await;
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

/// What there is, read piece by piece.
struct Present {
    /// When the first piece was read: a change that comes between two pieces makes the first step
    /// stale.
    generation: Option<u64>,
    servers: BTreeMap<String, Server>,
    devices: BTreeMap<String, Device>,
}

impl Present {
    async fn ask(options: &Options) -> Result<Self, AskError> {
        let (servers, generation) = list::<ServerList>(&Request::list("servers"), options).await?;
        let servers = servers.items.into_iter().map(|one| (one.name.clone(), one)).collect();
        let (mut devices, mut cursor) = (BTreeMap::new(), None);
        loop {
            let page = Request::devices_from(cursor);
            let (page, _) = list::<DeviceList>(&page, options).await?;
            devices.extend(page.items.into_iter().map(|one| (one.name.clone(), one)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Self { generation, servers, devices });
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

/// Bytes of devices that go in one request; the API takes twice as many.
const PATCH_LEN_MAX: usize = 512 << 10;

/// Steps that are one request: of a server one, of devices as many as fit.
fn next_steps(steps: &[Step]) -> &[Step] {
    let (mut len, mut bytes_len) = (0, 0);
    for step in steps.iter().take_while(|step| step.kind == "devices") {
        bytes_len += step.name.len() + step.to.as_ref().map_or(0, |to| to.to_string().len()) + 8;
        if bytes_len > PATCH_LEN_MAX {
            break;
        }
        len += 1;
    }
    &steps[..len.max(1)]
}

fn request_of(steps: &[Step], generation: Option<u64>) -> Result<Request, serde_json::Error> {
    if let [Step { kind: "servers", name, to, .. }] = steps {
        let method = if to.is_some() { Method::PUT } else { Method::DELETE };
        return Ok(Request::change(method, "servers", name, to.clone(), generation));
    }
    let mut body = PatchDevices::default();
    for Step { name, to, .. } in steps {
        match to {
            Some(to) => {
                body.put.insert(name.clone(), serde_json::from_value(to.clone())?);
            }
            None => body.remove.push(name.clone()),
        }
    }
    Ok(Request::patch_devices(&body, generation))
}

/// So often in a row what there is may be looked at again without a step being taken.
const LOOKS_MAX: u32 = 20;

/// Takes the steps, devices many at once, and each request only if nobody else has changed any of
/// this since the one before. The daemon itself goes on deciding meanwhile (who is a new device's
/// backup): where the steps that are left are the same as before, that was all.
async fn carry_out(
    steps: &[Step],
    (desired, generation): (&Desired, Option<u64>),
    options: &Options,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let (mut generation, mut done_len, mut looks) = (generation, 0, 0);
    while done_len < steps.len() {
        let now = next_steps(&steps[done_len..]);
        let request = request_of(now, generation).map_err(io::Error::other)?;
        let error = match client::send(options, &request).await {
            Ok(answer) => {
                (generation, looks) = (answer.generation, 0);
                done_len += now.len();
                continue;
            }
            Err(error) => error,
        };
        let is_ours = done_len > 0 && looks < LOOKS_MAX && error.is_stale();
        if is_ours
            && let Ok(present) = Present::ask(options).await
            && self::steps(desired, &present) == steps[done_len..]
        {
            (generation, looks) = (present.generation, looks + 1);
            continue;
        }
        let (kind, name) = (now[0].kind.trim_end_matches('s'), &now[0].name);
        let rest = match now.len() {
            1 => String::new(),
            len => format!(" and {} more", len - 1),
        };
        let of = steps.len();
        writeln!(err, "{done_len} of {of} steps are done; {kind} {name}{rest}:")?;
        return complain(&error, err);
    }
    writeln!(err, "{} steps are done", steps.len())?;
    Ok(Exit::Done)
}
