//! Configuration files, good and bad.

mod forwarding;

use super::{Config, LogFormat, XdpMode};
use crate::core::change::Context;
use crate::core::observed::Observed;
use crate::core::spec::{AdminState, Check, FlowPolicy, Protocol, Spec};

const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redirector.example.toml"));
const FIFTY_MISTAKES: &str = include_str!("testdata/fifty_mistakes.toml");
const FIFTY_ANSWERS: &str = include_str!("testdata/fifty_mistakes.txt");

const INTERFACE: &str = "[[interface]]\nname = \"eth0\"\n";

fn problems(text: &str) -> String {
    let problems = Config::parse(text).expect_err("the text has mistakes");
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn the_annotated_example_is_a_valid_configuration() {
    let config = Config::parse(EXAMPLE).expect("the example parses");
    assert_eq!(config.interfaces.len(), 2);
    assert!(config.interfaces[0].announce);
    assert_eq!(config.servers.len(), 3);
    assert_eq!(config.devices[0].device.check, Check::Greeting);
    assert_eq!(config.devices[1].device.server_port, 10902);
}

#[test]
fn what_the_example_calls_a_default_is_the_default() {
    let shown = Config::parse(EXAMPLE).expect("the example parses");
    let silent = Config::parse(INTERFACE).expect("an interface is enough");
    assert_eq!(silent.redirector, shown.redirector);
    assert_eq!(silent.api, shown.api);
    assert_eq!(silent.log, shown.log);
    assert_eq!(silent.limits, shown.limits);
    assert_eq!(silent.health, shown.health);
    assert_eq!(silent.flows, shown.flows);
    assert_eq!(silent.load, shown.load);
    assert_eq!(silent.plan, shown.plan);
    assert_eq!(silent.local, shown.local);
    assert_eq!(silent.tunnel, shown.tunnel);
    assert_eq!(silent.interfaces[0].mode, XdpMode::Native);
}

#[test]
fn a_device_needs_only_a_name_an_address_a_port_and_servers() {
    let text = format!(
        "{INTERFACE}[[server]]\nname = \"s1\"\naddress = \"10.0.2.11\"\n\
         [[device]]\nname = \"d\"\naddress = \"10.0.1.100\"\nport = 3260\nservers = [\"s1\"]\n"
    );
    let config = Config::parse(&text).expect("it is complete");
    let device = &config.devices[0].device;
    assert_eq!(device.server_port, 3260);
    assert_eq!(device.protocol, Protocol::Tcp);
    assert_eq!(device.check, Check::Connect);
    assert_eq!(device.on_planned, FlowPolicy::Drain { deadline_ms: 3_600_000 });
    assert_eq!(device.server, None);
    assert_eq!(config.servers[0].state, None::<AdminState>);
}

#[test]
fn fifty_mistakes_give_fifty_lines_that_say_what_to_do() {
    let found = problems(FIFTY_MISTAKES);
    assert_eq!(found, FIFTY_ANSWERS, "\nfound:\n{found}\nexpected:\n{FIFTY_ANSWERS}");
    assert_eq!(found.lines().count(), 50);
}

#[test]
fn the_log_is_for_people_unless_it_is_asked_for_in_json() {
    let of = |text: &str| Config::parse(&format!("{text}{INTERFACE}"));
    assert_eq!(of("").expect("it is complete").log.format, LogFormat::Text);
    let json = of("[log]\nformat = \"json\"\n").expect("it is complete");
    assert_eq!(json.log.format, LogFormat::Json);
    let text = format!("[log]\nformat = \"xml\"\n{INTERFACE}");
    assert_eq!(problems(&text), "line 2: log.format: `xml` is unknown; write one of: text, json\n");
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    assert_eq!(
        problems(""),
        "interface: is missing; add one with the name of a network interface\n"
    );
}

#[test]
fn a_text_that_is_not_toml_is_told_where() {
    let found = problems(&format!("[health]\nrise = \n{INTERFACE}"));
    assert!(found.starts_with("line 2: not valid TOML: "), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn a_mistake_in_a_server_is_not_repeated_for_its_devices() {
    let text = format!(
        "{INTERFACE}[[server]]\nname = \"s1\"\naddress = \"nowhere\"\n\
         [[device]]\nname = \"d\"\naddress = \"10.0.1.100\"\nport = 3260\nservers = [\"s1\"]\n"
    );
    let found = problems(&text);
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.starts_with("line 5: server[0].address: `nowhere` is not an address"), "{found}");
}

#[test]
fn a_device_that_cannot_be_read_whole_is_still_checked_for_the_rest() {
    let text = format!(
        "{INTERFACE}[[device]]\nname = \"d\"\naddress = \"10.0.1.300\"\nport = 0\n\
         servers = [\"s1\", \"s1\"]\nserver = \"s2\"\n[[server]]\naddress = \"nowhere\"\n"
    );
    let found = problems(&text);
    let fields: Vec<&str> = found.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    let expected = [
        "device[0].address",
        "device[0].port",
        "device[0].servers[0]",
        "device[0].servers[1]",
        "device[0].server",
        "server[0].name",
        "server[0].address",
    ];
    assert_eq!(fields, expected, "{found}");
}

#[test]
fn what_stands_in_for_an_unreadable_address_is_never_shown() {
    let text = format!(
        "{INTERFACE}[[server]]\nname = \"s1\"\n[[device]]\nname = \"d\"\naddress = \"fe80::1\"\n\
         port = 1\nservers = [\"s1\"]\n[[device]]\nname = \"e\"\nport = 2\nservers = [\"s1\"]\n"
    );
    let found = problems(&text);
    assert!(!found.contains("198."), "{found}");
    assert!(found.contains("device[0].address: fe80::1 is a link-local address"), "{found}");
}

#[test]
fn addresses_like_the_stand_ins_are_checked_as_any_others() {
    let server = |name: &str| format!("[[server]]\nname = \"{name}\"\naddress = \"198.18.0.0\"\n");
    let found = problems(&format!("{INTERFACE}{}{}", server("a"), server("b")));
    assert!(found.contains("198.18.0.0 is the address of server a already"), "{found}");
}

#[test]
fn a_list_of_something_else_is_one_mistake() {
    let found = problems(&format!("server = [1]\n{INTERFACE}"));
    assert_eq!(found, "line 1: server[0]: must be a table, this is a whole number\n");
}

/// A file with one device that has these lines besides what it needs.
fn with_device_lines(lines: &str) -> String {
    format!(
        "{INTERFACE}[[server]]\nname = \"s1\"\naddress = \"10.0.2.11\"\n\
         [[device]]\nname = \"d\"\naddress = \"10.0.1.100\"\nport = 3260\nservers = [\"s1\"]\n\
         {lines}\n"
    )
}

#[test]
fn a_check_is_a_word_or_a_table_and_may_run_a_program() {
    let check = |line: &str| {
        let config = Config::parse(&with_device_lines(line)).expect("it is right");
        config.devices[0].device.check.to_string()
    };
    assert_eq!(check("check = \"smb\""), "smb");
    assert_eq!(check("check = { kind = \"nbd\", export = \"a\" }"), "nbd export=a");
    assert_eq!(
        check("[device.check]\nkind = \"http\"\npath = \"/x\"\nstatus_max = 299"),
        "http path=/x status_max=299"
    );
    assert_eq!(
        check("check = { kind = \"exec\", command = [\"/bin/true\", \"x\"] }"),
        "exec command=/bin/true x"
    );
}

#[test]
fn every_check_that_the_example_mentions_is_one() {
    let lines: Vec<_> =
        EXAMPLE.lines().filter_map(|line| line.strip_prefix("# check = ")).collect();
    for line in &lines {
        let text = with_device_lines(&format!("check = {line}"));
        assert!(Config::parse(&text).is_ok(), "{line}: {}", problems(&text));
    }
    assert_eq!(lines.len(), 6);
}

#[test]
fn a_device_may_have_a_pace_of_its_own() {
    let lines = "check_interval_ms = 2000\ncheck_timeout_ms = 1000\nrise = 3\nfall = 4";
    let config = Config::parse(&with_device_lines(lines)).expect("it is right");
    let pace = config.devices[0].device.check_pace;
    assert_eq!((pace.interval_ms, pace.timeout_ms), (Some(2000), Some(1000)));
    assert_eq!((pace.rise, pace.fall), (Some(3), Some(4)));
}

#[test]
fn a_mistake_in_a_check_is_told_with_its_line_its_field_and_the_remedy() {
    for (line, says) in [
        (
            "check = \"ping\"",
            "line 11: device[0].check: `ping` is unknown; write one of: connect, greeting, http, \
             nbd, iscsi, nfs, smb, exec\n",
        ),
        (
            "check = \"exec\"",
            "line 11: device[0].check: needs `command`: write a table such as { kind = \"exec\", \
             command = [\"/path\"] }\n",
        ),
        (
            "check = { kind = \"nbd\", exprt = \"a\" }",
            "line 11: device[0].check.exprt: is not known here; did you mean `export`?\n",
        ),
        (
            "check = { kind = \"nbd\", path = \"/\" }",
            "line 11: device[0].check.path: only `http` has it; leave it out, or let the kind be \
             \"http\"\n",
        ),
        (
            "check = { export = \"a\" }",
            "line 11: device[0].check.kind: is missing; write one of: connect, greeting, http, \
             nbd, iscsi, nfs, smb, exec\n",
        ),
        (
            "check = { kind = \"nfs\", version = 2 }",
            "line 11: device[0].check.version: 2 is out of range; write a whole number from 3 to \
             4\n",
        ),
        (
            "check = \"smb\"\nprotocol = \"udp\"",
            "line 11: device[0].check: `smb` is a check over TCP, and the device's protocol is \
             udp: use connect, nfs or exec\n",
        ),
        (
            "check_interval_ms = 100\ncheck_timeout_ms = 200",
            "line 12: device[0].check_timeout_ms: 200 is longer than check_interval_ms (100); \
             write at most 100 or raise check_interval_ms\n",
        ),
        (
            "fall = 0",
            "line 11: device[0].fall: 0 is out of range; write a whole number from 1 to 100\n",
        ),
    ] {
        assert_eq!(problems(&with_device_lines(line)), says);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z_=\"0-9.\n{},# -]{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn a_damaged_file_is_refused_or_still_one_that_core_takes(
        at in 0..EXAMPLE.len(), length in 0usize..40, with in "[\\[\\]a-z=\"0\n{}-]{0,10}"
    ) {
        let head = EXAMPLE.get(..at).unwrap_or(EXAMPLE);
        let tail = EXAMPLE.get(at + length..).unwrap_or("");
        if let Ok(config) = Config::parse(&format!("{head}{with}{tail}")) {
            let observed = Observed::default();
            let limits = config.spec_limits();
            let ctx = Context { now_ms: 0, limits, observed: &observed };
            proptest::prop_assert!(config.seed().spec(&Spec::default(), &ctx).is_ok());
        }
    }
}
