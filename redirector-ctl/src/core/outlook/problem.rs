//! The problem that the solver gets: servers' signals, and what part of them each device causes.
//!
//! A device is taken to cause as much of each of its server's signals as it has of the traffic
//! there, because nobody tells more. Its demand is that part at the 90th percentile of its
//! forecast, so that all demands are in the servers' own unit: shares of what a server carries.
//! Traffic of a device whose open flows are still on an earlier server counts there.

use std::collections::BTreeMap;

use super::super::balance::{
    Allowed, Device, Eligibility, Problem, RESOURCES_MAX, Server, ServerAt, Surge, Vector,
};
use super::super::fitness::obstacle;
use super::super::health::Health;
use super::super::load::Signal;
use super::super::observed::Observed;
use super::super::spec::{self, AdminState, Cause, FlowPolicy, Name, Spec};
use super::{DeviceOutlook, Outlook, ServerOutlook};

/// What a device is taken to need while nothing is known of any, as a share of a server.
const GUESS: f64 = 0.01;
/// What a device that has no traffic is taken to need.
const IDLE: f64 = 1e-6;
/// How much dearer than everywhere together a byte can be at one server. A server without much
/// traffic has load of its own, which its few bytes do not cause.
const DEARER_MAX: f64 = 4.0;
/// How long clients of a moved device wait, in seconds: while its open flows stay, and when they
/// are reset and have to come back.
const BLACKOUT_STAYS_S: f64 = 0.05;
const BLACKOUT_RESET_S: f64 = 1.0;

/// Open flows: device id -> server id -> how many.
pub type Residence = BTreeMap<u32, BTreeMap<u16, u64>>;

/// What a problem is made of.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Intent.
    pub spec: &'a Spec,
    /// Health.
    pub observed: &'a Observed,
    /// Loads.
    pub outlook: &'a Outlook,
    /// Where open flows are.
    pub residence: &'a Residence,
    /// Device -> until when it rests: ms since the Unix epoch.
    pub rests: &'a BTreeMap<Name, u64>,
    /// Now: ms since the Unix epoch.
    pub now_ms: u64,
}

type Figures = [f64; RESOURCES_MAX];

/// How long clients wait when a device moves under this policy, in ms.
#[must_use]
pub fn blackout_ms(policy: FlowPolicy) -> u64 {
    (blackout_s(policy) * 1000.0) as u64
}

fn blackout_s(policy: FlowPolicy) -> f64 {
    match policy {
        FlowPolicy::Keep | FlowPolicy::Drain { .. } => BLACKOUT_STAYS_S,
        FlowPolicy::Reset => BLACKOUT_RESET_S,
    }
}

impl Moment<'_> {
    /// The problem. Positions are those of the spec's maps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let names: Vec<&Name> = self.spec.servers.keys().collect();
        let signals = self.signals();
        let prices = self.prices(&names, &signals);
        let mut devices: Vec<Device> = Vec::with_capacity(self.spec.devices.len());
        let groups = self.groups();
        for (name, device) in &self.spec.devices {
            let group = device.keep_apart.as_ref().and_then(|word| groups.get(word).copied());
            devices.extend(self.device((name, device), &names, &prices, group));
        }
        guess(&mut devices, signals.len());
        Problem {
            resources: signals.iter().map(|signal| signal.name()).collect(),
            servers: self.spec.servers.iter().map(|one| self.server(one, &signals)).collect(),
            devices,
        }
    }

    /// The resources: the signals in which any server is most loaded, as many as a problem can
    /// have, in the signals' order.
    fn signals(&self) -> Vec<Signal> {
        let mut most: BTreeMap<Signal, f64> = BTreeMap::new();
        for (signal, share) in self.outlook.servers.values().flat_map(|known| &known.period) {
            let most = most.entry(*signal).or_default();
            *most = most.max(*share);
        }
        let mut signals: Vec<(Signal, f64)> = most.into_iter().collect();
        signals.sort_by(|a, b| b.1.total_cmp(&a.1));
        signals.truncate(RESOURCES_MAX);
        let mut signals: Vec<Signal> = signals.into_iter().map(|(signal, _)| signal).collect();
        signals.sort_unstable();
        signals
    }

    fn server(&self, (name, server): (&Name, &spec::Server), signals: &[Signal]) -> Server {
        let known = self.outlook.servers.get(name);
        let measured = known.filter(|known| !known.period.is_empty());
        Server {
            id: server.id,
            name: name.clone(),
            capacity: Vector::new(&[1.0; RESOURCES_MAX]),
            eligibility: self.eligibility(name, server, known),
            part: server.filling.map_or(1.0, |filling| filling.part(self.now_ms)),
            measured: measured.map(|known| Vector::new(&figures(known, signals))),
        }
    }

    fn eligibility(
        &self,
        name: &Name,
        server: &spec::Server,
        known: Option<&ServerOutlook>,
    ) -> Eligibility {
        let refuses = |why: &str| Eligibility::Refuses(why.to_owned());
        match (server.state, self.observed.server(name)) {
            (AdminState::Draining, _) => return refuses("it is draining"),
            (AdminState::Inactive, _) => return refuses("it is inactive"),
            (AdminState::Failed, _) => return refuses("it is declared failed"),
            (AdminState::Active, _) if server.life_over => return refuses("it is dead"),
            (AdminState::Active, Health::Healthy) => {}
            (AdminState::Active, health) => {
                return Eligibility::Refuses(format!("its health is {}", health.name()));
            }
        }
        match known {
            Some(known) if !known.has_source() => {
                refuses("nothing tells its load: give it a metrics_url or an agent_address")
            }
            Some(known) => match known.refusal(&self.outlook.rules, self.now_ms) {
                Some(why) => Eligibility::Refuses(why.to_string()),
                None => Eligibility::Eligible,
            },
            None => refuses("its load is not known yet"),
        }
    }

    /// What a byte a second costs at each server, by resource.
    fn prices(&self, names: &[&Name], signals: &[Signal]) -> Vec<Figures> {
        let traffic = self.traffic();
        let mut totals = ([0.0; RESOURCES_MAX], 0.0);
        let mut servers: Vec<(Option<Figures>, f64)> = Vec::with_capacity(names.len());
        for name in names {
            let known = self.outlook.servers.get(*name).filter(|known| !known.period.is_empty());
            let bytes = traffic.get(*name).copied().unwrap_or_default();
            let figures = known.map(|known| figures(known, signals));
            if let Some(figures) = figures {
                totals.1 += bytes;
                totals.0.iter_mut().zip(figures).for_each(|(total, share)| *total += share);
            }
            servers.push((figures, bytes));
        }
        let (shares, bytes) = totals;
        let everywhere = shares.map(|share| if bytes >= 1.0 { share / bytes } else { 0.0 });
        let price = |(figures, bytes): &(Option<Figures>, f64)| match figures {
            Some(figures) if *bytes >= 1.0 => {
                let mut price = figures.map(|share| share / bytes);
                for (price, everywhere) in price.iter_mut().zip(everywhere) {
                    *price = price.min(DEARER_MAX * everywhere);
                }
                price
            }
            _ => everywhere,
        };
        servers.iter().map(price).collect()
    }

    /// Bytes a second on each server, where the flows are.
    fn traffic(&self) -> BTreeMap<&Name, f64> {
        let by_id: BTreeMap<u16, &Name> =
            self.spec.servers.iter().map(|(name, server)| (server.id, name)).collect();
        let mut traffic: BTreeMap<&Name, f64> = BTreeMap::new();
        for (name, device) in &self.spec.devices {
            let rates = self.outlook.devices.get(name).and_then(|known| known.period);
            let bytes = rates.map_or(0.0, |rates| rates.bytes_per_s);
            let flows = self.residence.get(&device.id);
            let all: u64 = flows.into_iter().flat_map(BTreeMap::values).sum();
            if all == 0 {
                *traffic.entry(&device.association.server).or_default() += bytes;
            }
            for (id, len) in flows.into_iter().flatten() {
                if let Some(server) = by_id.get(id) {
                    *traffic.entry(server).or_default() += bytes * *len as f64 / all as f64;
                }
            }
        }
        traffic
    }

    /// Words that keep devices apart, numbered.
    fn groups(&self) -> BTreeMap<&Name, u32> {
        let mut words: Vec<&Name> =
            self.spec.devices.values().filter_map(|device| device.keep_apart.as_ref()).collect();
        words.sort_unstable();
        words.dedup();
        words.into_iter().zip(0..).collect()
    }

    /// A device; None when its server is gone, which the spec does not allow.
    fn device(
        &self,
        (name, device): (&Name, &spec::Device),
        names: &[&Name],
        prices: &[Figures],
        group: Option<u32>,
    ) -> Option<Device> {
        let at = |server: &Name| names.binary_search(&server).ok().map(|at| ServerAt(at as u32));
        let now = &device.association;
        let server = at(&now.server)?;
        let home = self.home(device, names).unwrap_or(server);
        let price = prices.get(home.0 as usize).copied().unwrap_or_default();
        let known = self.outlook.devices.get(name);
        let (demand, error) = self.needs(known, price);
        let may = |server: &&Name| {
            **server == now.server || obstacle(self.spec, self.observed, server, name).is_none()
        };
        let mut allowed: Vec<ServerAt> = device.servers.iter().filter(may).filter_map(at).collect();
        allowed.sort_unstable();
        let worst = demand.iter().copied().fold(0.0, f64::max);
        Some(Device {
            id: device.id,
            name: name.clone(),
            demand: Vector::new(&demand),
            error: Vector::new(&error),
            surge: self.surge(known, price),
            server,
            sampled_on: (home != server).then_some(home),
            allowed: Allowed::Only(allowed),
            pinned: device.pinned.then_some(server),
            group,
            cost: (blackout_s(device.policy_of(Cause::Overload)) * worst) as f32,
            resting_until_ms: self.rests.get(name).copied().unwrap_or_default(),
            backup: now.backup.as_ref().and_then(at),
        })
    }

    /// The server that most of its open flows are on; None without any.
    fn home(&self, device: &spec::Device, names: &[&Name]) -> Option<ServerAt> {
        let flows = self.residence.get(&device.id)?;
        let own = self.spec.servers.get(&device.association.server).map(|server| server.id);
        let most = |(id, len): &(&u16, &u64)| (**len, Some(**id) == own);
        let (id, _) = flows.iter().filter(|(_, len)| **len > 0).max_by_key(most)?;
        let is_it = |name: &&Name| self.spec.servers.get(*name).is_some_and(|s| s.id == *id);
        names.iter().position(is_it).map(|at| ServerAt(at as u32))
    }

    /// What it will need, and how wrong that may be. Zeros while nothing is known of it.
    fn needs(&self, known: Option<&DeviceOutlook>, price: Figures) -> (Figures, Figures) {
        let expected = known.and_then(|known| known.expected(&self.outlook.rules, self.now_ms));
        let Some(forecast) = expected.map(|expected| expected.forecast) else {
            return ([0.0; RESOURCES_MAX], [0.0; RESOURCES_MAX]);
        };
        let demand = price.map(|price| (price * forecast.p90).max(IDLE));
        (demand, price.map(|price| price * forecast.mae))
    }

    /// What it may need at once beyond that.
    fn surge(&self, known: Option<&DeviceOutlook>, price: Figures) -> Surge {
        let surge = known.and_then(|known| known.surge(&self.outlook.rules));
        surge.map_or(Surge::default(), |surge| Surge {
            per_period: surge.per_period as f32,
            size: Vector::new(&price.map(|price| price * surge.size)),
        })
    }
}

fn figures(known: &ServerOutlook, signals: &[Signal]) -> Figures {
    let mut figures = [0.0; RESOURCES_MAX];
    for (figure, signal) in figures.iter_mut().zip(signals) {
        *figure = known.period.get(signal).copied().unwrap_or_default();
    }
    figures
}

/// Devices of which nothing is known get what the others need on average.
fn guess(devices: &mut [Device], resources_len: usize) {
    let is_known = |device: &&Device| device.demand.get(0) > 0.0;
    let known: Vec<&Device> = devices.iter().filter(is_known).collect();
    let mut usual = [0.0; RESOURCES_MAX];
    for (resource, usual) in usual.iter_mut().enumerate().take(resources_len) {
        let sum: f64 = known.iter().map(|device| device.demand.get(resource)).sum();
        *usual = if known.is_empty() { GUESS } else { sum / known.len() as f64 };
    }
    let usual = Vector::new(&usual);
    for device in devices.iter_mut().filter(|device| device.demand.get(0) <= 0.0) {
        device.demand = usual;
    }
}
