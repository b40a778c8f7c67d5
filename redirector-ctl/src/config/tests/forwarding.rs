//! Ways to the servers, families, ports and tags, as the file says them.

use std::net::IpAddr;

use super::super::{LocalConfig, TunnelConfig, Vlan};
use super::*;
use crate::core::service::FamilySet;
use crate::core::spec::{Affinity, Forwarding, PortRange, Tracking};

fn ranges(texts: &[&str]) -> Vec<PortRange> {
    texts.iter().map(|text| text.parse().expect("a range")).collect()
}

#[test]
fn a_device_says_its_ports_its_way_and_its_times() {
    let lines = "ports = [3261, \"860-870\"]\naffinity = \"client\"\nmss_max = 1400\n\
                 tcp_idle_timeout_ms = 60000";
    let config = Config::parse(&with_device_lines(lines)).expect("it is right");
    let device = &config.devices[0].device;
    assert_eq!(device.ports, ranges(&["3261", "860-870"]));
    assert_eq!((device.forwarding, device.tracking), (Forwarding::Nat, Tracking::Tracked));
    assert_eq!((device.affinity, device.mss_max), (Affinity::Client, Some(1400)));
    assert_eq!((device.tcp_idle_timeout_ms, device.udp_idle_timeout_ms), (Some(60_000), None));
}

#[test]
fn open_flows_of_a_dead_server_are_reset_and_nothing_else_can_be_wished() {
    let device =
        |policy: &str| with_device_lines(&format!("on_failure = {{ kind = \"{policy}\" }}"));
    assert!(Config::parse(&device("reset")).is_ok());
    for policy in ["keep", "drain"] {
        let problems = Config::parse(&device(policy)).expect_err(policy);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.len() == 1 && texts[0].contains("device[0].on_failure"), "{texts:?}");
        assert!(texts[0].contains("write reset or leave it out"), "{texts:?}");
    }
}

#[test]
fn every_way_to_the_servers_can_be_written() {
    for forwarding in Forwarding::ALL {
        let text = format!(
            "{}[local]\naddresses = [\"10.0.2.1\"]\n[tunnel]\nsource_v4 = \"10.0.2.1\"\n",
            with_device_lines(&format!("forwarding = \"{}\"", forwarding.name()))
        );
        let config = Config::parse(&text).expect("it is right");
        assert_eq!(config.devices[0].device.forwarding, forwarding);
    }
    let text = with_device_lines("tracking = \"stateless\"");
    let config = Config::parse(&text).expect("it is right");
    assert_eq!(config.devices[0].device.tracking, Tracking::Stateless);
}

#[test]
fn protocol_any_goes_without_a_port_and_only_that() {
    let text = |protocol: &str, port: &str| {
        format!(
            "{INTERFACE}[[server]]\nname = \"s1\"\naddress = \"fd00:2::11\"\n[[device]]\n\
             name = \"d\"\naddress = \"fd00:1::100\"\nprotocol = \"{protocol}\"\n{port}\
             servers = [\"s1\"]\n"
        )
    };
    let config = Config::parse(&text("any", "")).expect("it is right");
    let device = &config.devices[0].device;
    assert_eq!((device.protocol, device.port, device.server_port), (Protocol::Any, 0, 0));
    let found = problems(&text("any", "port = 5\n"));
    assert!(found.contains("line 10: device[0].port: protocol any has no ports"), "{found}");
    let found = problems(&text("udp", ""));
    assert_eq!(
        found,
        "line 6: device[0].port: is missing; write the port at which clients connect\n"
    );
}

#[test]
fn what_is_sent_from_is_listed_once_and_counts_by_family() {
    let text = format!(
        "{INTERFACE}[local]\naddresses = [\"10.0.2.1\", \"10.0.2.2\"]\nport_last = 4096\n\
         [tunnel]\nsource_v6 = \"fd00:2::1\"\ngue_port = 666\n"
    );
    let config = Config::parse(&text).expect("it is right");
    let addresses: Vec<IpAddr> =
        ["10.0.2.1", "10.0.2.2"].map(|address| address.parse().expect("an address")).to_vec();
    assert_eq!(config.local, LocalConfig { addresses, port_first: 1024, port_last: 4096 });
    let source_v6 = Some("fd00:2::1".parse().expect("an address"));
    assert_eq!(config.tunnel, TunnelConfig { source_v4: None, source_v6, gue_port: 666 });
    let limits = config.spec_limits();
    assert_eq!(limits.locals, FamilySet { v4: true, v6: false });
    assert_eq!(limits.tunnel_sources, FamilySet { v4: false, v6: true });
}

#[test]
fn without_something_to_send_from_a_device_is_told_what_to_write() {
    for (forwarding, remedy) in [
        ("full-nat", "list some in local.addresses"),
        ("ipip", "write tunnel.source_v4"),
        ("gue", "write tunnel.source_v4"),
    ] {
        let found = problems(&with_device_lines(&format!("forwarding = \"{forwarding}\"")));
        assert!(found.starts_with("line 11: device[0].forwarding: "), "{found}");
        assert!(found.contains(remedy), "{found}");
    }
}

#[test]
fn a_mistake_in_what_is_sent_from_is_not_repeated_for_the_devices() {
    let text =
        format!("[tunnel]\nsource_v4 = \"nowhere\"\n{}", with_device_lines("forwarding = \"gue\""));
    let found = problems(&text);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.starts_with("line 2: tunnel.source_v4: `nowhere` is not an IPv4"), "{found}");
}

#[test]
fn what_is_sent_from_belongs_to_no_server_and_no_device() {
    let text = format!(
        "{}[local]\naddresses = [\"10.0.1.100\"]\n[tunnel]\nsource_v4 = \"10.0.2.11\"\n",
        with_device_lines("")
    );
    let found = problems(&text);
    assert!(found.contains("local.addresses[0]: 10.0.1.100 is the service address of device d"));
    assert!(found.contains("tunnel.source_v4: 10.0.2.11 is the address of server s1"), "{found}");
}

#[test]
fn more_local_addresses_than_the_table_holds_are_refused() {
    let list: Vec<String> = (1..=65).map(|n| format!("\"10.9.0.{n}\"")).collect();
    let text = format!("{INTERFACE}[local]\naddresses = [{}]\n", list.join(", "));
    let found = problems(&text);
    assert!(found.contains("65 IPv4 addresses are too many; list at most 64"), "{found}");
    let mixed = text.replace("10.9.0.65", "fd00::65");
    assert!(Config::parse(&mixed).is_ok());
}

#[test]
fn an_interface_has_no_tag_one_or_two() {
    let vlan = |line: &str| {
        let config = Config::parse(&format!("{INTERFACE}{line}\n")).expect("it is right");
        config.interfaces[0].vlan
    };
    assert_eq!(vlan(""), None);
    assert_eq!(vlan("vlan = 100"), Some(Vlan::One(100)));
    assert_eq!(vlan("vlan = [100]"), Some(Vlan::One(100)));
    assert_eq!(vlan("vlan = [200, 100]"), Some(Vlan::Two { outer: 200, inner: 100 }));
    let found = problems(&format!("{INTERFACE}vlan = []\n"));
    assert!(found.starts_with("line 3: interface[0].vlan: 0 tags"), "{found}");
}

#[test]
fn remembered_paths_are_a_power_of_two_and_a_rate_of_zero_is_no_limit() {
    let text = format!(
        "[limits]\npaths_max = 70000\nnew_flows_per_second_max = 0\n\
         answers_per_second_max = 0\n{INTERFACE}"
    );
    let limits = Config::parse(&text).expect("it is right").limits;
    assert_eq!(limits.paths_max, 131_072);
    assert_eq!((limits.new_flows_per_second_max, limits.answers_per_second_max), (0, 0));
}
