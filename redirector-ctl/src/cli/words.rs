//! Values in words: how people read a number of bytes, a time, a state.

use serde::Serialize;

use crate::api::load::Load;
use crate::api::wire::{Health, Policy, PolicyBody, PolicyKind, Standing};

/// A word of the API: what its JSON calls a value.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

/// A server's state.
pub(super) fn state(state: Standing) -> String {
    word(&state)
}

/// A server's health.
pub(super) fn health(health: Health) -> String {
    word(&health)
}

/// What happens to open flows.
pub(super) fn policy(policy: Policy) -> String {
    match PolicyBody::from(policy) {
        PolicyBody { kind: PolicyKind::Keep, .. } => "open flows stay".to_owned(),
        PolicyBody { kind: PolicyKind::Reset, .. } => "open flows are reset".to_owned(),
        PolicyBody { kind: PolicyKind::Drain, deadline_ms } => {
            format!("open flows stay for {}", duration(deadline_ms.unwrap_or_default()))
        }
    }
}

/// Names in a line; a dash for none.
pub(super) fn join(names: &[String]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

/// Names that one line of a table has room for.
const SOME_LEN: usize = 16;

/// The same of names of which there may be very many: the first ones, and how many more.
pub(super) fn some(names: &[String]) -> String {
    match names.get(..SOME_LEN) {
        Some(first) if names.len() > SOME_LEN => {
            format!("{} and {} more", first.join(", "), names.len() - SOME_LEN)
        }
        _ => join(names),
    }
}

/// A text; a dash for none.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// A number of bytes, cut to a tenth of the largest unit that fits.
pub(super) fn bytes(len: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if len < 1024 {
        return format!("{len} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(len) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A share, as people say it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Bytes a second.
pub(super) fn rate(bytes_per_second: f64) -> String {
    // Negative and too large figures are cut, which is right here.
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// How many a second.
pub(super) fn per_second(rate: f64) -> String {
    format!("{rate:.1}/s")
}

/// How loaded a server is, and by what.
pub(super) fn load(load: &Load) -> String {
    match (load.score, &load.signal) {
        (Some(score), Some(signal)) => format!("{} {signal}", percent(score)),
        _ => "-".to_owned(),
    }
}

/// A span of time, in the two largest units.
pub(super) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_names_the_first_are_told_and_how_many_more() {
        let names: Vec<String> = (0..20_000).map(|n| format!("d{n}")).collect();
        assert_eq!((some(&[]), some(&names[..2])), ("-".to_owned(), "d0, d1".to_owned()));
        assert_eq!(some(&names[..SOME_LEN]), join(&names[..SOME_LEN]));
        assert!(some(&names).ends_with("d14, d15 and 19984 more"), "{}", some(&names));
    }

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_fits() {
        let shown = [0, 1023, 1024, 1536, 1 << 20, 5 << 30, u64::MAX].map(bytes);
        let expected = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "15.9 EiB"];
        assert_eq!(shown, expected.map(str::to_owned));
    }

    #[test]
    fn times_are_told_in_two_units() {
        let shown = [5, 59_999, 61_000, 3_600_000, 90_000_000].map(duration);
        assert_eq!(shown, ["5 ms", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"].map(str::to_owned));
    }
}
