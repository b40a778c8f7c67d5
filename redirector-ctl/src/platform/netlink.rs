//! The kernel's view of the network: interfaces, routes, neighbours and their changes; and the one
//! thing that the daemon changes there, service addresses that the kernel answers for.
//!
//! Values in, values out. What to watch and what to announce is decided by the daemon.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::StreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached};
use netlink_packet_route::neighbour::NeighbourState;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use redirector_common::wire::Tags;
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};
use tokio::sync::mpsc;

mod details;
mod events;
mod list;
mod local;
mod vlan;

pub use details::Details;
pub use events::NetEvent;
use list::list;
pub use local::answers_for_local_routes;
use vlan::{Vlan, carried, vlan};

/// What was attempted and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt}: {source}")]
pub struct NetlinkError {
    /// What was attempted on which object.
    pub attempt: String,
    /// The cause.
    pub source: rtnetlink::Error,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub index: u32,
    /// Its Ethernet address; zero where it has none.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is up and has a carrier.
    pub carrier: bool,
    /// How an XDP program is attached to it, whosever.
    pub xdp: XdpInForce,
    /// Index of the interface that its frames leave by: itself, unless it is a VLAN device.
    pub carrier_index: u32,
    /// Tags of its frames there.
    pub tags: Tags,
}

/// How an XDP program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpInForce {
    /// None is.
    #[default]
    Nothing,
    /// In the driver.
    Native,
    /// In the kernel's generic hook.
    Generic,
    /// In the device, or in several ways at once: nothing that we do.
    Otherwise,
}

impl XdpInForce {
    /// The word for it in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Otherwise => "other",
        }
    }
}

/// How a packet to some address would leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface.
    pub out: u32,
    /// The gateway; None: the address itself is a neighbour.
    pub gateway: Option<IpAddr>,
    /// The address of ours that the kernel would send it from.
    pub source: Option<IpAddr>,
}

/// A neighbour whose Ethernet address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface.
    pub out: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// A way to ask the kernel. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a socket and subscribes to changes. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn open() -> std::io::Result<(Self, mpsc::Receiver<NetEvent>)> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, handle, messages) = new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let (events, queue) = mpsc::channel(events::EVENTS_MAX);
        tokio::spawn(events::forward(messages, events));
        Ok((Self { handle }, queue))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let ask = || self.handle.link().get().execute();
        let messages: Vec<LinkMessage> = list("interfaces", ask).await?;
        let mut links: Vec<Link> = messages.iter().map(link).collect();
        let below: BTreeMap<u32, Vlan> =
            messages.iter().filter_map(|m| Some((m.header.index, vlan(m)?))).collect();
        for link in &mut links {
            (link.carrier_index, link.tags) = carried(link.index, &below);
        }
        Ok(links)
    }

    /// All neighbours with a known Ethernet address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let ask = || self.handle.neighbours().get().execute();
        let messages: Vec<NeighbourMessage> = list("neighbours", ask).await?;
        Ok(messages.iter().filter_map(neighbour).collect())
    }

    /// How a packet to `address` would leave; None when there is no route.
    ///
    /// # Errors
    /// When the kernel fails otherwise than by having no route.
    pub async fn route_to(&self, address: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let message = match address {
            IpAddr::V4(address) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build()
            }
            IpAddr::V6(address) => {
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build()
            }
        };
        let mut replies = std::pin::pin!(self.handle.route().get(message).execute());
        match replies.next().await {
            Some(Ok(message)) => Ok(route(&message)),
            None => Ok(None),
            Some(Err(error)) if is_unreachable(&error) => Ok(None),
            Some(Err(error)) => Err(failed(&format!("look up the route to {address}"))(error)),
        }
    }

    /// Addresses of the interface with index `out`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses(&self, out: u32) -> Result<Vec<IpAddr>, NetlinkError> {
        let ask = || self.handle.address().get().set_link_index_filter(out).execute();
        let messages: Vec<AddressMessage> = list("addresses", ask).await?;
        Ok(messages.iter().filter_map(local_address).collect())
    }

    /// Adds `address` to an interface, as a /32 or /128: the kernel answers for it (ARP, neighbour
    /// discovery), and nothing is routed differently.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_address(&self, out: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut request = self.handle.address().add(out, address, prefix_len(address));
        // Nobody else has it; waiting for others to object would leave it unannounced for seconds.
        let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
        let flags = AddressAttribute::Flags(flags);
        request.message_mut().attributes.push(flags);
        request.execute().await.map_err(failed(&format!("add address {address}")))
    }

    /// Removes what [`Self::add_address`] added.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn remove_address(&self, out: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut wanted = AddressMessage::default();
        wanted.header.index = out;
        wanted.header.prefix_len = prefix_len(address);
        (wanted.header.family, wanted.attributes) = match address {
            IpAddr::V4(_) => (AddressFamily::Inet, vec![AddressAttribute::Local(address)]),
            IpAddr::V6(_) => (AddressFamily::Inet6, vec![AddressAttribute::Address(address)]),
        };
        let request = self.handle.address().del(wanted);
        request.execute().await.map_err(failed(&format!("remove address {address}")))
    }
}

fn link(message: &LinkMessage) -> Link {
    let (mut name, mut mac, mut mtu) = (String::new(), [0; 6], 0);
    let mut xdp = XdpInForce::Nothing;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name.clone_from(value),
            LinkAttribute::Address(value) => {
                mac = <[u8; 6]>::try_from(value.as_slice()).unwrap_or_default();
            }
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::Xdp(parts) => xdp = parts.iter().find_map(in_force).unwrap_or_default(),
            _ => {}
        }
    }
    let carrier = message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let index = message.header.index;
    Link { name, index, mac, mtu, carrier, xdp, carrier_index: index, tags: Tags::NONE }
}

fn prefix_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn in_force(part: &LinkXdp) -> Option<XdpInForce> {
    let LinkXdp::Attached(attached) = part else { return None };
    Some(match attached {
        XdpAttached::None => XdpInForce::Nothing,
        XdpAttached::Driver => XdpInForce::Native,
        XdpAttached::SocketBuffer => XdpInForce::Generic,
        _ => XdpInForce::Otherwise,
    })
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    // What the kernel keeps of a neighbour that answers no more is not its address any longer.
    if matches!(message.header.state, NeighbourState::Failed | NeighbourState::Incomplete) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::V4(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::V6(*value));
            }
            NeighbourAttribute::LinkLayerAddress(value) => {
                mac = <[u8; 6]>::try_from(value.as_slice()).ok();
            }
            _ => {}
        }
    }
    Some(Neighbour { out: message.header.ifindex, address: address?, mac: mac? })
}

fn route(message: &RouteMessage) -> Option<Route> {
    let (mut out, mut gateway, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => out = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            _ => {}
        }
    }
    Some(Route { out: out?, gateway, source })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// An IPv4 address is local, and the other end's on some links; an IPv6 one is just an address.
fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn is_unreachable(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    let code = message.code.map_or(0, |code| code.get().abs());
    [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL].contains(&code)
}

fn failed(attempt: &str) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    let attempt = attempt.to_owned();
    move |source| NetlinkError { attempt, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_an_attached_program_is_read_from_its_interface() {
        let mut message = LinkMessage::default();
        assert_eq!(link(&message).xdp, XdpInForce::Nothing);
        for (attached, expected) in [
            (XdpAttached::None, XdpInForce::Nothing),
            (XdpAttached::Driver, XdpInForce::Native),
            (XdpAttached::SocketBuffer, XdpInForce::Generic),
            (XdpAttached::Multiple, XdpInForce::Otherwise),
        ] {
            let parts = vec![LinkXdp::ProgId(7), LinkXdp::Attached(attached)];
            message.attributes = vec![LinkAttribute::Xdp(parts)];
            assert_eq!(link(&message).xdp, expected);
        }
    }

    #[tokio::test]
    async fn the_loopback_interface_is_there_and_routes_to_itself() {
        let (netlink, _events) = Netlink::open().unwrap();
        let links = netlink.links().await.unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        let route = netlink.route_to(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let source = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(route, Some(Route { out: lo.index, gateway: None, source }));
    }
}
