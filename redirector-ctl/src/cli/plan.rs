//! `redirector plan`, and the arguments that say where a server's figures come from.

use std::net::SocketAddr;

use clap::{Args as ClapArgs, Subcommand};
use reqwest::Method;

use super::request::{Request, Show};
use super::table::{Shown, pairs, parse, table, text};
use super::words::{or_dash, percent, word};
use crate::api::plan::{Plan, Word};
use crate::api::wire::MetricsUrl;

/// What can be done with the plan for load.
#[derive(Debug, Clone, Copy, Default, Subcommand)]
pub enum PlanCommand {
    /// Show it: moves with their figures, what is blocked, which servers take nothing
    #[command(after_help = "Examples:\n  redirector plan show\n  redirector --output json plan \
                            show | jq .moves")]
    #[default]
    Show,
    /// Carry it out, all of it
    #[command(after_help = "Example:\n  redirector plan apply --generation 42")]
    Apply(Seen),
    /// Throw it away; the next one is made when its time comes
    #[command(after_help = "Example:\n  redirector plan discard")]
    Discard(Seen),
}

/// What the caller has seen.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Seen {
    /// Only if the state is still at this generation
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
}

/// Sources of figures about a server's load.
#[derive(Debug, Clone, ClapArgs)]
pub struct SourceArgs {
    /// Its node_exporter, such as http://10.0.2.11:9100/metrics
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<MetricsUrl>,
    /// Its agent, which speaks HAProxy's agent-check, such as 10.0.2.11:9999
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub agent_address: Option<SocketAddr>,
    /// Traffic that it carries well, in bytes a second
    #[arg(long, value_name = "N")]
    pub bytes_per_second_max: Option<u64>,
}

pub(super) fn request(command: PlanCommand) -> Request {
    match command {
        PlanCommand::Show => Request::get(&["plan"], plan),
        PlanCommand::Apply(seen) => word_for("apply", seen),
        PlanCommand::Discard(seen) => word_for("discard", seen),
    }
}

fn word_for(what: &str, seen: Seen) -> Request {
    let request = Request::new(Method::POST, &["plan", what], Show::Body(plan));
    Request { seen: seen.generation, ..request.with(&Word {}) }
}

/// A plan as people read it.
fn plan(body: &[u8]) -> Shown {
    let plan: Plan = parse(body)?;
    let hottest = format!(
        "{}, with the moves {}, at best {}",
        percent(plan.hottest_before),
        percent(plan.hottest_after),
        percent(plan.bound)
    );
    let mut shown = pairs(&[
        ("mode", word(&plan.mode)),
        ("state", word(&plan.state)),
        ("made at", or_dash(plan.made_at)),
        ("generation", plan.generation.to_string()),
        ("load", or_dash(plan.verdict)),
        ("hottest server", hottest),
    ]);
    for each in plan.refusals {
        shown.push_str(&format!("server {} takes nothing: {}\n", each.server, each.why));
    }
    for each in plan.blocked {
        shown.push_str(&format!("blocked: {}: {}\n", each.what, each.by));
    }
    if plan.moves.is_empty() {
        return Ok(shown);
    }
    let mut moves = table(["DEVICE", "FROM", "TO", "CAUSE", "GAIN", "COST", "WHY"], &[4, 5]);
    for each in plan.moves {
        let (gain, cost) = (format!("{:.1}", each.gain), format!("{:.3}", each.cost));
        moves.add_row([each.device, each.from, each.to, word(&each.cause), gain, cost, each.why]);
    }
    Ok(format!("{shown}\n{}", text(&moves)))
}
