//! Flows and explanations as people read them.

use super::table::{Shown, pairs, parse, table, text};
use super::words::{duration, or_dash, word};
use crate::api::explain::{Explanation, FlowWords};
use crate::api::open_flows::FlowList;
use crate::api::whatif::Death;

/// `redirector flow list`.
pub(super) fn flows(body: &[u8]) -> Shown {
    let list: FlowList = parse(body)?;
    let head = ["DEVICE", "SERVER", "STAGE", "STATE", "IDLE", "ID"];
    let mut rows = table(head, &[4]);
    for flow in list.items {
        rows.add_row([
            or_dash(flow.device),
            or_dash(flow.server),
            word(&flow.stage),
            word(&flow.state),
            duration(flow.idle_ms),
            flow.id,
        ]);
    }
    let more = list.next.map(|next| format!("there may be more: --cursor {next}\n"));
    Ok(text(&rows) + &more.unwrap_or_default())
}

/// `redirector explain packet`.
pub(super) fn explanation(body: &[u8]) -> Shown {
    let explained: Explanation = parse(body)?;
    let association = explained.association.map(|words| {
        let backup = or_dash(words.backup);
        let (server, epoch, drains) = (words.server, words.epoch, words.drains_len);
        format!("server {server}, backup {backup}, epoch {epoch}, drains open: {drains}")
    });
    let leaves = explained.leaves.map(|leaves| {
        let (source, destination, mac) = (leaves.source, leaves.destination, leaves.mac);
        format!("{source} -> {destination}, to {mac}, {} bytes", leaves.bytes)
    });
    Ok(pairs(&[
        ("reason", explained.reason),
        ("means", explained.help),
        ("rule", word(&explained.rule)),
        ("action", word(&explained.action)),
        ("device", or_dash(explained.device)),
        ("server", or_dash(explained.server)),
        ("association", or_dash(association)),
        ("flow", or_dash(explained.flow.map(flow))),
        ("flow after", or_dash(explained.flow_after.map(flow))),
        ("leaves as", or_dash(leaves)),
    ]))
}

fn flow(words: FlowWords) -> String {
    format!(
        "{}, {}, on {} in its life {}, epoch {}",
        word(&words.stage),
        word(&words.state),
        or_dash(words.server),
        words.incarnation,
        words.epoch
    )
}

/// `redirector explain death`.
pub(super) fn death(body: &[u8]) -> Shown {
    let death: Death = parse(body)?;
    let mut said =
        format!("if {} died, {} open flows would be reset\n", death.server, death.flows_reset);
    if let Some(why) = death.held_back {
        said += &format!("nothing would be done: {why}\n");
    }
    if !death.moves.is_empty() {
        let mut rows = table(["DEVICE", "FROM", "TO", "CAUSE", "FLOWS"], &[4]);
        for one in death.moves {
            let flows = one.flows_reset.to_string();
            rows.add_row([one.device, one.from, one.to, word(&one.cause), flows]);
        }
        said += &text(&rows);
    }
    for blocked in death.blocked {
        said += &format!("blocked: {}: {}\n", blocked.what, blocked.by);
    }
    Ok(said)
}
