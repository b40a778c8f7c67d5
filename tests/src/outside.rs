//! Readers of bytes from outside, given anything: targets of `fuzz/`, whose corpora the ordinary
//! tests replay. None may panic, and none may tell an operator what is not so.

use std::sync::OnceLock;

use redirector_ctl::api::associations::{PatchAssociations, PutAssociation};
use redirector_ctl::api::devices::PutDevice;
use redirector_ctl::api::explain::Explain;
use redirector_ctl::api::servers::{PatchServer, PutServer};
use redirector_ctl::config::Config;
use redirector_ctl::core::change::{Change, Context, Move, SpecLimits};
use redirector_ctl::core::check::Check;
use redirector_ctl::core::load::Share;
use redirector_ctl::core::load::agent::AgentLine;
use redirector_ctl::core::load::exporter::HostFigures;
use redirector_ctl::core::observed::Observed;
use redirector_ctl::core::spec::Cause;
use redirector_ctl::core::spec::Spec;
use redirector_ctl::platform::probe::heard;

/// The annotated configuration: the site that bodies are applied to.
const EXAMPLE: &str = include_str!("../../deploy/redirector.example.toml");
/// Longest text about a server's answer, in characters: it ends in a line of a log.
const SAID_LEN_MAX: usize = 1000;

/// A configuration: read whole, or every mistake has its line.
///
/// # Panics
///
/// When a mistake names no line of the text, or says nothing.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => drop(config.seed()),
        Err(problems) => {
            assert!(!problems.is_empty(), "a configuration is refused without a reason");
            // A text that ends in a newline has one more line, and it is empty.
            let lines_len = text.lines().count() + 1;
            for problem in &problems {
                assert!(problem.line.is_none_or(|line| (1..=lines_len).contains(&line)));
                assert!(!problem.detail.is_empty(), "{problem:?}");
            }
        }
    }
}

static SITE: OnceLock<(Spec, SpecLimits)> = OnceLock::new();

/// The site of the annotated configuration.
fn site() -> (Spec, SpecLimits) {
    let config = Config::parse(EXAMPLE).expect("the annotated configuration is right");
    let limits = config.spec_limits();
    let ctx = Context { now_ms: 1, limits, observed: &Observed::default() };
    let spec = config.seed().spec(&Spec::default(), &ctx).expect("and so is its site");
    (spec, limits)
}

fn put_server(body: PutServer) -> Change {
    let (address, state) = (body.address, body.state);
    Change::PutServer { name: "another".to_owned(), address, state, load: body.into() }
}

/// A body of the API, as each of those that it takes, applied to a site.
///
/// # Panics
///
/// When a refused change has no reason.
pub fn api_body(data: &[u8]) {
    let (spec, limits) = SITE.get_or_init(site);
    let ctx = Context { now_ms: 1, limits: *limits, observed: &Observed::default() };
    let name = || spec.devices.keys().next().cloned().unwrap_or_default();
    let mut changes = Vec::new();
    if let Ok(body) = serde_json::from_slice::<PutDevice>(data) {
        changes.push(Change::PutDevice { name: name(), device: body.clone().into() });
        changes.push(Change::PutDevice { name: "another".to_owned(), device: body.into() });
    }
    if let Ok(body) = serde_json::from_slice::<PutServer>(data) {
        changes.push(put_server(body));
    }
    if let Ok(body) = serde_json::from_slice::<PatchServer>(data) {
        let name = spec.servers.keys().next().cloned().unwrap_or_default();
        changes.push(Change::SetServerState { name, state: body.state });
    }
    let mut moves = Vec::new();
    if let Ok(PutAssociation { server, policy }) = serde_json::from_slice(data) {
        moves.push(Move { device: name(), server, policy: policy.map(|policy| policy.0) });
    }
    if let Ok(PatchAssociations { associations }) = serde_json::from_slice(data) {
        moves.extend(associations.into_iter().map(Move::from));
    }
    changes.push(Change::Associate { moves, cause: Cause::Planned });
    let _ = serde_json::from_slice::<Explain>(data);
    for change in changes {
        if let Err(error) = spec.apply(&change, &ctx) {
            assert!(!error.to_string().is_empty(), "{change:?}");
        }
    }
}

/// A text as node_exporter has it, and another one behind a zero byte: shares are shares.
///
/// # Panics
///
/// When a share is none.
pub fn metrics_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, later) = text.split_once('\0').unwrap_or((&text, &text));
    let Ok(before) = HostFigures::parse(first) else { return };
    let Ok(now) = HostFigures::parse(later) else { return };
    for (signal, share) in now.shares(Some(&before), 1.0) {
        // Pressure and disks can have worked for longer than the time between two texts says.
        assert!((0.0..=Share::MAX.get()).contains(&share.get()), "{signal:?} {share:?}");
    }
}

/// An agent's line.
///
/// # Panics
///
/// When what is said of it is not fit for a log.
pub fn agent_line(data: &[u8]) {
    if let Err(text) = AgentLine::parse(data) {
        assert_fit(&text);
    }
}

/// A server's answer to a check; the first byte chooses which.
///
/// # Panics
///
/// When what is said of it is not fit for a log.
pub fn probe_reply(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let check = match which % 5 {
        0 => Check::Http(Default::default()),
        1 => Check::Nbd(Default::default()),
        2 => Check::Iscsi(Default::default()),
        3 => Check::Nfs { version: None },
        _ => Check::Smb,
    };
    // What it says it is an answer to is a question of ours, which nobody else knows.
    let _ = heard::answers_a_syn(bytes);
    if let Err(text) = heard::judge(&check, ([192, 0, 2, 1], 80).into(), bytes) {
        assert_fit(&text);
    }
}

/// A text that quotes what somebody else said.
fn assert_fit(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= SAID_LEN_MAX, "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
