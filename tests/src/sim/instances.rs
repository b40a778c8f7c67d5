//! Problems of one moment: many devices at random on many servers.

use redirector_ctl::core::balance::{
    Allowed, Device, DeviceAt, Eligibility, Problem, Server, ServerAt, Surge, Vector,
};

use super::chance;
use crate::random::Random;

/// What a problem is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) devices_len: usize,
    pub(super) servers_len: usize,
    /// Deviation of the logarithm of the devices' demands.
    pub(super) sigma: f64,
    /// 1 to 4.
    pub(super) resources_len: usize,
    /// Whether devices have allowed servers, pins and groups, and some servers refuse.
    pub(super) constrained: bool,
}

const RESOURCES: [&str; 4] = ["requests", "bytes", "cpu", "memory"];
/// How full the servers are on average, in the fullest resource.
const FILL: f64 = 0.5;
/// A device is at most this share of a server.
const HEAVIEST: f64 = 0.25;
/// With constraints: share of devices that may use only some servers, how many those are, share of
/// pinned devices, share of devices in groups of three, and one server in so many refuses.
const CHOOSY: f64 = 0.3;
const CHOICES: usize = 12;
const PINNED: f64 = 0.02;
const GROUPED: f64 = 0.05;
const REFUSING: usize = 50;

/// The problem that belongs to a seed: demands lognormal, cut at a quarter of a server;
/// associations at random, by which no constraint is broken.
pub(super) fn problem(shape: Shape, seed: u64) -> Problem {
    let mut random = Random::new(seed);
    let demands = demands(shape, &mut random);
    let mut problem = Problem {
        resources: RESOURCES[..shape.resources_len].to_vec(),
        servers: (0..shape.servers_len).map(|n| server(shape, n)).collect(),
        devices: Vec::with_capacity(shape.devices_len),
    };
    for (index, demand) in demands.into_iter().enumerate() {
        let device = device(shape, index, demand, &mut random);
        problem.devices.push(device);
    }
    if shape.constrained {
        group(&mut problem, &mut random);
    }
    problem
}

fn server(shape: Shape, n: usize) -> Server {
    let refuses = shape.constrained && n % REFUSING == REFUSING - 1;
    Server {
        id: n as u16,
        name: format!("s{n}"),
        capacity: Vector::new(&[1.0; 4]),
        eligibility: match refuses {
            true => Eligibility::Refuses("its cpu was read 40 s ago".to_owned()),
            false => Eligibility::Eligible,
        },
        part: 1.0,
        measured: None,
    }
}

/// Demands as shares of a server, scaled so that the servers are [`FILL`] full. The resources of a
/// device go together, but not quite.
fn demands(shape: Shape, random: &mut Random) -> Vec<Vec<f64>> {
    let draw = |random: &mut Random| {
        let size = chance::lognormal(random, shape.sigma);
        let own = |_| size * chance::lognormal(random, 0.4);
        (0..shape.resources_len).map(own).collect::<Vec<f64>>()
    };
    let mut demands: Vec<Vec<f64>> = (0..shape.devices_len).map(|_| draw(random)).collect();
    for resource in 0..shape.resources_len {
        let total: f64 = demands.iter().map(|demand| demand[resource]).sum();
        let scale = FILL * shape.servers_len as f64 / total.max(f64::MIN_POSITIVE);
        for demand in &mut demands {
            demand[resource] = (demand[resource] * scale).min(HEAVIEST);
        }
    }
    demands
}

fn device(shape: Shape, index: usize, demand: Vec<f64>, random: &mut Random) -> Device {
    let is_choosy = shape.constrained && chance::happens(random, CHOOSY);
    let mut allowed: Vec<ServerAt> = match is_choosy {
        true => (0..CHOICES).map(|_| ServerAt(random.below(shape.servers_len) as u32)).collect(),
        false => Vec::new(),
    };
    allowed.sort();
    allowed.dedup();
    let server = match is_choosy {
        true => *random.choose(&allowed),
        false => ServerAt(random.below(shape.servers_len) as u32),
    };
    let is_pinned = shape.constrained && chance::happens(random, PINNED);
    let demand = Vector::new(&demand);
    Device {
        id: index as u32,
        name: format!("d{index}"),
        demand,
        error: Vector::default(),
        surge: Surge::default(),
        server,
        sampled_on: None,
        allowed: if is_choosy { Allowed::Only(allowed) } else { Allowed::All },
        pinned: is_pinned.then_some(server),
        group: None,
        cost: (0.05 * demand.get(0)) as f32,
        resting_until_ms: 0,
        backup: None,
    }
}

/// Groups of three devices, none of which share a server to begin with.
fn group(problem: &mut Problem, random: &mut Random) {
    let groups_len = (GROUPED * problem.devices.len() as f64 / 3.0) as u32;
    for group in 0..groups_len {
        let mut homes: Vec<ServerAt> = Vec::new();
        for _ in 0..3 {
            let at = DeviceAt(random.below(problem.devices.len()) as u32);
            let device = &mut problem.devices[at.0 as usize];
            if device.group.is_none() && !homes.contains(&device.server) {
                device.group = Some(group);
                homes.push(device.server);
            }
        }
    }
}
