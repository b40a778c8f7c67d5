//! What only an examination of the gateway asks the kernel: more about interfaces, and whether
//! somebody on a network answers for an address.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use tokio::time::{interval, timeout};

use super::list::list;
use super::{Netlink, NetlinkError, failed};

/// How often the neighbour table is looked at while somebody may answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// More about an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Its index.
    pub index: u32,
    /// Its kind, such as `veth`; empty for hardware.
    pub kind: String,
    /// Index of the interface that it is a part of.
    pub part_of: Option<u32>,
    /// Queues for packets that come in, used or not.
    pub queues_len: Option<u32>,
}

impl Netlink {
    /// More about all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn details(&self) -> Result<Vec<Details>, NetlinkError> {
        let ask = || self.handle.link().get().execute();
        let messages: Vec<LinkMessage> = list("interfaces", ask).await?;
        Ok(messages.iter().map(details).collect())
    }

    /// Asks a network who has an address, also if this host has it too (NTF_USE): the Ethernet
    /// address of whoever answers within `limit`. What the kernel kept of the question is removed.
    ///
    /// # Errors
    /// When the kernel refuses; CAP_NET_ADMIN is needed.
    pub async fn who_has(
        &self,
        out: u32,
        address: IpAddr,
        limit: Duration,
    ) -> Result<Option<[u8; 6]>, NetlinkError> {
        let request = self.handle.neighbours().add(out, address).flags(NeighbourFlags::Use);
        let asked = request.replace().execute().await;
        asked.map_err(failed(&format!("ask for {address}")))?;
        let mut looks = interval(LOOK_INTERVAL);
        let answer = timeout(limit, async {
            loop {
                looks.tick().await;
                let known = self.neighbours().await?;
                let of = known.iter().find(|one| one.out == out && one.address == address);
                if let Some(neighbour) = of {
                    return Ok(neighbour.mac);
                }
            }
        });
        match answer.await {
            Ok(mac) => mac.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Removes what the kernel remembers of a neighbour; that there is nothing is no error.
    pub async fn forget(&self, out: u32, address: IpAddr) {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = out;
        let (family, destination) = match address {
            IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
        };
        message.header.family = family;
        message.attributes.push(NeighbourAttribute::Destination(destination));
        let _ = self.handle.neighbours().del(message).execute().await;
    }
}

fn details(message: &LinkMessage) -> Details {
    let mut details = Details { index: message.header.index, ..Details::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Controller(index) => details.part_of = Some(*index),
            LinkAttribute::NumRxQueues(len) => details.queues_len = Some(*len),
            LinkAttribute::LinkInfo(infos) => {
                details.kind = infos.iter().find_map(kind).unwrap_or_default();
            }
            _ => {}
        }
    }
    details
}

fn kind(info: &LinkInfo) -> Option<String> {
    let LinkInfo::Kind(kind) = info else { return None };
    Some(match kind {
        InfoKind::Other(name) => name.clone(),
        known => known.to_string(),
    })
}
