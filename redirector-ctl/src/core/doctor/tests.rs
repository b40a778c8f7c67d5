//! Every rule sees its fault, and nothing else does.

use super::*;

fn link() -> Link {
    Link {
        up: true,
        mtu: 1500,
        driver: Some("ixgbe".to_owned()),
        queues_len: Some(8),
        accept_local: true,
        ..Link::default()
    }
}

fn healthy() -> Facts {
    let interface = |name: &str| Interface {
        name: name.to_owned(),
        wanted: Wanted { native: true, ..Wanted::default() },
        link: Some(link()),
    };
    let address: IpAddr = [10, 0, 2, 11].into();
    Facts {
        machine: Machine {
            kernel: "6.1.0-18-amd64".to_owned(),
            btf: true,
            bpffs: true,
            clock_source: Some("tsc".to_owned()),
            ip_forward: true,
            cpus_len: 8,
            ..Machine::default()
        },
        interfaces: vec![interface("clients0"), interface("servers0")],
        servers: vec![Server {
            name: "s1".to_owned(),
            address,
            route: Some(("servers0".to_owned(), None)),
            by_ours: true,
            resolved: true,
            answers: Answers {
                port: Some(10_901),
                near: true,
                far: vec![([10, 0, 1, 1].into(), true)],
            },
        }],
        services: vec![Service {
            device: "disk-a".to_owned(),
            address: [10, 0, 1, 100].into(),
            others: Vec::new(),
            asked: true,
        }],
        services_len: 1,
        stateless: true,
        nat: true,
    }
}

/// What is not good, as `check subject verdict`.
fn complaints(facts: &Facts) -> Vec<String> {
    let findings = examine(facts);
    for finding in &findings {
        let is_bad = finding.verdict != Verdict::Good;
        assert_eq!(finding.remedy.is_some(), is_bad, "{finding:?}");
    }
    let bad = findings.iter().filter(|finding| finding.verdict != Verdict::Good);
    bad.map(|one| format!("{} {} {}", one.check, one.subject, one.verdict.name())).collect()
}

#[test]
fn a_healthy_site_is_good_in_everything() {
    assert_eq!(complaints(&healthy()), [""; 0]);
}

#[test]
fn each_fault_is_named_once_with_its_subject() {
    type Break = fn(&mut Facts);
    fn first(facts: &mut Facts) -> &mut Link {
        facts.interfaces[0].link.as_mut().unwrap()
    }
    let cases: [(&str, Break); 27] = [
        ("kernel machine fault", |f| f.machine.kernel = "5.15.0".to_owned()),
        ("kernel machine note", |f| f.machine.kernel = "new".to_owned()),
        ("btf machine fault", |f| f.machine.btf = false),
        ("bpffs machine fault", |f| f.machine.bpffs = false),
        ("capabilities machine fault", |f| {
            f.machine.lacking = vec![("CAP_BPF".to_owned(), "load".to_owned())];
        }),
        ("lockdown machine fault", |f| {
            f.machine.lockdown = Some("confidentiality".to_owned());
        }),
        ("clock machine warning", |f| f.machine.clock_source = Some("hpet".to_owned())),
        ("conntrack machine note", |f| f.machine.tracked_len = Some(3)),
        ("ip_forward machine fault", |f| f.machine.ip_forward = false),
        ("interface clients0 fault", |f| f.interfaces[0].link = None),
        ("interface clients0 fault", |f| first(f).up = false),
        ("xdp clients0 fault", |f| first(f).xdp = Some("native".to_owned())),
        ("bond clients0 fault", |f| {
            first(f).part_of = Some(("bond0".to_owned(), "bond".to_owned()));
        }),
        ("native clients0 fault", |f| first(f).driver = Some("vlan".to_owned())),
        ("native clients0 note", |f| first(f).driver = Some("r8169".to_owned())),
        ("receive_offload clients0 fault", |f| {
            first(f).offloads.insert("rx-lro".to_owned(), true);
        }),
        ("receive_offload clients0 fault", |f| {
            first(f).offloads.insert("rx-gro-hw".to_owned(), true);
        }),
        ("vlan_offload clients0 fault", |f| {
            f.interfaces[0].wanted.tagged = true;
            first(f).offloads.insert("rx-vlan-hw-parse".to_owned(), true);
        }),
        ("partial_checksum clients0 note", |f| first(f).driver = Some("veth".to_owned())),
        ("queues clients0 note", |f| first(f).queues_len = Some(1)),
        ("rp_filter clients0 warning", |f| first(f).rp_filter = 1),
        ("rp_filter clients0 note", |f| first(f).accept_local = false),
        ("mtu servers0 warning", |f| first(f).mtu = 9000),
        ("way s1 fault", |f| f.servers[0].resolved = false),
        ("way_back s1 fault", |f| f.servers[0].answers.far[0].1 = false),
        ("address disk-a fault", |f| {
            f.services[0].others = vec![("clients0".to_owned(), "02:00:00:00:00:01".to_owned())];
        }),
        ("addresses network note", |f| f.services_len = 100_000),
    ];
    for (expected, break_it) in cases {
        let mut facts = healthy();
        break_it(&mut facts);
        assert_eq!(complaints(&facts), [expected]);
    }
}

#[test]
fn locked_memory_counts_only_where_tables_are_locked() {
    let mut facts = healthy();
    facts.machine.memlock_bytes = Some(65_536);
    assert_eq!(complaints(&facts), [""; 0]);
    facts.machine.kernel = "5.10.0".to_owned();
    assert_eq!(complaints(&facts), ["kernel machine fault", "memlock machine fault"]);
}
