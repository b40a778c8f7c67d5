//! What is wrong with the fields of a check.

use std::fmt;

use super::{
    Check, CheckBody, CheckKind, HttpCheck, INITIATOR, IscsiCheck, IscsiSession, NbdCheck,
};

/// Longest path and query of an HTTP check, in bytes.
const PATH_LEN_MAX: usize = 1024;
/// Longest host name (RFC 1035, 2.3.4), in bytes.
const HOST_LEN_MAX: usize = 255;
/// Longest name of an export: NBD's longest string, in bytes.
const EXPORT_LEN_MAX: usize = 4096;
/// Longest iSCSI name (RFC 7143, 4.2.7.1), in bytes.
const ISCSI_NAME_LEN_MAX: usize = 223;
/// Longest command with all its arguments, in bytes.
const COMMAND_LEN_MAX: usize = 4096;

/// One thing that is wrong with a check. Prints as `export: what is wrong and what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The field within the check.
    pub field: &'static str,
    /// What is wrong and what to do.
    pub detail: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

impl CheckBody {
    /// The check that is meant.
    ///
    /// # Errors
    /// Everything that is wrong with it. Never empty.
    pub fn check(self) -> Result<Check, Vec<Flaw>> {
        let mut flaws = Flaws::default();
        self.find_foreign(&mut flaws);
        let check = match self.kind {
            CheckKind::Connect => Check::Connect,
            CheckKind::Greeting => Check::Greeting,
            CheckKind::Http => Check::Http(self.http(&mut flaws)),
            CheckKind::Nbd => Check::Nbd(self.nbd(&mut flaws)),
            CheckKind::Iscsi => Check::Iscsi(self.iscsi(&mut flaws)),
            CheckKind::Nfs => Check::Nfs { version: self.nfs_version(&mut flaws) },
            CheckKind::Smb => Check::Smb,
            CheckKind::Exec => Check::Exec { command: self.exec_command(&mut flaws) },
        };
        if flaws.0.is_empty() { Ok(check) } else { Err(flaws.0) }
    }

    /// Fields that only another kind has.
    fn find_foreign(&self, flaws: &mut Flaws) {
        for (field, _) in self.given() {
            let owner = owner(field);
            if owner != self.kind {
                let owner = owner.name();
                let detail =
                    format!("only `{owner}` has it; leave it out, or let the kind be \"{owner}\"");
                flaws.add(field, detail);
            }
        }
    }

    fn http(self, flaws: &mut Flaws) -> HttpCheck {
        let default = HttpCheck::default();
        let http = HttpCheck {
            path: self.path.unwrap_or(default.path),
            host: self.host,
            status_min: self.status_min.unwrap_or(default.status_min),
            status_max: self.status_max.unwrap_or(default.status_max),
        };
        if !http.path.starts_with('/') || !is_visible(&http.path, PATH_LEN_MAX) {
            let detail = format!(
                "{:?} is not a path; begin it with / and use up to {PATH_LEN_MAX} visible ASCII \
                 characters, others as %XX",
                http.path
            );
            flaws.add("path", detail);
        }
        if let Some(host) = http.host.as_ref().filter(|host| !is_visible(host, HOST_LEN_MAX)) {
            flaws.add("host", format!("{host:?} is not a host; write one such as nas.example"));
        }
        for (field, status) in [("status_min", http.status_min), ("status_max", http.status_max)] {
            if !(100..=599).contains(&status) {
                flaws.add(field, format!("{status} is not an HTTP status; write 100 to 599"));
            }
        }
        if http.status_min > http.status_max {
            let (min, max) = (http.status_min, http.status_max);
            let detail = format!("{min} is above status_max ({max}); no status is both");
            flaws.add("status_min", detail);
        }
        http
    }

    fn nbd(self, flaws: &mut Flaws) -> NbdCheck {
        let nbd = NbdCheck { export: self.export.unwrap_or_default(), size_bytes: self.size_bytes };
        if nbd.export.len() > EXPORT_LEN_MAX || nbd.export.contains('\0') {
            let detail = format!("is not an export's name; use up to {EXPORT_LEN_MAX} bytes");
            flaws.add("export", detail);
        }
        nbd
    }

    fn iscsi(self, flaws: &mut Flaws) -> IscsiCheck {
        let iscsi = IscsiCheck {
            target: self.target,
            initiator: self.initiator,
            session: self.session.unwrap_or_default(),
        };
        for (field, name) in [("target", &iscsi.target), ("initiator", &iscsi.initiator)] {
            let Some(name) = name else { continue };
            let typed = ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind));
            if !typed || !is_visible(name, ISCSI_NAME_LEN_MAX) {
                let detail =
                    format!("{name:?} is not an iSCSI name; write one such as {INITIATOR}");
                flaws.add(field, detail);
            }
        }
        if iscsi.session == IscsiSession::Normal && iscsi.target.is_none() {
            let detail = "is missing; a normal session is a login to a target: name it";
            flaws.add("target", detail.to_owned());
        }
        iscsi
    }

    fn nfs_version(&self, flaws: &mut Flaws) -> Option<u8> {
        if let Some(version) = self.version.filter(|version| ![3, 4].contains(version)) {
            flaws.add("version", format!("there is no check of NFS {version}; write 3 or 4"));
        }
        self.version
    }

    fn exec_command(self, flaws: &mut Flaws) -> Vec<String> {
        let command = self.command.unwrap_or_default();
        let len: usize = command.iter().map(String::len).sum();
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            let detail = "begin it with the absolute path of a program, such as \
                          [\"/usr/local/bin/check-disk\", \"--fast\"]";
            flaws.add("command", detail.to_owned());
        } else if len > COMMAND_LEN_MAX || command.iter().any(|word| word.contains('\0')) {
            let detail = format!("is too long; use up to {COMMAND_LEN_MAX} bytes, without zeros");
            flaws.add("command", detail);
        }
        command
    }
}

/// The kind that has a field.
fn owner(field: &str) -> CheckKind {
    match field {
        "export" | "size_bytes" => CheckKind::Nbd,
        "target" | "initiator" | "session" => CheckKind::Iscsi,
        "version" => CheckKind::Nfs,
        "command" => CheckKind::Exec,
        _ => CheckKind::Http,
    }
}

fn is_visible(text: &str, len_max: usize) -> bool {
    (1..=len_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Default)]
struct Flaws(Vec<Flaw>);

impl Flaws {
    fn add(&mut self, field: &'static str, detail: String) {
        self.0.push(Flaw { field, detail });
    }
}
