//! Facts about interfaces.

use std::collections::BTreeMap;

use ethtool::{EthtoolAttr, EthtoolChannelAttr, EthtoolFeatureAttr, EthtoolHandle};
use futures::StreamExt as _;

use super::{Site, word};
use crate::core::doctor::{Interface, Link, Wanted};
use crate::platform::bpf;
use crate::platform::netlink::{self, Details, Netlink, NetlinkError, XdpInForce};

/// What the kernel knows of all interfaces.
pub(super) struct Known {
    pub(super) links: Vec<netlink::Link>,
    details: Vec<Details>,
}

impl Known {
    pub(super) async fn of(netlink: &Netlink) -> Result<Self, NetlinkError> {
        Ok(Self { links: netlink.links().await?, details: netlink.details().await? })
    }

    pub(super) fn named(&self, name: &str) -> Option<&netlink::Link> {
        self.links.iter().find(|link| link.name == name)
    }

    pub(super) fn name_of(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|link| link.index == index).map(|link| link.name.as_str())
    }

    fn details_of(&self, index: u32) -> Details {
        let mut all = self.details.iter();
        all.find(|details| details.index == index).cloned().unwrap_or_default()
    }
}

pub(super) async fn interfaces(site: &Site, known: &Known) -> Vec<Interface> {
    let mut interfaces = Vec::new();
    for (name, wanted) in &site.interfaces {
        let link = match known.named(name) {
            Some(link) => Some(facts(site, known, link).await),
            None => None,
        };
        let tags = known.named(name).is_some_and(|link| link.carrier_index != link.index);
        let wanted = Wanted { tagged: wanted.tagged || tags, ..*wanted };
        interfaces.push(Interface { name: name.clone(), wanted, link });
    }
    interfaces
}

async fn facts(site: &Site, known: &Known, link: &netlink::Link) -> Link {
    let details = known.details_of(link.index);
    let part_of = details
        .part_of
        .and_then(|index| Some((known.name_of(index)?.to_owned(), known.details_of(index).kind)));
    let pin = site.bpffs_dir.join("links").join(&link.name);
    let in_force = (link.xdp != XdpInForce::Nothing).then(|| link.xdp.name().to_owned());
    let (offloads, channels) = ask_card(&link.name).await;
    Link {
        up: link.carrier,
        mtu: link.mtu,
        part_of,
        xdp_is_ours: in_force.is_some() && bpf::attached_index(&pin) == Some(link.index),
        xdp: in_force,
        offloads,
        queues_len: channels.or(details.queues_len.filter(|_| !details.kind.is_empty())),
        driver: driver(link),
        rp_filter: reverse_path_filter(&link.name),
        accept_local: setting(&link.name, "accept_local") == Some(1)
            || setting("all", "accept_local") == Some(1),
        kind: details.kind,
    }
}

/// The kernel takes the stricter of both (ip-sysctl: the larger value).
fn reverse_path_filter(name: &str) -> u8 {
    setting("all", "rp_filter").max(setting(name, "rp_filter")).unwrap_or_default()
}

fn setting(scope: &str, key: &str) -> Option<u8> {
    word(&format!("/proc/sys/net/ipv4/conf/{scope}/{key}"))?.parse().ok()
}

/// The driver of hardware. Where /sys shows another network namespace than ours there is none of
/// this index, and then it is not known.
fn driver(link: &netlink::Link) -> Option<String> {
    let dir = format!("/sys/class/net/{}", link.name);
    if word(&format!("{dir}/ifindex"))?.parse() != Ok(link.index) {
        return None;
    }
    let driver = std::fs::read_link(format!("{dir}/device/driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

/// Offloads by their names, and how many queues take packets in. Nothing where the kernel does not
/// tell.
async fn ask_card(name: &str) -> (BTreeMap<String, bool>, Option<u32>) {
    let Ok((connection, mut handle, _)) = ethtool::new_connection() else {
        return (BTreeMap::new(), None);
    };
    let served = tokio::spawn(connection);
    let answer = (offloads(&mut handle, name).await, queues(&mut handle, name).await);
    served.abort();
    answer
}

async fn offloads(handle: &mut EthtoolHandle, name: &str) -> BTreeMap<String, bool> {
    let mut active = BTreeMap::new();
    let Ok(answers) = handle.feature().get(Some(name)).execute().await else { return active };
    let mut answers = std::pin::pin!(answers);
    while let Some(Ok(answer)) = answers.next().await {
        for attribute in answer.payload.nlas {
            let EthtoolAttr::Feature(EthtoolFeatureAttr::Active(bits)) = attribute else {
                continue;
            };
            active.extend(bits.into_iter().map(|bit| (bit.name, bit.value)));
        }
    }
    active
}

async fn queues(handle: &mut EthtoolHandle, name: &str) -> Option<u32> {
    let answers = handle.channel().get(Some(name)).execute().await.ok()?;
    let mut answers = std::pin::pin!(answers);
    let mut len = None;
    while let Some(Ok(answer)) = answers.next().await {
        for attribute in answer.payload.nlas {
            let EthtoolAttr::Channel(
                EthtoolChannelAttr::CombinedCount(count) | EthtoolChannelAttr::RxCount(count),
            ) = attribute
            else {
                continue;
            };
            len = Some(len.unwrap_or(0) + count);
        }
    }
    len
}
