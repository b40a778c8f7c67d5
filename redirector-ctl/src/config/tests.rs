//! Configuration files, good and bad.

use super::{Config, XdpMode};
use crate::core::spec::{AdminState, Check, FlowPolicy, Protocol};

const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redirector.example.toml"));
const TWENTY_MISTAKES: &str = include_str!("testdata/twenty_mistakes.toml");
const TWENTY_ANSWERS: &str = include_str!("testdata/twenty_mistakes.txt");

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
    assert_eq!(silent.limits, shown.limits);
    assert_eq!(silent.health, shown.health);
    assert_eq!(silent.flows, shown.flows);
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
fn twenty_mistakes_give_twenty_lines_that_say_what_to_do() {
    let found = problems(TWENTY_MISTAKES);
    assert_eq!(found, TWENTY_ANSWERS, "\nfound:\n{found}\nexpected:\n{TWENTY_ANSWERS}");
    assert_eq!(found.lines().count(), 20);
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

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]a-z_=\"0-9.\n{},# -]{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(
        at in 0..EXAMPLE.len(), length in 0usize..40, with in "[\\[\\]a-z=\"0\n{}-]{0,10}"
    ) {
        let head = EXAMPLE.get(..at).unwrap_or(EXAMPLE);
        let tail = EXAMPLE.get(at + length..).unwrap_or("");
        let _ = Config::parse(&format!("{head}{with}{tail}"));
    }
}
