//! The flight recorder: after a failover a file says what became of the last packets and why,
//! another is made by request, and neither their number nor a flood grows beyond bounds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::capture::{self, Line, Packet};
use redirector_tests::data_path::Version;
use redirector_tests::fault::Fault;
use redirector_tests::flows::{Flows, first_served, server_name};
use redirector_tests::greeters::{Greeters, echo};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

/// A failover's dump is made a second after it, with the next reading of the counters.
const DUMPED_WITHIN: Duration = Duration::from_secs(20);
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Names of the dumps there are.
fn dumps(api: &Api) -> Result<Vec<String>> {
    let list: Value = api.get("/v1/recorder/dumps")?;
    let items = list["items"].as_array().context("a list")?;
    Ok(items.iter().filter_map(|dump| dump["name"].as_str().map(str::to_owned)).collect())
}

fn packets(lines: &[Line]) -> Vec<&Packet> {
    let packets = lines.iter().filter_map(|line| match line {
        Line::Packet(packet) => Some(packet),
        Line::Event { .. } => None,
    });
    packets.collect()
}

fn messages(lines: &[Line]) -> Vec<&str> {
    let messages = lines.iter().filter_map(|line| match line {
        Line::Event { message, .. } => Some(message.as_str()),
        Line::Packet(_) => None,
    });
    messages.collect()
}

/// The first line that `is` what is sought.
fn find<'a>(
    lines: &'a [Line],
    what: &str,
    is: impl Fn(&Line) -> bool,
) -> Result<(usize, &'a Line)> {
    let found = lines.iter().enumerate().find(|(_, line)| is(line));
    found.with_context(|| {
        let all: Vec<String> = lines.iter().map(|line| format!("{line:?}")).collect();
        format!("no {what} in\n{}", all.join("\n"))
    })
}

fn is_packet(line: &Line, reason: &str, of: &[&str]) -> bool {
    matches!(line, Line::Packet(packet)
        if packet.reason() == reason && of.iter().all(|word| packet.comment.contains(word)))
}

fn is_event(line: &Line, kind: &str, word: &str) -> bool {
    matches!(line, Line::Event { message, .. }
        if message.starts_with(kind) && message.contains(word))
}

#[test]
fn after_a_failover_a_file_says_what_became_of_the_packets_and_why() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let address = lab.device("echo-a")?.service();
    let victim = lab.api()?.device("echo-a")?.association.server;
    let busy = Flows::from(lab.client("c1")?)?;
    for _ in 0..4 {
        busy.open(address)?;
    }
    Fault::Freeze.inject(&mut lab, &victim)?;
    let others = |greeting: &str| server_name(greeting) != victim;
    let served = first_served(lab.client("c2")?, address, others, SERVED_WITHIN)?;
    let survivor = format!("server {}", server_name(&served.greeting));
    let api = lab.api()?;
    let name = wait::until("the failover's dump", DUMPED_WITHIN, || {
        let dumps = dumps(&api)?;
        let of_failover = dumps.iter().find(|name| name.ends_with("-failover.pcapng"));
        Ok(of_failover.map_or(Look::NotYet(format!("{dumps:?}")), |name| Look::Done(name.clone())))
    })?;
    let file = std::fs::read(lab.run().dir().join("state/recorder").join(&name))?;
    let lines = capture::read(&file)?;

    let victim = format!("server {victim}");
    let of_victim = ["device echo-a", victim.as_str()];
    let (opened, _) =
        find(&lines, "flow that began", |line| is_packet(line, "opened", &of_victim))?;
    let dead = |line: &Line| is_event(line, "server_dead: ", "");
    let (died, _) = find(&lines, "death", dead)?;
    let (reset, line) = find(&lines, "reset", |line| is_packet(line, "reset_dead", &of_victim))?;
    let Line::Packet(packet) = line else { unreachable!("it was found as one") };
    ensure!(packet.interface == "clients0", "{packet:?}");
    ensure!(packet.comment.contains("flow ") && packet.comment.contains("Answered: with RST"));
    let of_survivor = ["device echo-a", survivor.as_str()];
    let anew = |line: &Line| is_packet(line, "opened", &of_survivor);
    let (anew, _) = find(&lines, "flow on the survivor", anew)?;
    let failover = |line: &Line| is_event(line, "failover: ", "echo-a");
    find(&lines, "failover", failover)?;
    ensure!(opened < died && opened < reset && opened < anew, "{opened} {died} {reset} {anew}");
    let times: Vec<u64> = lines.iter().map(Line::at_us).collect();
    ensure!(times.is_sorted(), "not in the order of time: {times:?}");
    Ok(())
}

#[test]
fn a_dump_is_made_by_request_over_the_api_and_the_command_line() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let (mut stream, _) = site.connect()?;
    echo(&mut stream)?;
    let api = site.redirector.api()?;
    let made = api.send(Method::POST, "/v1/recorder/dumps?device=disk", &[], Vec::new())?;
    ensure!(made.status == 201, "{made:?}");
    let name = made.body["name"].as_str().context("a name")?.to_owned();
    assert_eq!(dumps(&api)?, std::slice::from_ref(&name));
    let got = site.redirector.cli(&["record", "get", &name])?;
    let lines = capture::read(&got.stdout)?;
    let comments: Vec<&str> =
        packets(&lines).iter().map(|packet| packet.comment.as_str()).collect();
    ensure!(comments.iter().any(|text| text.starts_with("opened: ")), "{comments:?}");
    ensure!(comments.iter().any(|text| text.starts_with("proven: ")), "{comments:?}");
    ensure!(comments.iter().all(|text| text.contains("device disk, server s1")), "{comments:?}");
    ensure!(messages(&lines).iter().any(|text| text.starts_with("started: ")), "{lines:?}");
    // What was said is not in it: a client's first question has 40 bytes, and then 64.
    for packet in packets(&lines) {
        ensure!(packet.data.len() <= 14 + 60 + 20, "payload: {packet:?}");
        ensure!(packet.len as usize >= packet.data.len(), "{packet:?}");
    }

    let file = site.redirector.socket().with_file_name("now.pcapng");
    let path = file.to_str().context("a path")?;
    let words = ["record", "dump", "--client", "10.1.0.99", "--file", path];
    let said = site.redirector.cli(&words)?;
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let nobodys = capture::read(&std::fs::read(&file)?)?;
    ensure!(packets(&nobodys).is_empty(), "packets of others: {nobodys:?}");
    let listed = site.redirector.cli(&["record", "list"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(listed.contains(&name) && listed.lines().count() == 3, "{listed}");
    let shown: Value = api.get("/v1/recorder")?;
    ensure!(shown["on"] == json!(true) && shown["dumps"] == json!(2), "{shown}");
    ensure!(shown["recorded"].as_u64().is_some_and(|recorded| recorded > 0), "{shown}");
    let text = site.redirector.cli(&["record", "show"])?;
    ensure!(String::from_utf8_lossy(&text.stdout).contains("recording"), "{text:?}");
    for path in ["/v1/recorder/dumps/..%2Fstate.json", "/v1/recorder/dumps/none.pcapng"] {
        let answer = api.send(Method::GET, path, &[], Vec::new())?;
        ensure!(answer.status == 404, "{path}: {answer:?}");
    }
    site.redirector.stop()
}

/// What tshark is to print of each line of a file.
const SHOWN: [&str; 5] =
    ["frame.comment", "frame.interface_name", "ip.src", "tcp.dstport", "systemd_journal.message"];

/// The lines of a file as tshark reads them, those that a display filter lets pass.
fn tshark(file: &Path, filter: &str) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-Y", filter, "-T", "fields", "-E", "separator=/t"]);
    let output = command.args(SHOWN.iter().flat_map(|field| ["-e", field])).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !said.contains("appears"), "tshark: {said}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

#[test]
fn tshark_shows_each_packet_with_its_reason_and_the_events_between_them() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let (mut stream, _) = site.connect()?;
    echo(&mut stream)?;
    let file = site.dir().join("now.pcapng");
    let words = ["record", "dump", "--file", file.to_str().context("a path")?];
    let said = site.redirector.cli(&words)?;
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let lines = capture::read(&std::fs::read(&file)?)?;
    ensure!(packets(&lines).len() > 1 && !messages(&lines).is_empty(), "{lines:?}");

    let shown = tshark(&file, "frame")?;
    assert_eq!(shown.len(), lines.len(), "{shown:?}");
    for (line, row) in lines.iter().zip(&shown) {
        match line {
            Line::Packet(packet) => assert_eq!(row[..2], [&*packet.comment, &packet.interface]),
            Line::Event { message, .. } => assert_eq!(&row[4], message),
        }
    }
    // As an operator asks: which packets began a flow, from whom, to where.
    let (peer, port) = (stream.local_addr()?.ip().to_string(), site.service().port().to_string());
    let opened = tshark(&file, "frame.comment contains \"opened: \"")?;
    ensure!(opened.iter().any(|row| row[2..4] == [peer.clone(), port.clone()]), "{opened:?}");
    site.redirector.stop()
}

/// How many samples of an open flow a dump made now has: packets that are kept as they left.
fn samples(site: &Greeters) -> Result<usize> {
    let words = ["record", "dump", "--file", "-"];
    let lines = capture::read(&site.redirector.cli(&words)?.stdout)?;
    Ok(packets(&lines).iter().filter(|packet| packet.comment.ends_with("as it left")).count())
}

#[test]
fn a_restart_with_another_rate_of_samples_has_them_at_once_and_ends_no_flow() -> Result<()> {
    let config = "\n[recorder]\nsample_one_in = 0\n";
    let mut site = Greeters::start_behind(Version::V4, "", |_| Ok(config.to_owned()))?;
    let (mut stream, _) = site.connect()?;
    let mut ask = |site: &Greeters| -> Result<usize> {
        (0..100).try_for_each(|_| echo(&mut stream))?;
        samples(site)
    };
    assert_eq!(ask(&site)?, 0, "samples that nobody asked for");
    site.redirector.stop()?;
    let text = std::fs::read_to_string(site.redirector.config())?;
    ensure!(text.contains("sample_one_in = 0"), "{text}");
    let text = text.replace("sample_one_in = 0", "sample_one_in = 2");
    std::fs::write(site.redirector.config(), text)?;
    site.redirector.start(&site.gateway)?;
    let found = ask(&site)?;
    ensure!(found > 20, "{found} samples of 200 packets and more");
    site.redirector.stop()
}

#[test]
fn the_oldest_dumps_go_and_many_new_flows_push_out_neither_a_reset_nor_an_event() -> Result<()> {
    let config = "[recorder]\npackets_max = 64\ndumps_max = 2\n";
    let mut site = Greeters::start_behind(Version::V4, "", |_| Ok(format!("\n{config}")))?;
    let api = site.redirector.api()?;
    // A flow that ends by force: its packet is of another class than those that begin flows.
    let (stream, _) = site.connect()?;
    let moved = json!({ "server": "s2", "policy": { "kind": "reset" } });
    let answer = api.send_json(Method::PUT, "/v1/associations/disk", &moved)?;
    ensure!(answer.status == 200, "{answer:?}");
    let is_reset = |packet: &&Packet| packet.reason() == "reset_retired";
    let dump = || -> Result<(String, Vec<Line>)> {
        let made = api.send(Method::POST, "/v1/recorder/dumps", &[], Vec::new())?.accepted()?;
        let name = made["name"].as_str().context("a name")?.to_owned();
        let got = site.redirector.cli(&["record", "get", &name])?;
        Ok((name, capture::read(&got.stdout)?))
    };
    let mut names = Vec::new();
    wait::until("the reset in a dump", DUMPED_WITHIN, || {
        let (name, lines) = dump()?;
        names.push(name);
        let is_there = packets(&lines).iter().any(is_reset);
        Ok(if is_there { Look::Done(()) } else { Look::NotYet(format!("{lines:?}")) })
    })?;
    drop(stream);
    for _ in 0..300 {
        drop(site.connect()?);
    }
    let (name, lines) = dump()?;
    names.push(name);
    let shown: Value = api.get("/v1/recorder")?;
    let lost = ["overwritten", "left_out"].map(|field| shown[field].as_u64().unwrap_or_default());
    ensure!(lost.iter().sum::<u64>() > 100, "no flood: {shown}");
    ensure!(packets(&lines).iter().any(is_reset), "the reset is gone");
    ensure!(messages(&lines).iter().any(|text| text.starts_with("move: ")), "the move is gone");
    dump()?;
    let (last, _) = dump()?;
    let kept = dumps(&api)?;
    ensure!(kept.len() == 2 && kept.last() == Some(&last), "{kept:?}");
    let dir = site.redirector.socket().with_file_name("state/recorder");
    let files: BTreeSet<_> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(files.len() == 2, "{files:?}");
    site.redirector.stop()
}
