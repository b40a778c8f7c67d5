//! Addresses that the kernel answers for without their being an address of an interface: local
//! routes over the loopback interface.
//!
//! The kernel answers ARP for whatever its table `local` says is its own (`arp_process`), and each
//! route costs it the same. An address of an interface costs it a walk over all that are there
//! (`fib_sync_up`): 10,000 took 38 s where local routes took 0.7. Neighbour discovery
//! (`ndisc_recv_ns`) and interfaces with `arp_ignore` ask for an address all the same.

use std::net::Ipv4Addr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::list::list;
use super::{Netlink, NetlinkError, failed};

/// Marks our routes among those of others (`rtm_protocol`; the numbers from 4 on are free to be
/// used by whoever adds routes).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(114);

/// Sets them apart from the kernel's own route to an address that somebody gave to an interface:
/// both may be there, and each is removed without the other.
const PRIORITY: u32 = 114;

impl Netlink {
    /// Addresses with a local route of ours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn local_routes(&self) -> Result<Vec<Ipv4Addr>, NetlinkError> {
        let wanted = || RouteMessageBuilder::<Ipv4Addr>::new().build();
        let ask = || self.handle.route().get(wanted()).execute();
        let messages: Vec<RouteMessage> = list("routes", ask).await?;
        Ok(messages.iter().filter_map(ours).collect())
    }

    /// Adds a local route to `address` over the interface with index `lo`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_local_route(&self, lo: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let request = self.handle.route().add(local_route(lo, address));
        request.execute().await.map_err(failed(&format!("add a local route to {address}")))
    }

    /// Removes what [`Self::add_local_route`] added, and nothing else of the same address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_local_route(&self, lo: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
        let request = self.handle.route().del(local_route(lo, address));
        request.execute().await.map_err(failed(&format!("remove the local route to {address}")))
    }
}

/// Whether the kernel answers ARP on an interface for what is not an address of it.
#[must_use]
pub fn answers_for_local_routes(interface: &str) -> bool {
    let setting = |scope: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{scope}/arp_ignore");
        std::fs::read_to_string(path).ok()?.trim().parse::<u8>().ok()
    };
    // The larger of both holds. Where there is no telling, an address is what works in any case.
    setting("all").zip(setting(interface)).is_some_and(|both| both == (0, 0))
}

fn local_route(lo: u32, address: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, 32)
        .output_interface(lo)
        .table_id(libc::RT_TABLE_LOCAL.into())
        .protocol(PROTOCOL)
        .scope(RouteScope::Host)
        .kind(RouteType::Local)
        .priority(PRIORITY)
        .build()
}

fn ours(message: &RouteMessage) -> Option<Ipv4Addr> {
    let header = &message.header;
    let is_local = header.kind == RouteType::Local && header.table == libc::RT_TABLE_LOCAL;
    if header.protocol != PROTOCOL || !is_local || header.destination_prefix_length != 32 {
        return None;
    }
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })
}
