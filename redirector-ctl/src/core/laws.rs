//! Laws that hold for every run of changes and measurements, tried on random runs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redirector_common::wire::{MARK_ORIGIN, MARK_SERVICE};

use super::change::{Change, Context, DeviceSpec, Move, SpecLimits};
use super::fitness::obstacle;
use super::fixtures::{self, LIMITS, ip, set_path};
use super::health::{Health, Silence};
use super::image::{Image, Imager, diff};
use super::observed::{Census, Observed};
use super::op::{NextHop, Op, ServerState, protocol_name};
use super::paths::Paths;
use super::plan::{Plan, plan};
use super::seed::Seed;
use super::spec::{
    AdminState, Cause, Drain, FlowPolicy, LoadSources, Name, Server, Spec, Tracking,
};

mod journal;

/// One thing that happens.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a run has few steps")]
enum Step {
    Wish(Change),
    Path { server: Name, device: Name, health: Health, silent: bool },
    Way { server: Name, mac: u8 },
    Census,
    Pass { ms: u64 },
}

fn server_name() -> impl Strategy<Value = Name> {
    (1_u8..=4).prop_map(|n| format!("s{n}"))
}

fn device_name() -> impl Strategy<Value = Name> {
    (1_u8..=4).prop_map(|n| format!("d{n}"))
}

fn state() -> impl Strategy<Value = AdminState> {
    prop_oneof![
        3 => Just(AdminState::Active),
        1 => Just(AdminState::Draining),
        1 => Just(AdminState::Inactive),
        1 => Just(AdminState::Failed),
    ]
}

fn policy() -> impl Strategy<Value = FlowPolicy> {
    prop_oneof![
        Just(FlowPolicy::Keep),
        Just(FlowPolicy::Reset),
        (0_u64..5000).prop_map(|deadline_ms| FlowPolicy::Drain { deadline_ms }),
    ]
}

fn device_spec() -> impl Strategy<Value = DeviceSpec> {
    let servers = proptest::sample::subsequence(vec!["s1", "s2", "s3", "s4"], 1..=4).prop_shuffle();
    let tracking = prop_oneof![3 => Just(Tracking::Tracked), 1 => Just(Tracking::Stateless)];
    let over = proptest::option::of(policy());
    let treatment = (policy(), over, tracking, proptest::option::of(0..5000_u64));
    (1_u8..=5, 1_u16..=6, servers, treatment, proptest::option::of(server_name())).prop_map(
        |(n, port, servers, (on_planned, on_overload, tracking, fail_back_after_ms), server)| {
            DeviceSpec {
                address: ip(&format!("10.0.1.{n}")),
                server_port: 10900 + port,
                on_planned,
                on_overload,
                fail_back_after_ms,
                tracking,
                server,
                ..fixtures::device_spec(n, &servers)
            }
        },
    )
}

fn a_move() -> impl Strategy<Value = Move> {
    (device_name(), server_name(), proptest::option::of(policy()))
        .prop_map(|(device, server, policy)| Move { device, server, policy })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (server_name(), 1_u8..=5, proptest::option::of(state())).prop_map(|(name, n, state)| {
            let load = LoadSources::default();
            Change::PutServer { name, address: ip(&format!("10.0.2.{n}")), state, load }
        }),
        1 => server_name().prop_map(|name| Change::RemoveServer { name }),
        2 => (server_name(), state())
            .prop_map(|(name, state)| Change::SetServerState { name, state }),
        4 => (device_name(), device_spec())
            .prop_map(|(name, device)| Change::PutDevice { name, device }),
        1 => device_name().prop_map(|name| Change::RemoveDevice { name }),
        2 => (
            proptest::collection::vec(device_name(), 0..2),
            proptest::collection::btree_map(device_name(), device_spec(), 0..3),
        )
            .prop_map(|(remove, put)| Change::PatchDevices { remove, put }),
        4 => proptest::collection::vec(a_move(), 1..3)
            .prop_map(|moves| Change::Associate { moves, cause: Cause::Planned }),
    ]
}

/// The last epoch given out before a run: none, or nearly the largest.
fn last_epoch() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(65_530)]
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![
        4 => Just(Health::Healthy),
        2 => Just(Health::Dead),
        1 => Just(Health::Suspect),
        1 => Just(Health::Unknown),
    ];
    prop_oneof![
        5 => change().prop_map(Step::Wish),
        5 => (server_name(), device_name(), health, any::<bool>()).prop_map(
            |(server, device, health, silent)| Step::Path { server, device, health, silent }
        ),
        2 => (server_name(), 1_u8..4).prop_map(|(server, mac)| Step::Way { server, mac }),
        1 => Just(Step::Census),
        1 => (1_u64..4000).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What changes are judged against: servers fill for a while.
fn at(now_ms: u64, observed: &Observed) -> Context<'_> {
    let ctx = fixtures::at(now_ms, observed);
    Context { limits: SpecLimits { fill_ms: 3000, ..ctx.limits }, ..ctx }
}

/// A run in progress: intent, measurement and tables.
#[derive(Default)]
struct World {
    now_ms: u64,
    spec: Spec,
    observed: Observed,
    tables: Image,
    imager: Imager,
}

impl World {
    /// A world whose devices get epochs after `epoch`.
    fn after(epoch: u16) -> Self {
        let mut world = Self::default();
        let epochs = (0..LIMITS.devices_max).map(|id| (id, epoch));
        world.spec.slots.epochs = epochs.collect::<BTreeMap<_, _>>().into();
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wish(change) => {
                let Ok(next) = self.spec.apply(change, &at(self.now_ms, &self.observed)) else {
                    return;
                };
                let grown = next.generation - self.spec.generation;
                assert_eq!(grown, u64::from(next != self.spec), "the generation of {change}");
                self.spec = next;
            }
            Step::Path { server, device, health, silent } => {
                let listed =
                    self.spec.devices.get(device).is_some_and(|d| d.servers.contains(server));
                if listed {
                    set_path(&mut self.observed, server, device, *health, self.now_ms);
                }
                let known = |of: &&mut Paths| of.contains_key(device);
                let of = self.observed.paths.get_mut(server).filter(known);
                if let Some(of) = of.filter(|_| *silent && *health == Health::Dead) {
                    of.change(device, |path| {
                        path.answer_at_ms = None;
                        let since_ms = self.now_ms;
                        path.silence = Some(Silence { since_ms, last_ms: since_ms });
                    });
                }
            }
            Step::Way { server, mac } => {
                let hop = NextHop { mac: [2, 0, 0, 0, 0, *mac], port: 0 };
                self.observed.next_hops.insert(server.clone(), hop);
            }
            Step::Census => {
                let began_at_ms = self.now_ms;
                self.observed.census = Some(Census { began_at_ms, ..Census::default() });
            }
            Step::Pass { ms } => self.now_ms += ms,
        }
        // What the daemon does when the spec changes: it forgets paths that nobody asks any more.
        let spec = &self.spec;
        for (server, of) in &mut self.observed.paths {
            of.retain(|device| {
                spec.devices.get(device).is_some_and(|d| d.servers.contains(server))
            });
            of.check();
        }
        self.observed
            .paths
            .retain(|server, of| spec.servers.contains_key(server) && !of.is_empty());
        self.observed.next_hops.retain(|server, _| spec.servers.contains_key(server));
    }

    /// Plans, checks the plan's laws, carries it out.
    fn plan(&mut self) {
        let ctx = at(self.now_ms, &self.observed);
        let made = plan(&self.spec, &ctx);
        assert_eq!(made, plan(&self.spec, &ctx), "the same inputs give the same plan");
        let mut carried_out = self.spec.clone();
        for decision in &made.decisions {
            carried_out = carried_out.apply(&decision.change, &ctx).expect("a decision is valid");
        }
        assert_eq!(carried_out, made.spec, "a plan's decisions lead to its spec");
        let again = plan(&made.spec, &ctx);
        assert!(again.decisions.is_empty(), "planning again gives nothing:\n{made}\n{again}");
        self.check_spared(&made);
        self.spec = made.spec;
    }

    /// A server that fills inherits only where no other may, and fills until its time is over.
    fn check_spared(&self, made: &Plan) {
        let servers = &made.spec.servers;
        let over = |server: &Server| server.filling.is_some_and(|of| of.until_ms <= self.now_ms);
        assert!(!servers.values().any(over), "who has filled is active:\n{made}");
        assert!(!servers.values().any(|server| server.is_out() && server.is_filling()));
        let fills = |name: &Name| servers[name].is_filling();
        let spared = |name: &Name, device: &Name| {
            let fit = obstacle(&made.spec, &self.observed, name, device).is_none();
            fit && !fills(name)
        };
        for (name, device) in made.spec.devices.iter().filter(|_| made.held_back.is_none()) {
            let Some(backup) = &device.association.backup else { continue };
            let others = device.servers.iter().filter(|of| **of != device.association.server);
            let has_other = others.into_iter().any(|of| spared(of, name));
            assert!(!fills(backup) || !has_other, "{name} could have another backup:\n{made}");
        }
    }

    /// Brings the tables in line, and checks every single write.
    fn write(&mut self) {
        let desired = Image::of(&self.spec, &self.observed);
        let kept = self.imager.image(&self.spec, &self.observed);
        assert_eq!(kept, &desired, "what is kept from the image before is as it would be made");
        for op in diff(&self.tables, &desired) {
            check_before(&self.tables, &op);
            self.tables.take(&op);
            check_after(&self.tables, &op);
        }
        self.tables.devices.retain(|id, _| desired.devices.contains_key(id));
        assert_eq!(self.tables, desired, "the writes lead to the desired tables");
        assert_eq!(diff(&self.tables, &desired), [], "and then there is nothing to write");
    }
}

/// A spec that could have been made in one go.
fn check_spec(spec: &Spec) {
    let nothing = Observed::default();
    Seed::verify(spec, &at(0, &nothing)).expect("the spec is valid");
    for (name, device) in &spec.devices {
        let now = &device.association;
        assert!(device.servers.contains(&now.server), "{name} is on an allowed server");
        assert_ne!(now.backup.as_ref(), Some(&now.server), "the backup of {name} is another");
        // Epochs wrap, so what is compared is how long ago each was.
        let age = |drain: &Drain| now.epoch.wrapping_sub(drain.epoch);
        let ages: Vec<u16> = now.drains.iter().map(age).collect();
        assert!(ages.is_sorted_by(|a, b| a > b), "drains of {name} are in order: {ages:?}");
        assert!(ages.iter().all(|age| (1..=255).contains(age)), "drains of {name}: {ages:?}");
    }
    let ids = spec.servers.values().map(|server| server.id);
    assert!(ids.clone().all(|id| (1..=LIMITS.servers_max).contains(&id)));
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), spec.servers.len());
}

fn check_before(tables: &Image, op: &Op) {
    match op {
        Op::SetServerAddress { id, .. } => {
            assert!(!tables.servers.contains_key(id), "{op}: only while the server is absent");
        }
        Op::SetDevice { id, settings } => {
            let same = tables.devices.get(id) == Some(settings);
            let named = tables.services.values().any(|device| device == id);
            assert!(same || !named, "{op}: only while no service names the device");
        }
        Op::SetServerState { id, state: ServerState::Absent, .. } => {
            // A server whose address changes is absent for a moment; one that goes must not be in
            // use.
            let used = |word: &super::op::AssociationWord| word.server == *id;
            let in_use = tables.words.values().any(used);
            let returns = tables.returns.values().any(|(_, server)| server == id);
            assert!(!in_use || returns, "{op}: nothing may refer to a server that goes");
        }
        Op::RemoveReturn { endpoint } => {
            let (device, server) = tables.returns[endpoint];
            let line = tables.servers.get(&server);
            let current = line.is_some_and(|line| line.address == endpoint.address)
                && tables.words.get(&device).is_some_and(|word| word.server == server)
                && tables.devices.get(&device).is_some_and(|d| d.server_port == endpoint.port);
            assert!(!current, "{op}: not while new flows come back by it");
        }
        _ => {}
    }
}

fn check_after(tables: &Image, op: &Op) {
    match op {
        Op::CommitAssociations { words } => {
            for (device, word) in words.iter().filter(|(_, word)| word.server != 0) {
                let line = tables.servers.get(&word.server).expect("the server is there first");
                let port = tables.devices.get(device).expect("settings are there").server_port;
                let back = tables.returns.iter().any(|(at, way)| {
                    at.address == line.address && at.port == port && *way == (*device, word.server)
                });
                assert!(back, "{op}: the way back is there first");
            }
        }
        Op::AddService { service, device } => {
            let settings = tables.devices.get(device).expect("settings are there first");
            let named = (settings.address, settings.port, settings.protocol);
            let echo = service.port == 0 && protocol_name(service.protocol) == "icmp";
            let expected = if echo { (settings.address, 0, service.protocol) } else { named };
            assert_eq!(expected, (service.address, service.port, service.protocol), "{op}");
            assert!(tables.words.contains_key(device), "{op}: the association is there first");
            let marks = tables.marks.get(&service.address).copied().unwrap_or_default();
            assert!(marks & MARK_SERVICE != 0, "{op}: what is not marked is not looked for");
        }
        Op::AddReturn { endpoint, .. } => {
            let marks = tables.marks.get(&endpoint.address).copied().unwrap_or_default();
            assert!(marks & MARK_ORIGIN != 0, "{op}: what is not marked is not looked for");
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_run_keeps_the_spec_valid_the_plan_final_and_the_tables_right(
        (epoch, steps) in (last_epoch(), proptest::collection::vec(step(), 1..60))
    ) {
        let mut world = World::after(epoch);
        for step in &steps {
            world.take(step);
            check_spec(&world.spec);
            world.plan();
            check_spec(&world.spec);
            world.write();
        }
    }

    #[test]
    fn a_restart_in_the_middle_of_any_run_writes_nothing(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::default();
        for step in &steps {
            world.take(step);
            world.plan();
            world.write();
        }
        // After a restart nothing is known of health, and ways are those of the tables.
        let ways = world.observed.next_hops.clone();
        let unknown = Observed { next_hops: ways, ..Observed::default() };
        let ops = diff(&world.tables, &Image::of(&world.spec, &unknown));
        prop_assert!(ops.is_empty(), "{ops:?}");
    }

    #[test]
    fn a_restart_after_a_time_without_a_disk_keeps_what_the_tables_hold(
        epoch in last_epoch(),
        (steps, from) in (proptest::collection::vec(step(), 1..60), 0_usize..60)
    ) {
        let mut world = World::after(epoch);
        let mut journal = None;
        for (n, step) in steps.iter().enumerate() {
            if n >= from {
                journal.get_or_insert_with(|| world.spec.clone());
                if matches!(step, Step::Wish(_)) {
                    continue; // Refused, because it could not be journalled.
                }
            }
            world.take(step);
            world.plan();
            world.write();
        }
        let mut resumed = journal.unwrap_or_else(|| world.spec.clone());
        resumed.resume(&world.tables, world.now_ms);
        check_spec(&resumed);
        let image = Image::of(&resumed, &Observed::default());
        for (id, was) in world.tables.words.iter().filter(|(_, word)| word.server != 0) {
            let now = image.words[id];
            prop_assert_eq!((now.server, now.epoch), (was.server, was.epoch));
            prop_assert!(now.epochs_open >= was.epochs_open, "{:?} {:?}", now, was);
        }
    }
}
