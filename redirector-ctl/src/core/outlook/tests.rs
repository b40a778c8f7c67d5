//! From measurements to the solver's problem.

use super::super::balance::{Problem, ServerAt};
use super::super::fixtures::*;
use super::super::load::agent::AgentLine;
use super::super::load::source::LoadSources;
use super::super::observed::Observed;
use super::super::spec::Filling;
use super::problem::{Moment, Residence};
use super::*;

const SECOND_MS: u64 = 1000;

fn rules() -> OutlookRules {
    let forecast = Settings { horizon: 1, ..Settings::daily(SECOND_MS) };
    let full = Share::new(0.9).unwrap();
    OutlookRules { stale_ms: 10_000, full, forecast }
}

/// Three servers with agents, three devices: d1 and d2 on s1, d3 on s3.
fn fleet() -> Spec {
    let mut spec = three_and_three();
    for server in spec.servers.values_mut() {
        let agent_address = Some((server.address, 9999).into());
        server.load = LoadSources { agent_address, ..LoadSources::default() };
    }
    if let Some(d2) = spec.devices.get_mut("d2") {
        d2.association.server = "s1".into();
    }
    spec
}

/// Some periods in which the devices have these bytes a second and the agents say these lines.
fn after(spec: &Spec, bytes: [u64; 3], lines: [&str; 3]) -> Outlook {
    let mut outlook = Outlook::new(rules());
    outlook.follow(spec);
    for second in 0..=20_u64 {
        let now_ms = second * SECOND_MS;
        for (known, line) in outlook.servers.values_mut().zip(lines) {
            if let Ok(line) = AgentLine::parse(line.as_bytes()) {
                known.take_agent(line, now_ms);
            }
        }
        let total = |n: usize| Totals { bytes: second * bytes[n], ..Totals::default() };
        let ids = spec.devices.values().map(|device| device.id).enumerate();
        let totals = ids.map(|(n, id)| (id, total(n))).collect();
        outlook.take_totals(spec, &totals, now_ms);
        outlook.close_period(now_ms);
    }
    outlook
}

fn problem(spec: &Spec, outlook: &Outlook, residence: &Residence, observed: &Observed) -> Problem {
    let rests = BTreeMap::new();
    Moment { spec, observed, outlook, residence, rests: &rests, now_ms: 20 * SECOND_MS }.problem()
}

fn demands(problem: &Problem) -> Vec<f64> {
    problem.devices.iter().map(|device| (device.demand.get(0) * 100.0).round() / 100.0).collect()
}

#[test]
fn devices_share_the_load_of_their_server_by_their_traffic() {
    let spec = fleet();
    let outlook = after(&spec, [3000, 1000, 1000], ["20%", "100%", "80%"]);
    let problem = problem(&spec, &outlook, &Residence::new(), &all_well(&spec));
    assert_eq!(problem.resources, ["agent"]);
    assert_eq!(demands(&problem), [0.6, 0.2, 0.2]);
    let measured = problem.servers[0].measured.map(|measured| measured.get(0));
    assert!(measured.is_some_and(|share| (share - 0.8).abs() < 1e-6), "{measured:?}");
    assert_eq!(problem.refusals(), []);
}

#[test]
fn a_device_counts_where_its_open_flows_are_and_not_twice() {
    let mut spec = fleet();
    let outlook = after(&spec, [3000, 1000, 1000], ["20%", "100%", "80%"]);
    // d1 has just been moved to s2; its flows drain on s1.
    let (d1, s1) = (spec.devices["d1"].id, spec.servers["s1"].id);
    if let Some(device) = spec.devices.get_mut("d1") {
        device.association.server = "s2".into();
    }
    let residence = Residence::from([(d1, BTreeMap::from([(s1, 4)]))]);
    let problem = problem(&spec, &outlook, &residence, &all_well(&spec));
    let moved = &problem.devices[0];
    assert_eq!((moved.server, moved.sampled_on), (ServerAt(1), Some(ServerAt(0))));
    assert_eq!(demands(&problem), [0.6, 0.2, 0.2]);
}

#[test]
fn what_a_server_has_without_traffic_is_not_blamed_on_a_few_bytes() {
    let spec = fleet();
    let outlook = after(&spec, [10_000, 10_000, 10], ["20%", "100%", "50%"]);
    let problem = problem(&spec, &outlook, &Residence::new(), &all_well(&spec));
    assert!(problem.devices[2].demand.get(0) < 0.01, "{:?}", problem.devices[2]);
}

#[test]
fn an_idle_device_needs_next_to_nothing_and_an_unknown_one_what_others_need() {
    let spec = fleet();
    let outlook = after(&spec, [1000, 0, 0], ["20%", "100%", "100%"]);
    let idle = problem(&spec, &outlook, &Residence::new(), &all_well(&spec));
    assert_eq!(demands(&idle), [0.8, 0.0, 0.0]);
    assert!(idle.devices[1].demand.get(0) > 0.0);
    let unknown = Outlook { devices: BTreeMap::new(), ..outlook };
    let guessed = problem(&spec, &unknown, &Residence::new(), &all_well(&spec));
    assert_eq!(demands(&guessed), [0.01, 0.01, 0.01]);
}

#[test]
fn what_a_device_needs_at_once_now_and_then_is_a_part_of_its_server_too() {
    let spec = fleet();
    let mut outlook = Outlook::new(rules());
    outlook.follow(&spec);
    let mut bytes = 0;
    for second in 0..=60_u64 {
        let now_ms = second * SECOND_MS;
        // From the thirtieth second on, each tenth has eight times as much.
        let is_surge = second >= 30 && second.is_multiple_of(10);
        bytes += if is_surge { 8000 } else { 1000 };
        if let Some(server) = outlook.servers.get_mut("s1") {
            server.take_agent(AgentLine::parse(b"80%").unwrap(), now_ms);
        }
        let ids = spec.devices.values().map(|device| device.id);
        let of = |id: u32| (id, Totals { bytes, ..Totals::default() });
        outlook.take_totals(&spec, &ids.map(of).collect(), now_ms);
        outlook.close_period(now_ms);
    }
    let problem = problem(&spec, &outlook, &Residence::new(), &all_well(&spec));
    let surge = problem.devices[0].surge;
    assert!(surge.per_period > 0.0, "{surge:?}");
    // The last period had one: what is needed now is 8000 bytes a second, 7000 more than before.
    let part = surge.size.get(0) / problem.devices[0].demand.get(0);
    assert!((0.7..0.95).contains(&part), "{surge:?} of {:?}", problem.devices[0].demand);
}

#[test]
fn a_server_that_fills_is_given_the_part_that_its_time_has_come_to() {
    let mut spec = fleet();
    let outlook = after(&spec, [3000, 1000, 1000], ["20%", "100%", "80%"]);
    if let Some(s2) = spec.servers.get_mut("s2") {
        let now_ms = 20 * SECOND_MS;
        s2.filling = Some(Filling { since_ms: now_ms - SECOND_MS, until_ms: now_ms + SECOND_MS });
    }
    let problem = problem(&spec, &outlook, &Residence::new(), &all_well(&spec));
    let parts: Vec<f64> = problem.servers.iter().map(|server| server.part).collect();
    assert_eq!(parts, [1.0, 0.5, 1.0]);
    assert_eq!(problem.refusals(), []);
}

#[test]
fn a_server_that_says_nothing_or_is_unwell_takes_nothing() {
    let mut spec = fleet();
    let outlook = after(&spec, [1000, 0, 0], ["20%", "nonsense", "80%"]);
    let mut observed = all_well(&spec);
    kill(&mut observed, "s3", false, 0);
    let refusals = problem(&spec, &outlook, &Residence::new(), &observed).refusals();
    let texts: Vec<&str> = refusals.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(texts, ["its agent has not been read", "its health is dead"]);
    for server in spec.servers.values_mut() {
        server.load = LoadSources::default();
    }
    let mut silent = Outlook::new(rules());
    silent.follow(&spec);
    let refusals = problem(&spec, &silent, &Residence::new(), &all_well(&spec)).refusals();
    assert_eq!(refusals.len(), 3);
    assert!(refusals[0].1.starts_with("nothing tells its load"), "{refusals:?}");
}

#[test]
fn traffic_is_a_signal_of_servers_that_say_how_much_they_carry() {
    let mut spec = fleet();
    for server in spec.servers.values_mut() {
        server.load = LoadSources { bytes_per_second_max: Some(10_000), ..LoadSources::default() };
    }
    let outlook = after(&spec, [3000, 1000, 1000], ["", "", ""]);
    let score = |name: &str| outlook.servers[name].score(&rules(), 20 * SECOND_MS).worst;
    assert_eq!(
        score("s1").map(|(signal, share)| (signal, share.get())),
        Some((Signal::Network, 0.4))
    );
    assert_eq!(score("s2").map(|(_, share)| share.get()), Some(0.0));
}

#[test]
fn figures_of_another_source_are_forgotten() {
    let mut spec = fleet();
    let mut outlook = after(&spec, [1000, 0, 0], ["20%", "100%", "80%"]);
    let now_ms = 20 * SECOND_MS;
    assert!(outlook.servers["s2"].refusal(&rules(), now_ms).is_none());
    if let Some(server) = spec.servers.get_mut("s2") {
        server.load.agent_address = Some((server.address, 9998).into());
    }
    outlook.follow(&spec);
    assert!(outlook.servers["s2"].refusal(&rules(), now_ms).is_some());
    assert!(
        outlook.servers["s1"]
            .refusal(&rules(), now_ms)
            .is_none_or(|why| why.to_string() != "its agent has not been read")
    );
}

#[test]
fn histories_have_a_point_each_five_seconds_with_what_was_expected() {
    let spec = fleet();
    let outlook = after(&spec, [1000, 0, 0], ["20%", "100%", "80%"]);
    let points: Vec<&Point> = outlook.devices["d1"].history.points().collect();
    assert_eq!(points.len(), 5);
    assert_eq!(
        points.iter().map(|point| point.at_ms).collect::<Vec<_>>(),
        [0, 5000, 10_000, 15_000, 20_000]
    );
    assert_eq!((points[4].value, points[4].p50), (Some(1000.0), Some(1000.0)));
    let server: Vec<&Point> = outlook.servers["s1"].history.points().collect();
    assert!(server[4].value.is_some_and(|value| (value - 0.8).abs() < 1e-6), "{server:?}");
}
