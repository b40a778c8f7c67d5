//! The two forms in which a check is written: a word, or a table.

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Check, CheckKind, Flaw, HttpCheck, IscsiCheck, IscsiSession, NbdCheck};

/// How a server is asked whether it serves the device: a word, or a table with the check's
/// parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Check)]
pub enum CheckForm {
    /// A check with the parameters that it has when nothing is said.
    Word(CheckKind),
    /// A check with its parameters.
    Table(CheckBody),
}

/// A check with its parameters. Each belongs to one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CheckTable)]
pub struct CheckBody {
    /// What is asked.
    pub kind: CheckKind,
    /// `http`: path and query of the request; `/` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/health")]
    pub path: Option<String>,
    /// `http`: what the request names as the host; the server's address and port when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `http`: lowest status that is a good answer; 200 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 599)]
    pub status_min: Option<u16>,
    /// `http`: highest status that is a good answer; 399 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 599)]
    pub status_max: Option<u16>,
    /// `nbd`: name of the export; the server's default export when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "disk-a")]
    pub export: Option<String>,
    /// `nbd`: size that the export must have, in bytes; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 1_073_741_824)]
    pub size_bytes: Option<u64>,
    /// `iscsi`: name of the target; any target when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "iqn.2026-01.com.example:disk-a")]
    pub target: Option<String>,
    /// `iscsi`: name under which the redirector logs in; one of its own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// `iscsi`: `discovery` (when left out) lists the target, `normal` logs in to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<IscsiSession>,
    /// `nfs`: version of the protocol, 3 or 4; 4 over TCP and 3 over UDP when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 3, maximum = 4)]
    pub version: Option<u8>,
    /// `exec`: program and arguments. Only shown; the API does not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

impl CheckBody {
    /// A check of this kind without parameters.
    #[must_use]
    pub fn new(kind: CheckKind) -> Self {
        let (path, host, status_min, status_max) = (None, None, None, None);
        let (export, size_bytes, target, initiator, session) = (None, None, None, None, None);
        let (version, command) = (None, None);
        Self {
            kind,
            path,
            host,
            status_min,
            status_max,
            export,
            size_bytes,
            target,
            initiator,
            session,
            version,
            command,
        }
    }

    /// The parameters that are there, by the names of their fields.
    #[must_use]
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let all = [
            ("path", self.path.clone()),
            ("host", self.host.clone()),
            ("status_min", number(self.status_min.map(u64::from))),
            ("status_max", number(self.status_max.map(u64::from))),
            ("export", self.export.clone()),
            ("size_bytes", number(self.size_bytes)),
            ("target", self.target.clone()),
            ("initiator", self.initiator.clone()),
            ("session", self.session.map(|session| session.name().to_owned())),
            ("version", number(self.version.map(u64::from))),
            ("command", self.command.as_ref().map(|words| words.join(" "))),
        ];
        all.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
    }
}

impl From<Check> for CheckBody {
    /// What a check would be without its parameters is left out.
    fn from(check: Check) -> Self {
        let body = Self::new(check.kind());
        match check {
            Check::Connect | Check::Greeting | Check::Smb => body,
            Check::Http(HttpCheck { path, host, status_min, status_max }) => {
                let default = HttpCheck::default();
                let path = Some(path).filter(|path| *path != default.path);
                let status_min = Some(status_min).filter(|min| *min != default.status_min);
                let status_max = Some(status_max).filter(|max| *max != default.status_max);
                Self { path, host, status_min, status_max, ..body }
            }
            Check::Nbd(NbdCheck { export, size_bytes }) => {
                Self { export: Some(export).filter(|name| !name.is_empty()), size_bytes, ..body }
            }
            Check::Iscsi(IscsiCheck { target, initiator, session }) => {
                let session = Some(session).filter(|session| *session != IscsiSession::Discovery);
                Self { target, initiator, session, ..body }
            }
            Check::Nfs { version } => Self { version, ..body },
            Check::Exec { command } => Self { command: Some(command), ..body },
        }
    }
}

impl From<Check> for CheckForm {
    fn from(check: Check) -> Self {
        let body = CheckBody::from(check);
        if body.given().is_empty() { Self::Word(body.kind) } else { Self::Table(body) }
    }
}

impl TryFrom<CheckForm> for Check {
    type Error = String;

    fn try_from(form: CheckForm) -> Result<Self, String> {
        let body = match form {
            CheckForm::Word(kind) => CheckBody::new(kind),
            CheckForm::Table(body) => body,
        };
        let in_words =
            |flaws: Vec<Flaw>| flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        body.check().map_err(in_words)
    }
}

/// By hand, because serde's own untagged form says only that nothing fits.
impl<'de> Deserialize<'de> for CheckForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FormVisitor)
    }
}

struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = CheckForm;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a word such as \"connect\" or a table such as {\"kind\": \"nbd\"}")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<CheckForm, E> {
        CheckKind::deserialize(StrDeserializer::new(word)).map(CheckForm::Word)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CheckForm, A::Error> {
        CheckBody::deserialize(MapAccessDeserializer::new(map)).map(CheckForm::Table)
    }
}
