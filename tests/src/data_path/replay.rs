//! Runs the cases of [`super::fixture`] through the loaded program and through the host.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use redirector_common::tables::Route;
use redirector_common::verdict::Reason;
use redirector_common::wire::{Hop, MARK_ORIGIN, MARK_TRACKED};
use redirector_ctl::core::op::{Endpoint, Op, ServerState};
use redirector_ctl::platform::bpf::TableLimits;
use redirector_ctl::platform::tables::Gateway;

use super::check::check;
use super::describe::{fields, side_by_side, write_pcap};
use super::fixture::{Case, Exchange, OTHER_INTERFACE, Step};
use super::packets::CLIENT_MAC;
use super::program::{SMALL, settled_tick, settled_window, tick, window};
use super::reset;
use super::{
    DROP, Host, Outcome, Program, TestDevice, Version, client_ip, server_ip, server_state, servers,
};

/// Servers of every case.
const SERVERS: u16 = 4;
/// Proven flows of a family that there is room for: few, so that a case can fill it.
const FLOWS_MAX: u32 = 2;
/// Clients that the kernel's routing table knows a neighbour for.
const NEIGHBOURS: u16 = 3;

/// The routing table of the kernel, in commands of `ip` and writes of sysctl.
const ROUTES: &str = "ip link set lo up
ip link add rdr0 index 30 type veth peer name rdr1
ip link set rdr1 up
ip link set rdr0 up
ip addr add 10.1.9.254/24 dev rdr0
ip addr add 10.2.0.254/32 dev lo
ip -6 addr add fd00:1::9:fe/112 dev rdr0 nodad
ip -6 addr add fd00:2::fe/128 dev lo nodad
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv6.conf.all.forwarding=1";

/// A loaded program and what is known of the kernel around it.
pub struct Replay {
    program: Program,
    marked: Vec<IpAddr>,
    gateway: Gateway,
}

/// Makes the routing table that [`host_routes`] models, in the calling thread's namespace.
///
/// # Errors
///
/// When a command fails.
pub fn make_routes() -> Result<()> {
    let mut commands: Vec<String> = ROUTES.lines().map(str::to_owned).collect();
    for id in 1..=NEIGHBOURS {
        for version in [Version::V4, Version::V6] {
            let address = client_ip(version, id);
            let mac = CLIENT_MAC.map(|byte| format!("{byte:02x}")).join(":");
            commands.push(format!("ip neigh add {address} lladdr {mac} nud permanent dev rdr0"));
        }
    }
    for command in commands {
        let mut words = command.split_whitespace();
        let program = words.next().context("a command")?;
        let output = Command::new(program).args(words).output().context(command.clone())?;
        ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// What that routing table says.
pub fn host_routes(host: &mut Host) {
    for version in [Version::V4, Version::V6] {
        for id in 1..=NEIGHBOURS {
            let way = Route::Via(Hop::new(CLIENT_MAC, OTHER_INTERFACE));
            host.routes.insert(client_ip(version, id), way);
        }
        host.routes.insert(client_ip(version, NEIGHBOURS + 1), Route::Via(Hop::UNKNOWN));
    }
}

impl Replay {
    /// Loads the program, in a network namespace with a few routes.
    ///
    /// # Errors
    ///
    /// When the kernel refuses (needs root).
    pub fn new() -> Result<Self> {
        let limits = TableLimits { flows_max: FLOWS_MAX, paths_max: 16, ..SMALL };
        let program = Program::load(&limits)?;
        make_routes()?;
        Ok(Self { program, marked: Vec::new(), gateway: Gateway::default() })
    }

    /// Runs a case on empty tables.
    ///
    /// # Errors
    ///
    /// What became of a packet that should have become something else, and where it is to be read.
    pub fn run(&mut self, case: &Case) -> Result<()> {
        /// Times that a busy machine may hold a case up before it is taken for broken.
        const HELD_UP_MAX: usize = 50;
        for _ in 0..HELD_UP_MAX {
            let in_time = self
                .try_run(case)
                .with_context(|| format!("{} ({:?}): {}", case.place, case.version, case.name))?;
            if in_time {
                return Ok(());
            }
        }
        anyhow::bail!("{}: held up {HELD_UP_MAX} times", case.place)
    }

    /// The same; false if a clock moved while a packet was run, so that nothing can be said of it.
    fn try_run(&mut self, case: &Case) -> Result<bool> {
        let mut host = self.begin(case)?;
        let began = window()?;
        for step in &case.steps {
            match step {
                Step::Apply(op) => {
                    self.program.apply(std::slice::from_ref(op))?;
                    host.apply(std::slice::from_ref(op));
                    self.note_marks(op);
                }
                Step::WaitTick => wait_until_moved(settled_tick)?,
                Step::NewFlowsSpent => host.may_open.set(false),
                Step::AnswersSpent => host.may_answer.set(false),
                Step::Packet(exchange) => {
                    let spent = !host.may_open.get() || !host.may_answer.get();
                    if !self.exchange(&host, case, exchange, spent.then_some(began))? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Empty tables but for the case's servers and devices, in the kernel and on the host.
    fn begin(&mut self, case: &Case) -> Result<Host> {
        reset::empty(self.program.runner())?;
        for address in std::mem::take(&mut self.marked) {
            self.program.apply(&[Op::SetMarks { address, marks: 0 }])?;
        }
        for id in 1..=SERVERS {
            self.program.apply(&[server_state(id, ServerState::Absent)])?;
        }
        if self.gateway != case.gateway {
            self.program.tables.set_gateway(&case.gateway)?;
            self.gateway = case.gateway.clone();
        }
        let mut host = Host::new();
        host.set_gateway(case.gateway.clone());
        host.paths_max = 16;
        host.flows_max = FLOWS_MAX as usize;
        host.headroom = case.headroom.unwrap_or(host.headroom);
        host_routes(&mut host);
        let mut ops = servers(case.servers, SERVERS);
        for device in &case.devices {
            ops.extend(device_ops(device, case.servers));
        }
        for op in &ops {
            self.note_marks(op);
        }
        self.program.apply(&ops)?;
        host.apply(&ops);
        let limited =
            case.gateway.new_flows_per_second_max + case.gateway.answers_per_second_max > 0;
        if limited {
            wait_until_moved(settled_window)?;
        }
        Ok(host)
    }

    fn note_marks(&mut self, op: &Op) {
        if let Op::SetMarks { address, .. } = op {
            self.marked.push(*address);
        }
    }

    fn exchange(
        &self,
        host: &Host,
        case: &Case,
        exchange: &Exchange,
        window_began: Option<u64>,
    ) -> Result<bool> {
        let before = settled_tick()?;
        host.now.set(before);
        let (by_host, host_reason) = host.run(&exchange.frame);
        let (by_program, reason) = match case.headroom {
            None => self.program.explain(&exchange.frame)?,
            Some(headroom) => self.program.explain_in(&exchange.frame, headroom)?,
        };
        let in_window = match window_began {
            Some(began) => window()? == began,
            None => true,
        };
        if tick()? != before || !in_window {
            return Ok(false);
        }
        let mut wrong = String::new();
        let mut judge = |who: &str, outcome: &Outcome, met: Reason| {
            let action_is_right = outcome.action == exchange.action && met == exchange.reason;
            let expected = exchange.expected.as_ref().unwrap_or(&outcome.frame);
            let frame_is_right = exchange.action == DROP || *expected == outcome.frame;
            if !action_is_right || !frame_is_right {
                let _ = writeln!(
                    wrong,
                    "{who}: action {}, {}; expected action {}, {}\n{}",
                    outcome.action,
                    met.name(),
                    exchange.action,
                    exchange.reason.name(),
                    side_by_side(expected, &outcome.frame)
                );
            }
        };
        judge("program", &by_program, reason);
        judge("host", &by_host, host_reason);
        if let Err(error) = sound(exchange, &by_program) {
            let _ = writeln!(wrong, "the packet that left is not right in itself: {error}");
        }
        if wrong.is_empty() {
            return Ok(true);
        }
        let expected = exchange.expected.as_deref().unwrap_or(&exchange.frame);
        let frames = [exchange.frame.as_slice(), expected, &by_program.frame];
        let pcap = write_pcap(&format!("{}-{:?}", case.place, case.version), &frames)?;
        anyhow::bail!(
            "line {}\n{wrong}packet in:\n  {}\nin, expected and out as a file: {}",
            exchange.line,
            fields(&exchange.frame).join("\n  "),
            pcap.display()
        )
    }
}

/// What left is right in itself, if what came in was, or if it is of the redirector's own making.
fn sound(exchange: &Exchange, outcome: &Outcome) -> Result<(), String> {
    let own = exchange.reason.help().starts_with("Answered:");
    if outcome.action == DROP || (check(&exchange.frame).is_err() && !own) {
        return Ok(());
    }
    check(&outcome.frame)
}

/// The ops of a device whose servers may be of the other family, or known by all their ports.
fn device_ops(device: &TestDevice, servers: Version) -> Vec<Op> {
    let mut ops = device.ops(SERVERS, servers);
    let settings = &device.settings;
    if settings.port != settings.port_last && device.comes_back {
        for server in 1..=SERVERS {
            let address = server_ip(servers, server);
            let at = Endpoint { address, port: 0, protocol: settings.protocol };
            ops.push(Op::SetMarks { address, marks: MARK_ORIGIN | MARK_TRACKED });
            ops.push(Op::AddReturn { endpoint: at, device: device.id, server });
        }
    }
    ops
}

fn wait_until_moved(clock: impl Fn() -> Result<u64>) -> Result<()> {
    let before = clock()?;
    while clock()? == before {
        std::thread::yield_now();
    }
    Ok(())
}
