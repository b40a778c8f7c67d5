//! Rules about interfaces, servers and service addresses.

use super::{Facts, Finding, Interface, Link, Server, Service, Verdict};

/// Kinds of virtual interfaces that have native XDP (as of Linux 6.1).
const NATIVE_KINDS: [&str; 4] = ["veth", "tun", "bond", "netkit"];
/// Kinds that have none.
const OTHER_KINDS: [&str; 8] =
    ["vlan", "bridge", "dummy", "macvlan", "ipvlan", "vxlan", "ifb", "wireguard"];
/// Drivers that have native XDP (as of Linux 6.1), in its XDP_TX and XDP_REDIRECT.
const NATIVE_DRIVERS: [&str; 22] = [
    "virtio_net",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "ice",
    "igb",
    "igc",
    "mlx4_en",
    "mlx5_core",
    "bnxt_en",
    "ena",
    "nfp",
    "qede",
    "sfc",
    "tsnep",
    "stmmac",
    "mvneta",
    "mvpp2",
    "gve",
    "mana",
    "hv_netvsc",
    "vmxnet3",
];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for interface in &facts.interfaces {
        match &interface.link {
            Some(link) => findings.extend(link_findings(facts, interface, link)),
            None => findings.push(Finding::good("interface", &interface.name, "").bad(
                Verdict::Fault,
                "there is no such interface",
                "name one that `ip link` shows, or make it",
            )),
        }
    }
    findings.extend(mtu(facts));
    for server in &facts.servers {
        findings.push(way(server));
        if facts.nat {
            findings.extend(way_back(server));
        }
    }
    findings.extend(facts.services.iter().map(service));
    findings.extend(sample(facts));
    findings
}

/// Whoever reads that nobody else has a service address should know of how many that was asked.
fn sample(facts: &Facts) -> Option<Finding> {
    let (asked, all) = (facts.services.len(), facts.services_len);
    (asked < all).then(|| {
        Finding::good("addresses", "network", "").bad(
            Verdict::Note,
            format!(
                "of {all} service addresses {asked} were asked for, from everywhere among them"
            ),
            "ask for others one by one: arping -D -I the interface and the address",
        )
    })
}

fn link_findings(facts: &Facts, interface: &Interface, link: &Link) -> Vec<Finding> {
    let name = &interface.name;
    let mut findings = vec![up(name, link), program(name, link), part_of(name, link)];
    if interface.wanted.native {
        findings.push(native(name, link));
        findings.extend(receive_offloads(name, link));
    }
    findings.extend(tags(interface, link));
    findings.extend(partial_checksums(name, link));
    findings.push(queues(facts, name, link));
    findings.push(reverse_path(facts, name, link));
    findings
}

fn up(name: &str, link: &Link) -> Finding {
    let good = Finding::good("interface", name, "it is up and has a carrier");
    if link.up {
        return good;
    }
    let remedy = format!("ip link set {name} up, and look at the cable or the other end");
    good.bad(Verdict::Fault, "it is down or has no carrier", remedy)
}

fn program(name: &str, link: &Link) -> Finding {
    match (&link.xdp, link.xdp_is_ours) {
        (None, _) => Finding::good("xdp", name, "no XDP program is attached"),
        (Some(mode), true) => Finding::good("xdp", name, format!("our program, in {mode} mode")),
        (Some(mode), false) => Finding::good("xdp", name, "").bad(
            Verdict::Fault,
            format!("another XDP program is attached, in {mode} mode, and there can be only one"),
            format!(
                "find out whose it is (`bpftool net`) and take it away: ip link set {name} xdp off"
            ),
        ),
    }
}

fn part_of(name: &str, link: &Link) -> Finding {
    match &link.part_of {
        Some((of, kind)) if kind == "bond" => Finding::good("bond", name, "").bad(
            Verdict::Fault,
            format!("it is a part of the bond {of}, whose other parts would not be redirected"),
            format!("configure {of} instead of {name}"),
        ),
        _ if link.kind == "bond" => Finding::good("bond", name, "").bad(
            Verdict::Note,
            "it is a bond: native mode needs all its parts to have it, and a mode of balance-rr, \
             active-backup, 802.3ad or balance-xor",
            "look at /proc/net/bonding; another mode is refused when the program is attached",
        ),
        _ => Finding::good("bond", name, "it is no bond and no part of one"),
    }
}

fn native(name: &str, link: &Link) -> Finding {
    let driver = link.driver.as_deref().unwrap_or(&link.kind);
    let good = Finding::good("native", name, format!("{driver} has native XDP"));
    if link.xdp_is_ours || NATIVE_KINDS.contains(&driver) || NATIVE_DRIVERS.contains(&driver) {
        return good;
    }
    if OTHER_KINDS.contains(&driver) {
        return good.bad(
            Verdict::Fault,
            format!("interfaces of kind {driver} have no native XDP"),
            "configure the interface below it (with `vlan` for tags), or set mode = \"generic\"",
        );
    }
    good.bad(
        Verdict::Note,
        format!("whether {driver:?} has native XDP is not known here"),
        "the daemon refuses to start if it has not; set mode = \"generic\" then",
    )
}

fn receive_offloads(name: &str, link: &Link) -> Vec<Finding> {
    let good = || Finding::good("receive_offload", name, "LRO and GRO-HW are off or not there");
    let lro = link.has("rx-lro").then(|| {
        let detail = "LRO is on: the card joins segments, which cannot be taken apart again";
        good().bad(Verdict::Fault, detail, format!("ethtool -K {name} lro off"))
    });
    let gro = link.has("rx-gro-hw").then(|| {
        let detail = "GRO-HW is on: the card joins segments, and most drivers refuse native XDP";
        good().bad(Verdict::Fault, detail, format!("ethtool -K {name} rx-gro-hw off"))
    });
    let found: Vec<Finding> = lro.into_iter().chain(gro).collect();
    if found.is_empty() { vec![good()] } else { found }
}

/// The card takes tags off before the program sees the frame.
fn tags(interface: &Interface, link: &Link) -> Option<Finding> {
    let name = &interface.name;
    let good = Finding::good("vlan_offload", name, "tags stay in the frame");
    if !interface.wanted.tagged {
        return None;
    }
    if !link.has("rx-vlan-hw-parse") {
        return Some(good);
    }
    let detail = "the card takes VLAN tags off, and the program takes the frames for untagged ones";
    Some(good.bad(Verdict::Fault, detail, format!("ethtool -K {name} rxvlan off")))
}

fn partial_checksums(name: &str, link: &Link) -> Option<Finding> {
    let driver = link.driver.as_deref().unwrap_or(&link.kind);
    if !["veth", "virtio_net", "tun", "netkit"].contains(&driver) {
        return None;
    }
    Some(Finding::good("partial_checksum", name, "").bad(
        Verdict::Note,
        format!(
            "{driver}: whoever sends from this machine may leave checksums to be filled in, which \
             no program can do; that cannot be seen from here"
        ),
        "at the other ends: ethtool -K INTERFACE tx off",
    ))
}

fn queues(facts: &Facts, name: &str, link: &Link) -> Finding {
    let cpus_len = facts.machine.cpus_len;
    let good = Finding::good("queues", name, "");
    match link.queues_len {
        None => good.bad(
            Verdict::Note,
            "how many queues take packets in cannot be seen",
            format!("look at ethtool -l {name}: one for each of {cpus_len} processors is best"),
        ),
        Some(1) if cpus_len > 1 => good.bad(
            Verdict::Note,
            format!("one queue takes packets in: one of {cpus_len} processors redirects them all"),
            format!("ethtool -L {name} combined {cpus_len}, if it can have more"),
        ),
        Some(len) => Finding::good("queues", name, format!("{len} queues take packets in")),
    }
}

fn reverse_path(facts: &Facts, name: &str, link: &Link) -> Finding {
    if link.rp_filter == 1 {
        return Finding::good("rp_filter", name, "").bad(
            Verdict::Warning,
            "the strict reverse path filter drops packets for the kernel that come by another way \
             than its answers take",
            format!("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0"),
        );
    }
    // Servers' answers carry service addresses once they are rewritten, and those are local.
    if facts.stateless && !link.accept_local {
        return Finding::good("rp_filter", name, "").bad(
            Verdict::Note,
            "it takes no packets from addresses of this host, which servers' answers to clients of \
             `stateless` devices may look like",
            format!("sysctl -w net.ipv4.conf.{name}.accept_local=1 on the servers' side"),
        );
    }
    Finding::good("rp_filter", name, "the reverse path filter is not strict")
}

fn mtu(facts: &Facts) -> Option<Finding> {
    let links = || facts.interfaces.iter().filter_map(|i| Some((&i.name, i.link.as_ref()?.mtu)));
    let (largest, most) = links().max_by_key(|(_, mtu)| *mtu)?;
    let (smallest, least) = links().min_by_key(|(_, mtu)| *mtu)?;
    let good = Finding::good("mtu", smallest, format!("{least} bytes on every interface"));
    if most == least {
        return Some(good);
    }
    Some(good.bad(
        Verdict::Warning,
        format!(
            "its MTU is {least} and that of {largest} is {most}: packets between them are answered \
             with `too big`, which clients and servers must be able to receive"
        ),
        format!(
            "ip link set {smallest} mtu {most} on both ends, or mss_max = {} for the devices",
            least.saturating_sub(60)
        ),
    ))
}

/// A neighbour that the kernel remembers is taken for one that is there: up to a minute it may be
/// gone meanwhile.
fn way(server: &Server) -> Finding {
    let detail = format!("the way to {} is known", server.address);
    let good = Finding::good("way", &server.name, detail);
    let address = server.address;
    let Some((interface, router)) = &server.route else {
        let remedy = format!("ip route add {address} via the router or dev the interface to it");
        return good.bad(Verdict::Fault, format!("there is no route to {address}"), remedy);
    };
    if !server.by_ours {
        return good.bad(
            Verdict::Fault,
            format!("{address} is reached by {interface}, which is not configured"),
            format!("add [[interface]] name = {interface:?}, or correct the route"),
        );
    }
    if server.resolved {
        return good;
    }
    let neighbour = router.unwrap_or(address);
    good.bad(
        Verdict::Fault,
        format!("{neighbour} does not tell its Ethernet address on {interface}"),
        format!("look whether it is up and in that network: ip neighbour show {neighbour}"),
    )
}

/// Whether what a server sends to others than its neighbours comes here. It is asked from
/// addresses of this gateway on its other interfaces: their networks are then routed this way.
fn way_back(server: &Server) -> Vec<Finding> {
    let Some(port) = server.answers.port else { return Vec::new() };
    let (name, good) =
        (&server.name, |detail: String| Finding::good("way_back", &server.name, detail));
    if !server.answers.near {
        return vec![good(String::new()).bad(
            Verdict::Note,
            format!("{name} does not answer at port {port}, so its way back cannot be seen"),
            "start what serves there and look again",
        )];
    }
    let judge = |(from, answered): &(std::net::IpAddr, bool)| {
        if *answered {
            return good(format!("answers to {from} come back; clients farther away not tried"));
        }
        good(String::new()).bad(
            Verdict::Fault,
            format!("answers to {from} do not come back: with `nat` clients there get none either"),
            format!(
                "on {name}: ip route add the clients' network via this gateway; or use full-nat"
            ),
        )
    };
    server.answers.far.iter().map(judge).collect()
}

fn service(service: &Service) -> Finding {
    let (device, address) = (&service.device, service.address);
    let good = Finding::good("address", device, format!("nobody else answers for {address}"));
    if let Some((interface, mac)) = service.others.first() {
        return good.bad(
            Verdict::Fault,
            format!("{mac} on {interface} answers for its service address {address}"),
            format!("take {address} away from that host, or give {device} another address"),
        );
    }
    if service.asked {
        return good;
    }
    good.bad(
        Verdict::Note,
        format!("{address} is in no network of a configured interface: nobody can be asked"),
        "make sure that routers send it here, and that nobody else has it",
    )
}
