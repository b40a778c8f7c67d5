//! A client of the daemon's REST API over its unix socket, as any other program would be.
//!
//! It reads only the fields that the harness needs, and gives whole answers (status and body) where
//! a test is about refusals.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use redirector_ctl::api::clients::OwnServer;
use reqwest::Method;
use reqwest::blocking::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An answer may take this long; the daemon writes to disk before it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body's type.
    pub content_type: String,
    /// The body; a text that is no JSON is a JSON string here.
    pub body: Value,
}

/// What `/v1/devices` tells of a device, as far as needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct DeviceView {
    /// Name.
    pub name: String,
    /// Through which server it is reached.
    pub association: AssociationView,
    /// Clients that were moved by themselves.
    #[serde(default)]
    pub moved_clients: Vec<OwnServer>,
    /// Open flows.
    #[serde(default)]
    pub flows_len: u64,
    /// Open flows by server.
    #[serde(default)]
    pub flows_by_server: BTreeMap<String, u64>,
    /// Traffic towards the servers.
    pub to_server: CountView,
    /// Traffic towards the clients.
    pub to_client: CountView,
}

/// A device's association.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct AssociationView {
    /// Server that gets new flows.
    pub server: String,
    /// Server that takes over.
    pub backup: Option<String>,
    /// Version of the association.
    pub epoch: u16,
    /// Why it last changed.
    pub cause: String,
    /// Earlier associations whose flows may still be open.
    pub drains: Vec<DrainView>,
}

/// An earlier association whose flows may still be open.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct DrainView {
    /// Server the flows are on.
    pub server: String,
    /// Their epoch.
    pub epoch: u16,
    /// How many there are.
    pub flows_len: u64,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CountView {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What `/v1/servers` tells of a server, as far as needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerView {
    /// Name.
    pub name: String,
    /// Measured health.
    pub health: String,
    /// Whether the daemon knows how to reach it.
    pub next_hop: Option<Value>,
    /// Devices on it.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// An event of `/v1/events`.
#[derive(Debug, Clone, Deserialize)]
pub struct EventView {
    /// Number, growing.
    pub id: u64,
    /// What sort.
    pub kind: String,
    /// Of which device.
    pub device: Option<String>,
    /// Of which server.
    pub server: Option<String>,
    /// Why.
    pub cause: Option<String>,
    /// In words.
    pub text: String,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

impl Api {
    /// A client of the daemon that listens at `socket`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(socket: &Path) -> Result<Self> {
        let client = Client::builder()
            .unix_socket(socket)
            .timeout(ANSWER_WITHIN)
            // Each request on a connection of its own: a restarted daemon knows nothing of old
            // ones.
            .pool_max_idle_per_host(0)
            .build()
            .context("make an HTTP client")?;
        Ok(Self { client })
    }

    /// Sends a request with a body of any kind and returns whatever comes back.
    ///
    /// # Errors
    /// Only when the daemon cannot be reached or breaks off.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = self.client.request(method.clone(), format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().with_context(|| format!("{method} {path}"))?;
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let text = response.text().with_context(|| format!("the answer to {method} {path}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, content_type, body })
    }

    /// Sends JSON and returns whatever comes back.
    ///
    /// # Errors
    /// Only when the daemon cannot be reached or breaks off.
    pub fn send_json(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string().into_bytes())
    }

    /// Gets a resource as `T`.
    ///
    /// # Errors
    /// When the daemon refuses or its answer has another shape.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.send(Method::GET, path, &[], Vec::new())?.accepted()?;
        let text = answer.to_string();
        serde_json::from_value(answer).with_context(|| format!("the shape of GET {path}: {text}"))
    }

    /// `/v1/status`, as it is.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn status(&self) -> Result<Value> {
        self.get("/v1/status")
    }

    /// All devices.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn devices(&self) -> Result<Vec<DeviceView>> {
        Ok(self.get::<Items<DeviceView>>("/v1/devices")?.items)
    }

    /// One device.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn device(&self, name: &str) -> Result<DeviceView> {
        self.get(&format!("/v1/devices/{name}"))
    }

    /// All servers.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn servers(&self) -> Result<Vec<ServerView>> {
        Ok(self.get::<Items<ServerView>>("/v1/servers")?.items)
    }

    /// Events after number `after`.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn events(&self, after: u64) -> Result<Vec<EventView>> {
        let path = format!("/v1/events?after={after}&limit=1000");
        Ok(self.get::<Items<EventView>>(&path)?.items)
    }

    /// Moves a device to a server under the device's own policy. When this returns, the change is
    /// in force.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub fn move_device(&self, device: &str, server: &str) -> Result<()> {
        let path = format!("/v1/associations/{device}");
        let answer = self.send_json(Method::PUT, &path, &json!({ "server": server }))?;
        answer.accepted().map(drop).with_context(|| format!("move {device} to {server}"))
    }
}

impl Answer {
    /// The body, if the request was accepted.
    ///
    /// # Errors
    /// When it was refused; with the daemon's words.
    pub fn accepted(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("the daemon answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }

    /// The problem's fields as one text, if this is an RFC 9457 problem.
    ///
    /// # Errors
    /// When it is something else.
    pub fn problem(&self) -> Result<String> {
        if self.content_type != "application/problem+json" {
            return Err(anyhow!("no problem but {}: {}", self.content_type, self.body));
        }
        Ok(self.body.to_string())
    }
}
