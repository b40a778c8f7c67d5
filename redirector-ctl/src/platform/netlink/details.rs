//! What only an examination of the gateway asks the kernel: more about interfaces, and whether
//! somebody on a network answers for an address.

use std::collections::{BTreeMap, BTreeSet};
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

/// Addresses that are asked for at a time: the kernel keeps 1,024 unanswered questions and
/// neighbours at most (`gc_thresh3`), and forgets some of them before that.
const ASKED_AT_ONCE_MAX: usize = 256;

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
    /// address of whoever answers within `limit`.
    ///
    /// # Errors
    /// When the kernel refuses; CAP_NET_ADMIN is needed.
    pub async fn who_has(
        &self,
        out: u32,
        address: IpAddr,
        limit: Duration,
    ) -> Result<Option<[u8; 6]>, NetlinkError> {
        self.ask_for(out, address).await?;
        Ok(self.answers(out, &[address], limit).await?.remove(&address))
    }

    /// The same for many addresses, up to [`ASKED_AT_ONCE_MAX`] at a time; each with who has it,
    /// and without those for which the kernel does not ask. What it kept of the questions is
    /// removed.
    ///
    /// # Errors
    /// When the kernel does not tell of its neighbours.
    pub async fn who_have(
        &self,
        out: u32,
        addresses: &[IpAddr],
        limit: Duration,
    ) -> Result<BTreeMap<IpAddr, Option<[u8; 6]>>, NetlinkError> {
        let mut found = BTreeMap::new();
        for some in addresses.chunks(ASKED_AT_ONCE_MAX) {
            let mut asked = Vec::new();
            for address in some {
                if self.ask_for(out, *address).await.is_ok() {
                    asked.push(*address);
                }
            }
            let answers = self.answers(out, &asked, limit).await?;
            for address in asked {
                self.forget(out, address).await;
                found.insert(address, answers.get(&address).copied());
            }
        }
        Ok(found)
    }

    async fn ask_for(&self, out: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add(out, address).flags(NeighbourFlags::Use);
        let asked = request.replace().execute().await;
        asked.map_err(failed(&format!("ask for {address}")))
    }

    /// Who has answered, when all have or the time is over.
    async fn answers(
        &self,
        out: u32,
        addresses: &[IpAddr],
        limit: Duration,
    ) -> Result<BTreeMap<IpAddr, [u8; 6]>, NetlinkError> {
        let mut looks = interval(LOOK_INTERVAL);
        let mut found = BTreeMap::new();
        let wanted: BTreeSet<&IpAddr> = addresses.iter().collect();
        let all = timeout(limit, async {
            while found.len() < wanted.len() {
                looks.tick().await;
                let known = self.neighbours().await?.into_iter();
                let those = known.filter(|one| one.out == out && wanted.contains(&one.address));
                found = those.map(|one| (one.address, one.mac)).collect();
            }
            Ok(())
        });
        match all.await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(found),
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
