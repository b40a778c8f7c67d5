//! A gateway without a daemon: the program attached natively in a namespace, its tables filled by
//! the test, clients and servers beside it.
//!
//! Every Ethernet address is chosen here and every neighbour is static, so that nothing is left to
//! be learnt: this kernel has no VLAN devices, on which ARP and neighbour discovery would run. End
//! hosts get their tags by a program on their interface, and so does the gateway's own stack.

use anyhow::{Context, Result};
use redirector_common::verdict::Reason;
use redirector_common::wire::Tags;
use redirector_ctl::core::op::{NextHop, Op, ServerState};
use redirector_ctl::platform::tables::Tables;

use crate::data_path::server_state;
use crate::end_host::{EndHost, Programs};
use crate::netns::Namespace;
use crate::process::{Keeping, Life};
use crate::redirector::Bpffs;
use crate::run::Run;
use crate::talk::Ends;

mod address;
mod device;
mod wiring;

pub use address::{
    CLIENT, SERVER, SERVER_V4, SERVER_V6, Side, address, mac, server_ip, service_ip,
};
pub use device::Device;
use wiring::{direct_way, routing_host};

/// What a gateway stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Tags among the clients.
    pub client_tags: Tags,
    /// Tags among the servers; counts with two arms.
    pub server_tags: Tags,
    /// MTU of clients and servers; the gateway's way to the servers has room for tunnels.
    pub mtu: u32,
    /// MTU of the gateway's way to the servers, if it is to have no such room.
    pub server_mtu: Option<u32>,
    /// Whether clients and servers are behind the same interface.
    pub one_armed: bool,
    /// MTU of a router between client and gateway, less than that of the links on both its sides.
    /// Without tags only.
    pub router_mtu: Option<u32>,
}

impl Plan {
    /// Two arms, no tags, an MTU of 1500.
    pub const PLAIN: Self = Self {
        client_tags: Tags::NONE,
        server_tags: Tags::NONE,
        mtu: 1500,
        server_mtu: None,
        one_armed: false,
        router_mtu: None,
    };

    /// Where the client is.
    pub fn client_side(&self) -> Side {
        if self.router_mtu.is_some() { Side::Far } else { Side::Clients }
    }
}

/// Clients' and servers' end, and the gateway between them. Fields are dropped from first to last.
pub struct Site {
    /// The program's tables.
    pub tables: Tables,
    /// The client.
    pub client: EndHost,
    /// The server.
    pub server: EndHost,
    /// The gateway's own stack.
    pub gateway: EndHost,
    router: Option<Namespace>,
    _switch: EndHost,
    _bpffs: Bpffs,
    plan: Plan,
    /// The lab's name and directory.
    pub run: Run,
}

/// A host's interface: name, side, number.
struct Port {
    interface: &'static str,
    side: Side,
    number: u16,
}

const GATEWAY_PORTS: [Port; 2] = [
    Port { interface: "clients0", side: Side::Clients, number: 1 },
    Port { interface: "servers0", side: Side::Servers, number: 1 },
];

impl Site {
    /// Builds it, and attaches the program.
    ///
    /// # Errors
    /// When the kernel refuses something (needs root). What was made until then goes.
    pub fn build(plan: Plan) -> Result<Self> {
        let run = Run::new()?;
        let bpffs = Bpffs::mount(&run)?;
        let mut switch = EndHost::new(Namespace::new(&run, "switch")?, Tags::NONE);
        let bridges: &[&str] = if plan.one_armed { &["one"] } else { &["one", "two"] };
        for bridge in bridges.iter().chain(&["far"]) {
            switch.namespace.ip(&[
                format!("link add {bridge} type bridge forward_delay 0 mcast_snooping 0"),
                format!("link set {bridge} up"),
            ])?;
        }
        let mut gateway = EndHost::new(routing_host(&run, "gateway")?, plan.client_tags);
        let arms = &GATEWAY_PORTS[..bridges.len()];
        for arm in arms {
            plan.plug(&switch.namespace, &gateway.namespace, arm)?;
            // What the gateway sends reaches a veth's peer only past a program there.
            switch.attach_xdp(arm.interface, "pass")?;
        }
        let mut client = EndHost::new(routing_host(&run, "client")?, plan.client_tags);
        let mut server = EndHost::new(routing_host(&run, "server")?, plan.tags(Side::Servers));
        let port = |side, number, interface| Port { interface, side, number };
        let client_side = plan.client_side();
        plan.plug(&switch.namespace, &client.namespace, &port(client_side, CLIENT, "client0"))?;
        plan.plug(&switch.namespace, &server.namespace, &port(Side::Servers, SERVER, "server0"))?;
        client.tag("client0", Programs::Plain)?;
        server.tag("server0", Programs::Unwraps)?;
        plan.settle_gateway(&gateway.namespace)?;
        plan.settle(&client.namespace, ("client0", client_side))?;
        plan.settle(&server.namespace, ("server0", Side::Servers))?;
        if plan.one_armed {
            direct_way(&server.namespace, plan.mtu)?;
        }
        let router = match plan.router_mtu {
            Some(mtu) => Some(plan.router(&run, &switch.namespace, mtu)?),
            None => None,
        };
        let mut tables = gateway.namespace.enter(|| plan.attach(arms, bpffs.dir()))?;
        for (arm, tags) in arms.iter().zip([plan.client_tags, plan.server_tags]) {
            gateway.set_tags(tags);
            gateway.tag_kernel(arm.interface)?;
        }
        for op in servers(arms.len() as u16 - 1) {
            tables.apply(&op).with_context(|| op.to_string())?;
        }
        Ok(Self {
            tables,
            client,
            server,
            gateway,
            router,
            _switch: switch,
            _bpffs: bpffs,
            plan,
            run,
        })
    }

    /// Carries out ops.
    ///
    /// # Errors
    /// The first refusal.
    pub fn apply(&mut self, ops: &[Op]) -> Result<()> {
        for op in ops {
            self.tables.apply(op).with_context(|| op.to_string())?;
        }
        Ok(())
    }

    /// Makes a device known, and gives its service address to the server where that is to own it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&mut self, device: &Device) -> Result<()> {
        if device.settings.forwarding.is_direct() {
            let address = device.settings.address;
            let own = if address.is_ipv4() { "/32 dev lo" } else { "/128 dev lo nodad" };
            // TCP and UDP devices share an address.
            self.server.namespace.ip(&[format!("address replace {address}{own}")])?;
        }
        self.apply(&device.ops())
    }

    /// Where the client and the server of a device talk.
    pub fn ends(&self, device: &Device) -> Ends<'_> {
        Ends {
            client: &self.client.namespace,
            server: &self.server.namespace,
            service: device.service(),
            at_server: device.at_server(),
        }
    }

    /// Packets that have left under a reason.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn count(&self, reason: Reason) -> Result<u64> {
        let reasons = self.tables.counters()?.reasons;
        Ok(reasons.iter().filter(|(of, _)| *of == reason).map(|(_, count)| count.packets).sum())
    }

    /// How its programs are kept.
    ///
    /// # Errors
    /// When the directory of their logs cannot be made.
    pub fn keeping(&self) -> Result<Keeping> {
        Ok(Keeping { log_dir: self.run.subdir("logs")?, life: Life::WithHarness })
    }

    /// The router between client and gateway.
    pub fn router(&self) -> Option<&Namespace> {
        self.router.as_ref()
    }

    /// What it was built by.
    pub fn plan(&self) -> Plan {
        self.plan
    }
}

fn servers(port: u16) -> Vec<Op> {
    let next_hop = Some(NextHop { mac: mac(Side::Servers, SERVER), port });
    [SERVER_V4, SERVER_V6]
        .into_iter()
        .flat_map(|id| {
            [
                Op::SetServerAddress { id, address: server_ip(id) },
                Op::SetNextHop { id, next_hop },
                server_state(id, ServerState::Alive),
            ]
        })
        .collect()
}
