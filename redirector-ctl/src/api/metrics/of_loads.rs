//! Metrics of load: what servers say of themselves, and what is expected of servers and devices.

use super::Page;
use super::family::flag;
use crate::core::load::{RefusalKind, Signal};
use crate::core::outlook::Expected;
use crate::core::outlook::server::Origin;
use crate::core::spec::Name;
use crate::daemon::{ServerLoad, Snapshot};

/// Adds those of servers.
pub(super) fn add_servers(page: &mut Page, snapshot: &Snapshot) {
    signals(page, snapshot);
    refusals(page, snapshot);
    let help = "The worst fresh signal of its load, as a share of what it carries well; absent \
                while none is fresh.";
    let mut score = page.gauge("redirector_server_load_score_ratio", help);
    for (name, load) in &snapshot.loads.servers {
        if let Some((_, share)) = load.worst {
            score.add(&[("server", name)], share);
        }
    }
    drop(score);
    let expected: Vec<(&Name, Expected)> = snapshot
        .loads
        .servers
        .iter()
        .filter_map(|(name, load)| Some((name, load.expected?)))
        .collect();
    forecasts(page, &SERVERS, &expected);
}

/// Adds those of devices.
pub(super) fn add_devices(page: &mut Page, snapshot: &Snapshot) {
    let of = |id| snapshot.loads.devices.get(&id)?.expected;
    let expected: Vec<(&Name, Expected)> = snapshot
        .spec
        .devices
        .iter()
        .filter_map(|(name, device)| Some((name, of(device.id)?)))
        .collect();
    forecasts(page, &DEVICES, &expected);
}

fn signals(page: &mut Page, snapshot: &Snapshot) {
    let all = || {
        snapshot.loads.servers.iter().flat_map(|(name, load)| {
            let named = |signal: Signal| [("server", name.as_str()), ("signal", signal.name())];
            load.signals.iter().map(move |(signal, reading)| (named(*signal), *reading))
        })
    };
    let help = "Each signal of its load as last read, as a share of what it carries well.";
    let mut shares = page.gauge("redirector_server_load_ratio", help);
    for (labels, (share, _)) in all() {
        shares.add(&labels, share);
    }
    drop(shares);
    let help = "How long ago that signal was read.";
    let mut ages = page.gauge("redirector_server_load_age_seconds", help);
    for (labels, (_, at_ms)) in all() {
        ages.add(&labels, snapshot.now_ms.saturating_sub(at_ms) as f64 / 1000.0);
    }
}

fn refusals(page: &mut Page, snapshot: &Snapshot) {
    let help = "Why it takes no device for load: 1 for the reason that holds, all 0 while it takes \
                some.";
    let mut refused = page.gauge("redirector_server_load_refused", help);
    for (name, ServerLoad { refusal_kind, .. }) in &snapshot.loads.servers {
        for kind in RefusalKind::ALL {
            let labels = [("server", name.as_str()), ("why", kind.name())];
            refused.add(&labels, flag(*refusal_kind == Some(kind)));
        }
    }
    drop(refused);
    let help = "1 while this source of figures about it did not answer the last question.";
    let mut faults = page.gauge("redirector_server_load_source_failed", help);
    for (name, load) in &snapshot.loads.servers {
        for origin in Origin::ALL {
            let labels = [("server", name.as_str()), ("source", origin.name())];
            faults.add(&labels, flag(load.faults.contains_key(&origin)));
        }
    }
}

/// What forecasts of one kind are called; names and their meanings.
struct Forecasts {
    label: &'static str,
    value: (&'static str, &'static str),
    forecaster: (&'static str, &'static str),
    loss: (&'static str, &'static str),
}

const SERVERS: Forecasts = Forecasts {
    label: "server",
    value: (
        "redirector_server_load_forecast_ratio",
        "What is expected of its score one horizon ahead: the middle, and what plans are for.",
    ),
    forecaster: (
        "redirector_server_load_forecaster",
        "Always 1; the label has the forecaster that speaks for it, which has lost least of late.",
    ),
    loss: (
        "redirector_server_load_forecast_loss_ratio",
        "Rolling loss of that forecaster; absent before it has been tried often enough.",
    ),
};

const DEVICES: Forecasts = Forecasts {
    label: "device",
    value: (
        "redirector_device_forecast_bytes_per_second",
        "What is expected of its traffic one horizon ahead: the middle, and what plans are for.",
    ),
    forecaster: (
        "redirector_device_forecaster",
        "Always 1; the label has the forecaster that speaks for it, which has lost least of late.",
    ),
    loss: (
        "redirector_device_forecast_loss_bytes_per_second",
        "Rolling loss of that forecaster; absent before it has been tried often enough.",
    ),
};

fn forecasts(page: &mut Page, names: &Forecasts, all: &[(&Name, Expected)]) {
    let label = names.label;
    let mut values = page.gauge(names.value.0, names.value.1);
    for (name, Expected { forecast, .. }) in all {
        for (percentile, value) in [("50", forecast.point), ("90", forecast.p90)] {
            values.add(&[(label, name), ("percentile", percentile)], value);
        }
    }
    drop(values);
    let mut by = page.gauge(names.forecaster.0, names.forecaster.1);
    for (name, Expected { forecast, .. }) in all {
        by.add(&[(label, name), ("forecaster", forecast.by.name())], 1.0);
    }
    drop(by);
    let mut losses = page.gauge(names.loss.0, names.loss.1);
    for (name, Expected { loss, .. }) in all {
        if let Some(loss) = loss {
            losses.add(&[(label, name)], *loss);
        }
    }
}
