//! What the program must know of the gateway itself: interfaces, local addresses, tunnels, rates.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redirector_common::flow::WINDOW_SHIFT;
use redirector_common::order::{Be16, Be32};
use redirector_common::wire::{
    CONTROL_ANSWER_MAX, CONTROL_GUE_PORT, CONTROL_LOCAL_PORTS, CONTROL_OPEN_MAX, CONTROL_TUNNEL_V4,
    CONTROL_TUNNEL_V6, Hop, INTERFACE_WORDS, InterfaceLine, LOCALS_PER_FAMILY, LocalPorts,
    MARK_LOCAL, Tags, VlanKey,
};

use super::convert::address_bytes;
use super::{Tables, TablesError, Wire, map_error};

/// An interface on which packets are redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInterface {
    /// Its index in the kernel: of a VLAN device, its own.
    pub index: u16,
    /// Index of the interface that carries it: itself, unless it is a VLAN device.
    pub carrier: u16,
    /// Our Ethernet address on it.
    pub mac: [u8; 6],
    /// Tags of its frames.
    pub tags: Tags,
    /// Longest packet that it takes, in bytes; zero for not known.
    pub mtu: u32,
    /// Our IPv4 address on it, from which ICMP errors are sent.
    pub address_v4: Option<Ipv4Addr>,
    /// Our IPv6 address on it.
    pub address_v6: Option<Ipv6Addr>,
}

/// The gateway as the program sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateway {
    /// Interfaces, in the order of the configuration.
    pub interfaces: Vec<GatewayInterface>,
    /// Source addresses of full NAT, at most 64 of each family.
    pub locals: Vec<IpAddr>,
    /// First and last port of full NAT.
    pub local_ports: (u16, u16),
    /// Source address of IPv4 tunnels.
    pub tunnel_source_v4: Option<Ipv4Addr>,
    /// Source address of IPv6 tunnels.
    pub tunnel_source_v6: Option<Ipv6Addr>,
    /// UDP port of GUE tunnels.
    pub gue_port: u16,
    /// Entries for flows never seen before, for each CPU and second; zero for no limit.
    pub new_flows_per_second_max: u64,
    /// Packets answered with RST or ICMP, for each CPU and second; zero for no limit.
    pub answers_per_second_max: u64,
}

impl Tables {
    /// Makes the gateway known to the program.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the lines that were written stay written.
    pub fn set_gateway(&mut self, gateway: &Gateway) -> Result<(), TablesError> {
        self.set_control(gateway);
        self.set_locals(&gateway.locals)?;
        self.set_vlans(&gateway.interfaces)?;
        self.set_interfaces(&gateway.interfaces);
        self.ports = gateway.interfaces.iter().map(|interface| interface.index).collect();
        Ok(())
    }

    fn set_control(&mut self, gateway: &Gateway) {
        let v4 = gateway.tunnel_source_v4.map_or(0, |address| Be32::new(address.into()).raw());
        let v6 =
            gateway.tunnel_source_v6.map_or(0, |address| u128::from_ne_bytes(address.octets()));
        let count = |v6: bool| {
            gateway.locals.iter().filter(|address| address.is_ipv6() == v6).count() as u16
        };
        let (first, last) = gateway.local_ports;
        let words = [
            (CONTROL_TUNNEL_V4, u64::from(v4)),
            (CONTROL_TUNNEL_V6, v6 as u64),
            (CONTROL_TUNNEL_V6 + 1, (v6 >> 64) as u64),
            (CONTROL_GUE_PORT, u64::from(Be16::new(gateway.gue_port).raw())),
            (CONTROL_OPEN_MAX, per_window(gateway.new_flows_per_second_max)),
            (CONTROL_ANSWER_MAX, per_window(gateway.answers_per_second_max)),
            (CONTROL_LOCAL_PORTS, LocalPorts::new(first, last, count(false), count(true)).0),
        ];
        for (word, value) in words {
            self.control.store(word as usize, value);
        }
    }

    fn set_locals(&mut self, locals: &[IpAddr]) -> Result<(), TablesError> {
        for v6 in [false, true] {
            let begin = if v6 { LOCALS_PER_FAMILY } else { 0 };
            let own = locals.iter().filter(|address| address.is_ipv6() == v6);
            for (index, address) in own.take(LOCALS_PER_FAMILY as usize).enumerate() {
                self.locals.set(begin + index as u32, Wire(address_bytes(*address)), 0).map_err(
                    |source| map_error(format!("write local address {address}"), source),
                )?;
                self.gateway_marks.insert(*address);
                self.put_marks(*address);
            }
        }
        let gone: Vec<_> =
            self.gateway_marks.iter().filter(|known| !locals.contains(known)).copied().collect();
        for address in gone {
            self.gateway_marks.remove(&address);
            self.clear_marks(address);
        }
        Ok(())
    }

    fn set_vlans(&mut self, interfaces: &[GatewayInterface]) -> Result<(), TablesError> {
        let failed = |source| map_error("write the VLANs".to_owned(), source);
        let tagged = interfaces.iter().filter(|interface| interface.tags != Tags::NONE);
        let key = |of: &GatewayInterface| VlanKey { ifindex: of.carrier.into(), tags: of.tags.0 };
        let wanted: BTreeMap<_, _> = tagged
            .map(|interface| {
                let VlanKey { ifindex, tags } = key(interface);
                ((ifindex, tags), u32::from(interface.index))
            })
            .collect();
        let known: Vec<VlanKey> = self
            .vlans
            .keys()
            .map(|key| key.map(|key| key.0))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for (&(ifindex, tags), index) in &wanted {
            self.vlans.insert(Wire(VlanKey { ifindex, tags }), index, 0).map_err(failed)?;
        }
        for key in known {
            if !wanted.contains_key(&(key.ifindex, key.tags)) {
                super::gone(self.vlans.remove(&Wire(key))).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Lines of interfaces that are not asked for any more lose their address first, by which they
    /// are known.
    fn set_interfaces(&mut self, interfaces: &[GatewayInterface]) {
        let lines_len = self.interfaces.words_len() / INTERFACE_WORDS;
        let wanted: BTreeMap<usize, InterfaceLine> =
            interfaces.iter().map(|of| (usize::from(of.index), line(of))).collect();
        for index in 0..lines_len {
            let first = index * INTERFACE_WORDS;
            match wanted.get(&index) {
                Some(line) => {
                    let words: [u64; INTERFACE_WORDS] = zerocopy::transmute!(*line);
                    // What makes the line count comes last.
                    for (offset, word) in words.iter().enumerate().rev() {
                        self.interfaces.store(first + offset, *word);
                    }
                }
                None if self.interfaces.load(first) != 0 => self.interfaces.store(first, 0),
                None => {}
            }
        }
    }

    /// Writes the marks of an address. What others have in the same place stays; at a start these
    /// may be addresses that this daemon has not come to yet.
    pub(super) fn put_marks(&mut self, address: IpAddr) {
        let (word, shift) = place(address);
        let old = self.marks.load(word as usize);
        self.marks.store(word as usize, old | self.marks_of_one(&address) << shift);
    }

    /// The same after something was taken away: what nobody has in the place any more goes.
    pub(super) fn clear_marks(&mut self, address: IpAddr) {
        let (word, shift) = place(address);
        let old = self.marks.load(word as usize) & !(0xf << shift);
        self.marks.store(word as usize, old | self.marks_at((word, shift)) << shift);
    }

    /// What all addresses that share a place have there together.
    fn marks_at(&self, at: (u32, u32)) -> u64 {
        let known = self.marks_of.keys().chain(&self.gateway_marks);
        let shared = known.filter(|address| place(**address) == at);
        shared.fold(0, |all, address| all | self.marks_of_one(address))
    }

    /// What an address has by itself.
    fn marks_of_one(&self, address: &IpAddr) -> u64 {
        let marks = self.marks_of.get(address).copied().unwrap_or_default();
        let local = if self.gateway_marks.contains(address) { MARK_LOCAL } else { 0 };
        u64::from(marks) | u64::from(local)
    }
}

fn place(address: IpAddr) -> (u32, u32) {
    use redirector_common::order::{Be128, Words as _};
    let folded = match address {
        IpAddr::V4(address) => Be32::new(address.into()).fold(),
        IpAddr::V6(address) => Be128::from_bytes(address.octets()).fold(),
    };
    redirector_common::wire::mark_place(folded)
}

/// A rate for each second as one for each window, at least one if there is a limit.
fn per_window(per_second: u64) -> u64 {
    match per_second {
        0 => 0,
        rate => (u128::from(rate) * (1 << WINDOW_SHIFT) / 1_000_000_000).max(1) as u64,
    }
}

fn line(of: &GatewayInterface) -> InterfaceLine {
    InterfaceLine {
        own: Hop::new(of.mac, of.carrier),
        tags: of.tags,
        mtu: of.mtu,
        address_v4: of.address_v4.map(|address| address.octets()).unwrap_or_default(),
        address_v6: of.address_v6.map(|address| address.octets()).unwrap_or_default(),
        ..InterfaceLine::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn a_rate_is_never_rounded_to_no_limit() {
        assert_eq!(per_window(0), 0);
        assert_eq!(per_window(1), 1);
        assert_eq!(per_window(1_000_000), 67_108);
    }

    #[test]
    fn a_line_says_by_what_frames_leave() {
        let of = GatewayInterface {
            index: 7,
            carrier: 3,
            mac: [2, 0, 0, 0, 0, 1],
            tags: Tags::one(100),
            mtu: 1500,
            address_v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
            address_v6: None,
        };
        let line = line(&of);
        assert_eq!((line.own.ifindex(), line.own.mac()), (3, of.mac));
        assert_eq!(line.as_bytes().len(), 64);
    }
}
