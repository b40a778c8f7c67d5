//! Forms, flaws and paces of checks.

use serde_json::{Value, json};

use super::super::change::Change;
use super::super::fixtures::{at, device_spec, three_and_three};
use super::super::health::Thresholds;
use super::super::observed::Observed;
use super::super::seed::SeedDevice;
use super::*;

fn read(form: &Value) -> Result<Check, String> {
    serde_json::from_value(form.clone()).map_err(|error| error.to_string())
}

#[test]
fn every_form_is_read_and_written_as_it_was() {
    for form in [
        json!("connect"),
        json!("greeting"),
        json!("http"),
        json!({"kind": "http", "path": "/health", "host": "nas.example", "status_max": 299}),
        json!("nbd"),
        json!({"kind": "nbd", "export": "disk-a", "size_bytes": 1_u64 << 40}),
        json!("iscsi"),
        json!({"kind": "iscsi", "target": "iqn.2026-01.com.example:a", "session": "normal"}),
        json!("nfs"),
        json!({"kind": "nfs", "version": 3}),
        json!("smb"),
        json!({"kind": "exec", "command": ["/bin/true", "x"]}),
    ] {
        let check = read(&form).unwrap();
        assert_eq!(serde_json::to_value(&check).unwrap(), form);
    }
}

#[test]
fn a_device_in_the_state_file_has_its_check_in_every_form_and_none_in_old_files() {
    let json = |check: &str| {
        format!(
            r#"{{"name": "d", "address": "10.0.1.1", "port": 1, "protocol": "tcp",
                 "server_port": 2, "servers": ["s1"], "on_planned": {{"kind": "keep"}},
                 {check} "server": null}}"#
        )
    };
    let read = |check: &str| {
        let device: SeedDevice = serde_json::from_str(&json(check)).unwrap();
        let again = serde_json::to_string(&device).unwrap();
        assert_eq!(serde_json::from_str::<SeedDevice>(&again).unwrap(), device);
        device.device
    };
    let old = read("");
    assert_eq!((old.check, old.check_pace), (Check::Connect, CheckPace::default()));
    assert_eq!(read(r#""check": "greeting","#).check, Check::Greeting);
    let table = r#""check": {"kind": "nbd", "size_bytes": 9}, "check_pace": {"fall": 3},"#;
    let nbd = NbdCheck { export: String::new(), size_bytes: Some(9) };
    assert_eq!((read(table).check, read(table).check_pace.fall), (Check::Nbd(nbd), Some(3)));
}

#[test]
fn a_table_that_says_no_more_than_its_word_is_that_word() {
    let table = json!({"kind": "http", "path": "/", "status_min": 200, "status_max": 399});
    assert_eq!(read(&table), Ok(Check::Http(HttpCheck::default())));
    assert_eq!(serde_json::to_value(read(&table).unwrap()).unwrap(), json!("http"));
    assert_eq!(read(&json!({"kind": "connect"})), Ok(Check::Connect));
}

#[test]
fn what_is_wrong_with_a_check_names_the_field_and_the_remedy() {
    for (form, says) in [
        (json!("ping"), "unknown variant `ping`, expected one of `connect`, `greeting`, `http`"),
        (json!(7), "expected a word such as \"connect\" or a table"),
        (json!({"path": "/"}), "missing field `kind`"),
        (json!({"kind": "nbd", "exprt": "a"}), "unknown field `exprt`"),
        (
            json!({"kind": "nbd", "path": "/", "export": "a"}),
            "path: only `http` has it; leave it out, or let the kind be \"http\"",
        ),
        (json!({"kind": "http", "path": "health"}), "path: \"health\" is not a path; begin it"),
        (json!({"kind": "http", "path": "/a b"}), "path: \"/a b\" is not a path"),
        (json!({"kind": "http", "host": "a\r\nb"}), "host: \"a\\r\\nb\" is not a host"),
        (json!({"kind": "http", "status_min": 99}), "status_min: 99 is not an HTTP status"),
        (json!({"kind": "http", "status_min": 400}), "status_min: 400 is above status_max (399)"),
        (json!({"kind": "iscsi", "target": "disk-a"}), "target: \"disk-a\" is not an iSCSI name"),
        (json!({"kind": "iscsi", "session": "normal"}), "target: is missing; a normal session"),
        (json!({"kind": "nfs", "version": 2}), "version: there is no check of NFS 2; write 3 or 4"),
        (json!("exec"), "command: begin it with the absolute path of a program"),
        (json!({"kind": "exec", "command": ["true"]}), "command: begin it with the absolute path"),
    ] {
        let said = read(&form).unwrap_err();
        assert!(said.contains(says), "{form}: {said}");
    }
}

#[test]
fn people_read_a_check_as_its_kind_and_its_parameters() {
    let check = read(&json!({"kind": "nbd", "export": "disk-a", "size_bytes": 4096})).unwrap();
    assert_eq!(check.to_string(), "nbd export=disk-a size_bytes=4096");
    assert_eq!(Check::Connect.to_string(), "connect");
}

#[test]
fn a_pace_keeps_time_out_and_interval_together() {
    let pace =
        |interval_ms, timeout_ms| CheckPace { interval_ms, timeout_ms, ..CheckPace::default() };
    assert_eq!(pace(None, None).times_ms(200, 150), (200, 150));
    assert_eq!(pace(None, Some(2000)).times_ms(200, 150), (2000, 2000));
    assert_eq!(pace(Some(100), None).times_ms(200, 150), (100, 100));
    assert_eq!(pace(Some(1000), Some(500)).times_ms(200, 150), (1000, 500));
    let usual = Thresholds { rise: 2, fall: 3 };
    let own = CheckPace { fall: Some(5), ..CheckPace::default() };
    assert_eq!(own.thresholds(usual), Thresholds { rise: 2, fall: 5 });
}

fn refused(change: impl FnOnce(&mut DeviceSpec)) -> Vec<(String, &'static str)> {
    let mut device = device_spec(9, &["s1"]);
    change(&mut device);
    let put = Change::PutDevice { name: "d9".into(), device };
    let observed = Observed::default();
    let refusal = three_and_three().apply(&put, &at(1000, &observed)).unwrap_err();
    refusal.problems.into_iter().map(|problem| (problem.field, problem.code)).collect()
}

#[test]
fn a_change_never_brings_a_command_or_a_check_that_cannot_be() {
    let exec = refused(|device| device.check = Check::Exec { command: vec!["/bin/true".into()] });
    assert_eq!(exec, [("check".to_owned(), "exec_from_api")]);
    let smb = refused(|device| (device.check, device.protocol) = (Check::Smb, Protocol::Udp));
    assert_eq!(smb, [("check".to_owned(), "check_needs_tcp")]);
    let nfs4 = Check::Nfs { version: Some(4) };
    let nfs4 = refused(|device| (device.check, device.protocol) = (nfs4, Protocol::Udp));
    assert_eq!(nfs4, [("check.version".to_owned(), "check_needs_tcp")]);
    let pace = refused(|device| {
        let (interval_ms, timeout_ms) = (Some(5), Some(70_000));
        device.check_pace = CheckPace { interval_ms, timeout_ms, rise: Some(0), fall: Some(101) };
    });
    let fields: Vec<&str> = pace.iter().map(|(field, _)| field.as_str()).collect();
    let all = ["check_interval_ms", "check_timeout_ms", "rise", "fall", "check_timeout_ms"];
    assert_eq!(fields, all);
}
