//! The command line against the real API on a real socket.

mod apply;
mod declare;
mod help;

use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::{Args, Command, Exit, ask};
use crate::api::tests::harness::Lab;

/// What a command printed and how it ended.
#[derive(Debug)]
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

/// Runs `redirector --api unix:SOCKET WORDS`.
async fn run(socket: &Path, words: &str) -> Ran {
    let api = format!("unix:{}", socket.display());
    let typed = ["redirector", "--api", &api].into_iter().chain(words.split_whitespace());
    let args = Args::try_parse_from(typed).unwrap_or_else(|error| panic!("{words}: {error}"));
    let Command::Ask(command) = args.command else { panic!("{words} asks nobody") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit =
        ask(command, &args.options, &mut out, &mut err).await.expect("memory can be written");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    Ran { exit, out: text(out), err: text(err) }
}

#[test]
fn the_arguments_are_consistent() {
    Args::command().debug_assert();
}

#[test]
fn wrong_usage_is_refused_with_exit_code_2_and_a_hint() {
    for (words, hint) in [
        ("device move disk-a", "--to <SERVER>"),
        ("device list --output yaml", "possible values: table, json"),
        ("association set disk-a", "write DEVICE=SERVER"),
        ("--api ftp://x status", "write unix:/path/to/socket or http://"),
        ("--api unix: status", "write unix:/path/to/socket or http://"),
        ("server add s4 --address nowhere", "invalid IP address"),
        ("device add d --address 10.0.0.1 --port 0 --servers s1", "0 is not in 1.."),
        ("device add d --address 10.0.0.1 --port 1 --ports 9-1 --servers s1", "write one such as"),
        ("device add d --address ::1 --port 1 --forwarding x --servers s1", "full-nat"),
        ("device show ..", "a name has at least"),
        ("run", "--config <FILE>"),
        ("fly", "unrecognized subcommand"),
    ] {
        let typed = ["redirector"].into_iter().chain(words.split_whitespace());
        let error = Args::try_parse_from(typed).expect_err(words);
        assert_eq!(error.exit_code(), 2, "{words}");
        assert!(error.to_string().contains(hint), "{words}: {error}");
    }
}

#[tokio::test]
async fn lists_are_aligned_tables() {
    let (_directory, socket) = Lab::on_socket().await;
    let devices = run(&socket, "device list").await;
    assert_eq!(
        devices.out,
        "DEVICE  SERVICE               SERVER  BACKUP  FLOWS    SENT  RECEIVED  DRAINING\n\
         disk-a  10.0.1.100:10809/tcp  s1      -           3  1000 B    1000 B  -\n\
         disk-b  10.0.1.101:10809/tcp  s2      -           3  1000 B    1000 B  -\n"
    );
    assert_eq!((devices.exit, devices.err.as_str()), (Exit::Done, ""));
    let servers = run(&socket, "server list").await;
    assert_eq!(
        servers.out,
        "SERVER  ADDRESS    STATE   HEALTH   PROBE MS      LOAD  EXPECTED  FLOWS    SENT  DEVICES\n\
         s1      10.0.2.11  active  healthy      0.50  95 % cpu     120 %      3  1000 B  disk-a\n\
         s2      10.0.2.12  active  healthy      0.50         -         -      3  1000 B  disk-b\n\
         s3      10.0.2.13  active  healthy      0.50         -         -      0  1000 B  -\n"
    );
    let associations = run(&socket, "association list").await;
    assert!(associations.out.starts_with("DEVICE  SERVER  BACKUP  EPOCH  CAUSE"));
}

#[tokio::test]
async fn one_thing_is_shown_as_pairs() {
    let (_directory, socket) = Lab::on_socket().await;
    let server = run(&socket, "server show s1").await;
    assert!(server.out.contains("next hop      02:00:00:00:00:07 on servers0\n"), "{}", server.out);
    let device = run(&socket, "device show disk-a").await;
    assert!(device.out.contains("when moved    open flows stay for 1 h 0 min\n"), "{}", device.out);
    assert!(device.out.contains("requests      7, 12.5/s now\n"), "{}", device.out);
    let status = run(&socket, "status").await;
    assert!(status.out.contains("flows          6 of 262144\n"), "{}", status.out);
    assert!(status.out.contains("servers0       3  02:00:00:00:00:01  native"), "{}", status.out);
}

#[tokio::test]
async fn a_move_says_where_the_device_is_and_what_drains() {
    let (_directory, socket) = Lab::on_socket().await;
    let moved = run(&socket, "device move disk-a --to s2 --deadline-ms 60000").await;
    assert_eq!(moved.exit, Exit::Done, "{}", moved.err);
    let line =
        "device disk-a is reached through s2; open flows: 3 on s1 until 2026-01-31T12:01:00.000Z\n";
    assert!(moved.out.starts_with(line), "{}", moved.out);
    let set = run(&socket, "association set disk-a=s3 disk-b=s3 --policy reset").await;
    assert_eq!(set.exit, Exit::Done, "{}", set.err);
    assert!(set.out.contains("device disk-b is reached through s3\n"), "{}", set.out);
    let events = run(&socket, "events --after 1").await;
    assert!(
        events.out.starts_with("ID  AT                        KIND    WHAT\n"),
        "{}",
        events.out
    );
    assert_eq!(events.out.lines().count(), 2);
}

#[tokio::test]
async fn servers_and_devices_come_and_go() {
    let (_directory, socket) = Lab::on_socket().await;
    for (words, says) in [
        ("server add s4 --address 10.0.2.14", "server        s4\n"),
        ("server drain s4", "server s4 is draining"),
        ("server activate s4", "server s4 is filling"),
        ("server deactivate s4", "server s4 is inactive"),
        ("server fail s4", "server s4 is failed"),
        ("server remove s4", "server s4 is removed\n"),
        (
            "device add disk-c --address 10.0.1.102 --port 3260 --servers s1,s2 --policy keep",
            "when moved    open flows stay\n",
        ),
        ("device remove disk-c", "device disk-c is removed\n"),
        (
            "device add disk-d --address 10.0.1.103 --port 80 --servers s1 --check http \
             --check-with path=/health --check-with status_max=299 --fall 4",
            "check         http path=/health status_max=299\n",
        ),
        ("server add v6 --address fd00:2::11", "address       fd00:2::11\n"),
        (
            "server add s5 --address 10.0.2.15 --metrics-url http://10.0.2.15:9100/metrics \
             --agent-address 10.0.2.15:9999 --bytes-per-second-max 125000000",
            "server        s5\n",
        ),
        (
            "device add nas --address fd00:1::20 --port 2049 --ports 111,20048-20060 --servers v6 \
             --affinity client --mss-max 1400 --tcp-idle-timeout-ms 60000 --on-overload reset",
            "service       [fd00:1::20]:111,2049,20048-20060/tcp\n",
        ),
        ("device show nas", "affinity      client\nmss max       1400 bytes\nidle timeout  1 min"),
        (
            "device move-client nas fd00:1::11 --to v6 --open-flows reset",
            "client fd00:1::11 of nas: new flows go to v6; 0 were reset\n",
        ),
        (
            "device add raw --address 10.0.1.104 --protocol any --servers s1 --tracking stateless",
            "service       10.0.1.104/any\n",
        ),
        ("device show raw", "server port   -\nforwarding    nat\ntracking      stateless\n"),
        (
            "device add direct --address 10.0.1.105 --port 80 --servers s1 --forwarding dsr",
            "forwarding    dsr\n",
        ),
    ] {
        let ran = run(&socket, words).await;
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{words}");
        assert!(ran.out.contains(says), "{words}: {}", ran.out);
    }
}

#[tokio::test]
async fn a_plan_is_shown_applied_and_cannot_be_applied_twice() {
    let (_directory, socket) = Lab::on_socket().await;
    let plan = run(&socket, "plan").await;
    assert_eq!(plan.exit, Exit::Done, "{}", plan.err);
    assert!(plan.out.contains("hottest server  95 %, with the moves 50 %, at best 50 %\n"));
    assert!(plan.out.contains("server s3 takes nothing: it is draining\n"), "{}", plan.out);
    let row = "disk-a  s1    s2  overload  120.0  0.020  s1 goes from 95.0 % to 50.0 % of its cpu";
    assert!(plan.out.contains(row), "{}", plan.out);
    let stale = run(&socket, "plan apply --generation 99").await;
    assert!(stale.err.contains("the state is at generation"), "{}", stale.err);
    let applied = run(&socket, "plan apply").await;
    assert!(applied.out.contains("state           applied\n"), "{}", applied.out);
    let again = run(&socket, "plan discard").await;
    assert_eq!(again.exit, Exit::Failed);
    assert!(again.err.contains("there is no plan with a move in it"), "{}", again.err);
}

#[tokio::test]
async fn add_never_replaces() {
    let (_directory, socket) = Lab::on_socket().await;
    let ran = run(&socket, "server add s1 --address 10.0.2.99").await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("the server s1 exists already"), "{}", ran.err);
    let ran = run(&socket, "server show s1").await;
    assert!(ran.out.contains("10.0.2.11"), "{}", ran.out);
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_on_standard_error_and_exits_1() {
    let (_directory, socket) = Lab::on_socket().await;
    let ran = run(&socket, "device move disk-a --to s9").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Failed, ""));
    assert!(ran.err.starts_with("redirector: server: there is no server s9"), "{}", ran.err);
    let words = "device add disk-c --address 224.0.0.1 --port 3260 --servers s8,s9";
    let ran = run(&socket, words).await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.starts_with("redirector: 3 mistakes:\n  address: "), "{}", ran.err);
    assert!(ran.err.contains("\n  servers[1]: there is no server s9"), "{}", ran.err);
    let ran = run(&socket, "device show a/b").await;
    assert!(ran.err.contains("there is no device a/b"), "{}", ran.err);
}

#[tokio::test]
async fn arguments_that_do_not_fit_together_exit_2() {
    let (_directory, socket) = Lab::on_socket().await;
    let words = "device add d --address 10.0.1.103 --port 80 --servers s1 --check smb \
                 --check-with export=a";
    let ran = run(&socket, words).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("--check-with export: only `nbd` has it"), "{}", ran.err);
    let ran = run(&socket, "device add d --address 10.0.1.103 --servers s1").await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("--port is missing: only --protocol any"), "{}", ran.err);
    let words = "device move disk-a --to s2 --policy keep --deadline-ms 5";
    let ran = run(&socket, words).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("only `drain` has a deadline"), "{}", ran.err);
}

#[tokio::test]
async fn top_for_programs_is_one_line_with_the_answers_of_the_api() {
    let (_directory, socket) = Lab::on_socket().await;
    for words in ["--output json top", "top --output json --once"] {
        let ran = run(&socket, words).await;
        assert_eq!((ran.exit, ran.out.lines().count()), (Exit::Done, 1), "{}", ran.out);
        let look: Value = serde_json::from_str(&ran.out).expect("it is JSON");
        let servers = ("servers", "/v1/servers?brief=true");
        for (part, path) in [("status", "/v1/status"), servers, ("devices", "/v1/devices")] {
            assert_eq!(look[part], Lab::new().get(path).await.json(), "{part}");
        }
        assert!(look["events"]["items"].is_array(), "{look}");
    }
}

#[tokio::test]
async fn json_output_is_the_body_of_the_api_unchanged() {
    let (_directory, socket) = Lab::on_socket().await;
    let ran = run(&socket, "--output json device show disk-a").await;
    let body: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(body["association"]["server"], "s1");
    let direct = Lab::new().get("/v1/devices/disk-a").await;
    assert_eq!(ran.out.as_bytes(), direct.bytes);
    let ran = run(&socket, "--output json device show disk-z").await;
    let problem: Value = serde_json::from_str(&ran.err).expect("it is JSON");
    assert_eq!((ran.exit, &problem["code"]), (Exit::Failed, &json!("unknown_device")));
}

#[tokio::test]
async fn what_is_exported_differs_in_nothing_when_it_is_applied() {
    let (directory, socket) = Lab::on_socket().await;
    let exported = run(&socket, "export").await;
    assert_eq!((exported.exit, exported.err.as_str()), (Exit::Done, ""));
    assert!(
        exported.out.contains("[devices.disk-a]\naddress = \"10.0.1.100\"\n"),
        "{}",
        exported.out
    );
    let file = directory.path().join("site.toml");
    std::fs::write(&file, &exported.out).expect("a file");
    let applied = run(&socket, &format!("apply {} --yes", file.display())).await;
    assert_eq!((applied.out.as_str(), applied.err.as_str()), ("", "nothing differs\n"));
    let exported = run(&socket, "--output json export").await;
    let file = directory.path().join("site.json");
    std::fs::write(&file, &exported.out).expect("a file");
    let applied = run(&socket, &format!("apply {} --yes", file.display())).await;
    assert_eq!((applied.out.as_str(), applied.err.as_str()), ("", "nothing differs\n"));
}

#[tokio::test]
async fn apply_shows_the_difference_and_makes_it_only_when_told_to() {
    let (directory, socket) = Lab::on_socket().await;
    let file = directory.path().join("site.toml");
    let site = "[servers.s1]\naddress = \"10.0.2.11\"\nstate = \"draining\"\n\
                [servers.s4]\naddress = \"10.0.2.14\"\n\
                [devices.disk-c]\naddress = \"10.0.1.102\"\nport = 3260\nservers = [\"s4\"]\n";
    std::fs::write(&file, site).expect("a file");
    let shown = run(&socket, &format!("apply {}", file.display())).await;
    let lines: Vec<&str> = shown.out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        lines,
        [
            "- device disk-a",
            "- device disk-b",
            "~ server s1",
            "+ server s4",
            "+ device disk-c",
            "- server s2",
            "- server s3"
        ],
        "{}",
        shown.out
    );
    assert!(shown.out.contains("    state: \"active\" -> \"draining\"\n"), "{}", shown.out);
    assert_eq!(shown.err, "nothing is changed yet: repeat it with --yes\n");
    assert!(run(&socket, "device show disk-a").await.exit == Exit::Done, "it only showed");
    let done = run(&socket, &format!("apply {} --yes", file.display())).await;
    assert_eq!((done.exit, done.err.as_str()), (Exit::Done, "7 steps are done\n"));
    let again = run(&socket, &format!("apply {} --yes", file.display())).await;
    assert_eq!(again.err, "nothing differs\n");
    std::fs::write(&file, "[servers.s9]\ncolour = 1\n").expect("a file");
    let wrong = run(&socket, &format!("apply {}", file.display())).await;
    assert_eq!(wrong.exit, Exit::Failed);
    assert!(wrong.err.contains("unknown field `colour`"), "{}", wrong.err);
}

#[tokio::test]
async fn wait_ends_when_nothing_drains_any_more() {
    let (_directory, socket) = Lab::on_socket().await;
    let moved = run(&socket, "--wait device move disk-a --to s2 --policy reset").await;
    assert_eq!((moved.exit, moved.err.as_str()), (Exit::Done, ""));
    let words = "--wait device move disk-a --to s3 --deadline-ms 60000";
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(1500), run(&socket, words));
    assert!(waiting.await.is_err(), "three flows drain in this lab for ever");
}

#[tokio::test]
async fn a_question_about_a_death_says_what_would_move() {
    let (_directory, socket) = Lab::on_socket().await;
    let death = run(&socket, "explain death s1").await;
    assert_eq!(death.exit, Exit::Done, "{}", death.err);
    assert!(death.out.starts_with("if s1 died, 3 open flows would be reset\n"), "{}", death.out);
    let unknown = run(&socket, "explain death s9").await;
    assert!(unknown.err.contains("there is no server s9"), "{}", unknown.err);
    let closed = run(&socket, "flow close tcp-10.0.1.11-1-10.0.1.100-10809").await;
    assert!(closed.err.contains("there is no open flow"), "{}", closed.err);
    let flows = run(&socket, "flow list --device disk-a").await;
    assert!(flows.exit == Exit::Done && flows.out.starts_with("DEVICE"), "{flows:?}");
    let closed = run(&socket, "flow close nonsense").await;
    assert!(closed.err.contains("looks like tcp-10.0.1.11"), "{}", closed.err);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_exits_3_and_says_where_it_was_sought() {
    let ran = run(Path::new("/nonexistent/api.sock"), "status").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Unreachable, ""));
    assert!(ran.err.contains("unix:/nonexistent/api.sock: No such file"), "{}", ran.err);
    assert!(ran.err.contains("redirector run"), "{}", ran.err);
}

#[tokio::test]
async fn another_program_at_the_address_is_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("other.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno").await;
    });
    let ran = run(&socket, "status").await;
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("is it another program?"), "{}", ran.err);
}
