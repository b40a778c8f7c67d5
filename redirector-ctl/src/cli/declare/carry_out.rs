//! Making a difference go away, step by step, beside a daemon that goes on deciding meanwhile and
//! perhaps beside other operators.

use std::collections::BTreeSet;
use std::io::{self, Write};

use reqwest::Method;

use super::super::args::Options;
use super::super::client::{self, AskError};
use super::super::request::Request;
use super::super::{Exit, complain};
use super::{Present, Step, steps};
use crate::api::desired::Desired;
use crate::api::many_devices::PatchDevices;

/// Bytes of devices that go in one request; the API takes twice as many.
const PATCH_LEN_MAX: usize = 512 << 10;

/// So often in a row what is next may be looked at again without a step being taken.
const LOOKS_MAX: u32 = 20;

/// What is to be done, and why.
pub(super) struct Work<'a> {
    pub(super) steps: &'a [Step],
    /// What there is to be when all of them are done.
    pub(super) desired: &'a Desired,
    pub(super) options: &'a Options,
}

impl Work<'_> {
    /// Takes the steps, devices many at once, and each request only if nobody else has changed what
    /// it is about since `generation`.
    ///
    /// The daemon itself goes on deciding meanwhile (who is a new device's backup). To look at
    /// everything again each time would take as long as the devices are many, times the requests.
    /// So from the first time that something else has changed on, only what a request is about is
    /// looked at before it, and everything once more at the end.
    pub(super) async fn carry_out(
        &self,
        generation: Option<u64>,
        err: &mut impl Write,
    ) -> io::Result<Exit> {
        let (mut seen, mut done_len, mut looks, mut must_look) = (generation, 0, 0, false);
        while done_len < self.steps.len() {
            let now = next_steps(&self.steps[done_len..]);
            if must_look {
                seen = match self.look_at(now).await {
                    Ok(Some(generation)) => generation,
                    Ok(None) => {
                        self.tell_where(done_len, err)?;
                        return complain_of_others(err);
                    }
                    Err(error) => {
                        self.tell_where(done_len, err)?;
                        return complain(&error, err);
                    }
                };
            }
            let request = request_of(now, seen).map_err(io::Error::other)?;
            match client::send(self.options, &request).await {
                Ok(answer) => {
                    (seen, looks, done_len) = (answer.generation, 0, done_len + now.len())
                }
                Err(error) if done_len > 0 && looks < LOOKS_MAX && error.is_stale() => {
                    (looks, must_look) = (looks + 1, true);
                }
                Err(error) => {
                    self.tell_where(done_len, err)?;
                    return complain(&error, err);
                }
            }
        }
        writeln!(err, "{} steps are done", self.steps.len())?;
        if must_look { self.look_at_all(err).await } else { Ok(Exit::Done) }
    }

    /// The generation at which what these steps are about is still as it was when they were made;
    /// None when somebody has changed it.
    async fn look_at(&self, now: &[Step]) -> Result<Option<Option<u64>>, AskError> {
        let names = || now.iter().map(|step| &step.name);
        let (mut wished, mut present) = (Desired::default(), Present::default());
        if now.iter().any(|step| step.kind == "servers") {
            (present.servers, present.generation) = Present::ask_servers(self.options).await?;
            present.servers.retain(|name, _| names().any(|one| one == name));
            let known = |name: &String| self.desired.servers.get(name).cloned();
            wished.servers =
                names().filter_map(|name| Some((name.clone(), known(name)?))).collect();
        } else {
            let (from, until) = (names().min(), names().max());
            let (after, until) = (from.map(|name| before(name)), until.map(String::as_str));
            (present.devices, present.generation) =
                Present::ask_devices(after, until, self.options).await?;
            let wanted: BTreeSet<&String> = names().collect();
            present.devices.retain(|name, _| wanted.contains(name));
            let known = |name: &String| self.desired.devices.get(name).cloned();
            wished.devices =
                names().filter_map(|name| Some((name.clone(), known(name)?))).collect();
        }
        Ok((steps(&wished, &present) == now).then_some(present.generation))
    }

    /// Whether nothing differs any more.
    async fn look_at_all(&self, err: &mut impl Write) -> io::Result<Exit> {
        match Present::ask(self.options).await {
            Ok(present) if steps(self.desired, &present).is_empty() => Ok(Exit::Done),
            Ok(_) => complain_of_others(err),
            Err(error) => complain(&error, err),
        }
    }

    fn tell_where(&self, done_len: usize, err: &mut impl Write) -> io::Result<()> {
        let now = next_steps(&self.steps[done_len..]);
        let (kind, name) = (now[0].kind.trim_end_matches('s'), &now[0].name);
        let rest = match now.len() {
            1 => String::new(),
            len => format!(" and {} more", len - 1),
        };
        let of = self.steps.len();
        writeln!(err, "{done_len} of {of} steps are done; {kind} {name}{rest}:")
    }
}

fn complain_of_others(err: &mut impl Write) -> io::Result<Exit> {
    let what = "somebody else has changed servers or devices meanwhile: see what differs by now";
    writeln!(err, "redirector: {what}, and repeat it if that is what you want")?;
    Ok(Exit::Failed)
}

/// A text that comes before a name, with few names between them.
fn before(name: &str) -> String {
    let mut chars = name.chars();
    chars.next_back();
    chars.as_str().to_owned()
}

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
