//! Bad input to the real daemon, over its socket and its command line: a clear refusal that names
//! the field, and the running state as it was, with its flows.

use anyhow::{Context, Result, ensure};
use redirector_tests::api::{Answer, Api};
use redirector_tests::device::Device;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::redirector::{Health, config_text};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A request that must be refused.
struct Bad {
    what: &'static str,
    method: Method,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    /// Texts that the problem must contain: the field, the wrong value.
    says: &'static [&'static str],
}

fn bad(
    what: &'static str,
    (method, path): (Method, &'static str),
    body: Value,
    status: u16,
    says: &'static [&'static str],
) -> Bad {
    Bad { what, method, path, body: body.to_string().into_bytes(), status, says }
}

fn device(change: Value) -> Value {
    let mut device = json!({
        "address": "10.0.1.150", "port": 7000, "server_port": 7150, "servers": ["s1", "s2"]
    });
    if let (Some(fields), Value::Object(changes)) = (device.as_object_mut(), change) {
        fields.extend(changes);
    }
    device
}

const PUT_DEVICE: (Method, &str) = (Method::PUT, "/v1/devices/disk-c");
const PUT_SERVER: (Method, &str) = (Method::PUT, "/v1/servers/s9");
const MOVE: (Method, &str) = (Method::PUT, "/v1/associations/disk-a");
const MOVE_UNKNOWN: (Method, &str) = (Method::PUT, "/v1/associations/disk-z");
const MOVE_MANY: (Method, &str) = (Method::PATCH, "/v1/associations");

fn bad_moves() -> Vec<Bad> {
    let to = |server: &str| json!({"server": server});
    let many = json!({"associations": [
        {"device": "disk-a", "server": "s3"}, {"device": "disk-b", "server": "s9"}
    ]});
    vec![
        bad("a move to an unknown server", MOVE, to("s9"), 422, &["server", "s9"]),
        bad("a move of an unknown device", MOVE_UNKNOWN, to("s1"), 404, &["disk-z"]),
        bad("a bulk with an unknown server", MOVE_MANY, many, 422, &["associations[1]", "s9"]),
    ]
}

fn bad_resources() -> Vec<Bad> {
    let bad_device =
        |what, change, status, says| bad(what, PUT_DEVICE, device(change), status, says);
    let bad_server = |what, address: &str, status, says| {
        bad(what, PUT_SERVER, json!({ "address": address }), status, says)
    };
    let unknown = json!({"servers": ["s1", "s9"]});
    let taken = json!({"address": "10.0.1.100", "port": 10809});
    vec![
        bad_device("an unknown server", unknown, 422, &["servers[1]", "s9"]),
        bad_device("a device with no server", json!({"servers": []}), 422, &["servers"]),
        bad_device("a taken service address", taken, 409, &["address", "disk-a"]),
        bad_device("another family", json!({"address": "fd00::1"}), 422, &["servers", "family"]),
        bad_device("a port of no port", json!({"port": 0}), 400, &["port"]),
        bad_device("an unknown field", json!({"colour": "red"}), 400, &["colour"]),
        bad_server("a taken address", "10.0.2.11", 409, &["address", "s1"]),
        bad_server("an address of one link only", "fe80::1", 400, &["address"]),
    ]
}

fn bad_bodies() -> Vec<Bad> {
    let raw = |what, body: Vec<u8>, status, says| {
        let (method, path) = PUT_DEVICE;
        Bad { what, method, path, body, status, says }
    };
    vec![
        raw("malformed JSON", b"{\"address\": ".to_vec(), 400, &["JSON"]),
        raw("no body", Vec::new(), 400, &[]),
        raw("bytes that are no text", vec![0xff; 64], 400, &[]),
        raw("an oversized body", vec![b' '; (1 << 20) + 1], 413, &[]),
    ]
}

/// Everything that a refused request must leave alone.
fn desired(api: &Api) -> Result<Value> {
    let of = |path: &str, fields: &[&str]| {
        let answer: Value = api.get(path)?;
        let items = answer["items"].as_array().context("a list of items")?;
        let pick = |item: &Value| fields.iter().map(|field| item[field].clone()).collect();
        anyhow::Ok(items.iter().map(pick).collect::<Vec<Value>>())
    };
    Ok(json!({
        "generation": api.status()?["generation"],
        "servers": of("/v1/servers", &["name", "address", "state"])?,
        "devices": of("/v1/devices", &["name", "address", "port", "servers", "association"])?,
    }))
}

fn check_refusal(bad: &Bad, answer: &Answer) -> Result<()> {
    let Bad { what, status, says, .. } = bad;
    ensure!(answer.status == *status, "{what}: {} {}, not {status}", answer.status, answer.body);
    let problem = answer.problem().with_context(|| what.to_string())?;
    for member in ["type", "title", "status", "detail", "code", "request_id"] {
        ensure!(!answer.body[member].is_null(), "{what}: a problem without {member}: {problem}");
    }
    for text in *says {
        ensure!(problem.contains(text), "{what}: {text} is not in {problem}");
    }
    Ok(())
}

#[test]
fn a_bad_request_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let address = lab.device("echo-a")?.service();
    let flows = Flows::from(lab.client("c1")?)?;
    let open = flows.open(address)?;
    let before = desired(&api)?;
    let mut failures = Vec::new();
    for bad in bad_moves().into_iter().chain(bad_resources()).chain(bad_bodies()) {
        let answer = api.send(bad.method.clone(), bad.path, &[JSON], bad.body.clone());
        let answer = answer.with_context(|| bad.what.to_owned())?;
        failures.extend(check_refusal(&bad, &answer).err().map(|error| format!("{error:#}")));
        let after = desired(&api)?;
        if after != before {
            failures.push(format!("{}: {before} became {after}", bad.what));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(lab.redirector.is_running()?, "the daemon has ended");
    let again = flows.open(address)?;
    assert_eq!(again.server_name(), open.server_name());
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn a_change_on_top_of_a_stale_generation_is_refused() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let generation = api.status()?["generation"].to_string();
    let move_if = |server: &str| {
        let tag = format!("\"{generation}\"");
        let headers = [JSON, ("if-match", tag.as_str())];
        let body = json!({"server": server}).to_string().into_bytes();
        api.send(Method::PUT, "/v1/associations/echo-a", &headers, body)
    };
    move_if("s3")?.accepted()?;
    let second = move_if("s2")?;
    assert_eq!(second.status, 412, "{}", second.body);
    assert_eq!(api.device("echo-a")?.association.server, "s3");
    Ok(())
}

#[test]
fn the_command_line_says_what_was_refused_and_exits_with_1() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let before = desired(&lab.api()?)?;
    let cases: [(&[&str], i32, &str); 5] = [
        (&["device", "move", "disk-a", "--to", "s9"], 1, "s9"),
        (&["device", "move", "disk-z", "--to", "s1"], 1, "disk-z"),
        (&["server", "add", "s9", "--address", "10.0.2.11"], 1, "s1"),
        (&["server", "remove", "s1"], 1, "disk-a"),
        (&["device", "move", "disk-a"], 2, "--to"),
    ];
    for (arguments, status, says) in cases {
        let output = lab.redirector.cli(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} talks on standard output");
    }
    assert_eq!(desired(&lab.api()?)?, before);
    Ok(())
}

#[test]
fn the_command_line_says_that_no_daemon_answers_and_exits_with_3() -> Result<()> {
    let lab = Lab::build(Plan::standard(1 << 20))?;
    let output = lab.redirector.cli(&["status"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("api.sock"), "{said}");
    Ok(())
}

#[test]
fn the_daemon_refuses_to_start_on_an_interface_that_does_not_exist() -> Result<()> {
    let lab = Lab::build(Plan::standard(1 << 20))?;
    let (dir, bpffs) = (lab.run().dir(), lab.bpffs().dir());
    let devices = Device::standard_set(1 << 20);
    let config = config_text(dir, bpffs, 3, &devices, Health::default());
    let config = config.replace("\"servers0\"", "\"servers9\"");
    let gateway = lab.network.host("gateway")?;
    let ended = lab.redirector.run_refused(gateway, "no-interface", &config)?;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("servers9"), "{}", ended.log);
    let output = gateway.command("ip").args(["link", "show", "clients0"]).output()?;
    let link = String::from_utf8_lossy(&output.stdout);
    assert!(!link.contains("prog/xdp"), "a daemon that did not start left its program: {link}");
    Ok(())
}

#[test]
fn a_configuration_with_twenty_mistakes_is_refused_with_all_of_them() -> Result<()> {
    let lab = Lab::build(Plan::standard(1 << 20))?;
    let mut config = String::from("[[interface]]\nname = \"clients0\"\n");
    for number in 0..10 {
        config.push_str(&format!(
            "\n[[device]]\nname = \"d{number}\"\naddress = \"10.0.1.{number}00\"\nport = 0\n\
             servers = [\"nobody{number}\"]\n"
        ));
    }
    let gateway = lab.network.host("gateway")?;
    let ended = lab.redirector.run_refused(gateway, "mistakes", &config)?;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    for number in 0..10 {
        for field in [format!("device[{number}].port"), format!("nobody{number}")] {
            assert!(ended.log.contains(&field), "{field} is not in:\n{}", ended.log);
        }
    }
    Ok(())
}
