//! VLAN devices: by which interface their frames leave, and with which tags.

use std::collections::BTreeMap;

use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkInfo, LinkMessage};
use redirector_common::wire::Tags;

/// A VLAN device: its VLAN, and the interface below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vlan {
    id: u16,
    below: u32,
}

pub(super) fn vlan(message: &LinkMessage) -> Option<Vlan> {
    let (mut id, mut below) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::LinkInfo(infos) => id = infos.iter().find_map(vlan_id),
            _ => {}
        }
    }
    Some(Vlan { id: id?, below: below? })
}

fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(facts)) = info else { return None };
    facts.iter().find_map(|fact| match fact {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

/// The interface that carries one's frames, and the tags that they have there: those of one VLAN
/// device, or of one upon another.
pub(super) fn carried(index: u32, below: &BTreeMap<u32, Vlan>) -> (u32, Tags) {
    let Some(inner) = below.get(&index) else { return (index, Tags::NONE) };
    match below.get(&inner.below) {
        Some(outer) => (outer.below, Tags::two(outer.id, inner.id)),
        None => (inner.below, Tags::one(inner.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_device_leaves_by_what_is_below_it_all() {
        let below =
            BTreeMap::from([(5, Vlan { id: 100, below: 2 }), (6, Vlan { id: 7, below: 5 })]);
        assert_eq!(carried(2, &below), (2, Tags::NONE));
        assert_eq!(carried(5, &below), (2, Tags::one(100)));
        assert_eq!(carried(6, &below), (2, Tags::two(100, 7)));
    }

    #[test]
    fn the_vlan_of_a_device_is_read_from_its_message() {
        let mut message = LinkMessage::default();
        assert_eq!(vlan(&message), None);
        message.attributes = vec![
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)]))]),
        ];
        assert_eq!(vlan(&message), Some(Vlan { id: 100, below: 2 }));
    }
}
