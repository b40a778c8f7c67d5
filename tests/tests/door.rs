//! The API beyond loopback, reached from another host: nothing is read or changed without
//! credentials, nothing without TLS, and no start that would allow it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use redirector_tests::data_path::Version;
use redirector_tests::door::{Age, Authority, Door, ROLES, new_token, write};
use redirector_tests::greeters::Greeters;
use redirector_tests::wait::{self, Look};
use reqwest::blocking::Client;
use serde_json::Value;

/// The gateway's address at the client's side.
const LISTEN: &str = "10.1.0.1:7443";
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// What is no operation of the document, but has to be closed, too.
const BESIDES: [(&str, &str); 4] = [
    ("GET", "/openapi.json"),
    ("HEAD", "/v1/status"),
    ("GET", "/nowhere"),
    ("PATCH", "/v1/status"),
];

fn site() -> Result<(Greeters, Door)> {
    let (mut made, listen) = (None, LISTEN.parse()?);
    let site = Greeters::start_behind(Version::V4, "", |dir| {
        let door = made.insert(Door::make(dir, listen)?);
        Ok(door.config())
    })?;
    Ok((site, made.context("no door was made")?))
}

/// An operation of the committed document.
struct Operation {
    method: String,
    path: String,
    least: usize,
}

/// All operations, each with the place of its least role in [`ROLES`].
fn operations() -> Result<Vec<Operation>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../redirector-ctl/openapi.json");
    let document: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for (method, operation) in item.as_object().context("no operations")? {
            let role = operation["security"][0]["bearer"][0].as_str();
            let role = role.with_context(|| format!("{method} {path} has no role"))?;
            let least = ROLES.iter().position(|known| *known == role).context("unknown role")?;
            for status in ["401", "403"] {
                let said = &operation["responses"][status];
                ensure!(said.is_object(), "{method} {path} does not document {status}");
            }
            all.push(Operation { method: method.to_uppercase(), path: path.clone(), least });
        }
    }
    ensure!(all.len() >= 20, "only {} operations", all.len());
    Ok(all)
}

impl Operation {
    /// Its path with these names in it.
    fn at(&self, server: &str, device: &str) -> String {
        let name = if self.path.starts_with("/v1/servers") { server } else { device };
        let path = self.path.replace("{name}", name).replace("{device}", device);
        let query =
            if path == "/v1/explain/death" { format!("?server={server}") } else { "".into() };
        path.replace("{id}", "none") + &query
    }

    /// A body that would change something, where one is wanted.
    fn body(&self) -> &'static str {
        match (self.method.as_str(), self.path.as_str()) {
            ("PUT", "/v1/associations/{device}") => r#"{"server":"s2"}"#,
            ("PATCH", "/v1/associations") => {
                r#"{"associations":[{"device":"disk","server":"s2"}]}"#
            }
            ("PATCH", "/v1/devices") => r#"{"remove":["disk"]}"#,
            ("PATCH", "/v1/servers/{name}") => r#"{"state":"inactive"}"#,
            ("PUT", "/v1/servers/{name}") => r#"{"address":"10.2.0.99"}"#,
            ("PUT", "/v1/devices/{name}") => r#"{"address":"10.1.0.99","port":9,"servers":["s1"]}"#,
            _ => "{}",
        }
    }
}

fn generation(site: &Greeters) -> Result<u64> {
    site.redirector.api()?.status()?["generation"].as_u64().context("no generation")
}

/// Checks that nothing was told: a problem that names nothing of the site.
fn tells_nothing(answer: &redirector_tests::door::Answer) -> bool {
    let is_problem = answer.kind == "application/problem+json";
    is_problem && !["disk", "s1", "10.1.0.100"].iter().any(|word| answer.body.contains(word))
}

#[test]
fn nothing_is_read_or_changed_without_credentials_or_beyond_a_role() -> Result<()> {
    let (mut site, door) = site()?;
    let client = door.client(&site.client, None)?;
    let before = generation(&site)?;
    let operations = operations()?;
    let named =
        operations.iter().map(|one| (one.method.as_str(), one.at("s1", "disk"), one.body()));
    let besides = BESIDES.iter().map(|(method, path)| (*method, (*path).to_owned(), "{}"));
    let strange = "rdr_".to_owned() + &"0".repeat(64);
    for (method, path, body) in named.chain(besides) {
        for token in [None, Some(strange.as_str())] {
            // The rate of failures is another test's.
            let answer = wait::until("an answer in full", SEEN_WITHIN, || {
                let answer = door.ask(&client, (method, &path), token, body)?;
                Ok(match answer.status {
                    429 => Look::NotYet("429".to_owned()),
                    _ => Look::Done(answer),
                })
            })?;
            let is_told = method != "HEAD" && !tells_nothing(&answer);
            ensure!(answer.status == 401 && !is_told, "{method} {path} {token:?}: {answer:?}");
            ensure!(answer.challenge.starts_with("Bearer realm="), "{method} {path}: {answer:?}");
        }
    }
    let mut forbidden = 0;
    for (has, token) in door.tokens.iter().enumerate() {
        for one in &operations {
            // What is allowed is asked of things that there are not, so that all stays as it is.
            let is_allowed = has >= one.least;
            let path = if is_allowed { one.at("nobody", "nothing") } else { one.at("s1", "disk") };
            let body = if is_allowed { "{" } else { one.body() };
            let answer = door.ask(&client, (&one.method, &path), Some(token), body)?;
            let refused = answer.status == 403;
            forbidden += usize::from(refused);
            ensure!(
                answer.status != 401
                    && refused != is_allowed
                    && (!refused || tells_nothing(&answer)),
                "{} {path} as {}: {answer:?}",
                one.method,
                ROLES[has]
            );
            if refused {
                ensure!(answer.body.contains(&format!("this needs {}", ROLES[one.least])));
            }
        }
    }
    ensure!(forbidden > 10, "only {forbidden} refusals");
    for one in operations.iter().filter(|one| one.method != "GET" && one.path != "/v1/explain") {
        ensure!(one.least > 0, "a viewer may {} {}", one.method, one.path);
    }
    assert_eq!(generation(&site)?, before, "something has changed");
    for path in ["/", "/ui/main.js"] {
        let answer = door.ask(&client, ("GET", path), None, "")?;
        ensure!(answer.status == 200 && !answer.body.contains("10.1.0.100"), "{path}: {answer:?}");
    }
    site.redirector.stop()
}

#[test]
fn names_are_in_the_audit_lines_and_a_withdrawn_token_is_good_no_more() -> Result<()> {
    let (mut site, door) = site()?;
    let client = door.client(&site.client, None)?;
    let [_, operator, admin] = &door.tokens;
    let path = ("PUT", "/v1/associations/disk");
    let answer = door.ask(&client, path, Some(operator), r#"{"server":"s2"}"#)?;
    ensure!(answer.status == 200, "{answer:?}");
    let caller = door.ask(&client, ("GET", "/v1/caller"), Some(operator), "")?;
    ensure!(caller.body == r#"{"name":"a-operator","role":"operator"}"#, "{caller:?}");
    let log = |text: &str| {
        wait::until(&format!("{text:?} in the log"), SEEN_WITHIN, || {
            let log = site.redirector.log_tail();
            Ok(if log.contains(text) { Look::Done(()) } else { Look::NotYet(log) })
        })
    };
    log("caller=a-operator (operator) at 10.1.0.11:")?;

    // Many failures are not answered in full, and nobody is shut out by them.
    let statuses =
        (0..60).map(|_| Ok(door.ask(&client, ("GET", "/v1/status"), Some("x"), "")?.status));
    let statuses = statuses.collect::<Result<Vec<u16>>>()?;
    let limited = statuses.iter().filter(|status| **status == 429).count();
    ensure!(limited > 20 && statuses[0] == 401, "{statuses:?}");
    ensure!(door.ask(&client, ("GET", "/v1/status"), Some(admin), "")?.status == 200);
    log("what=\"log in\" outcome=\"wrong_token\"")?;

    let file = fs::read_to_string(door.path("credentials"))?;
    let without: String = file
        .lines()
        .filter(|line| !line.contains("a-admin"))
        .map(|line| format!("{line}\n"))
        .collect();
    write(&door.path("credentials"), &without, 0o640)?;
    site.redirector.signal(Signal::SIGHUP)?;
    let gone = |token: &str| {
        wait::until("the token to be withdrawn", SEEN_WITHIN, || {
            let status = door.ask(&client, ("GET", "/v1/status"), Some(token), "")?.status;
            Ok(if status == 200 { Look::NotYet("200".to_owned()) } else { Look::Done(()) })
        })
    };
    gone(admin)?;

    // Without a signal, and not if the file is broken.
    let (fresh, line) = new_token("zoe", "viewer")?;
    write(&door.path("credentials"), &format!("{without}{line}\nbroken\n"), 0o640)?;
    log("the API's door stays as it was")?;
    ensure!(door.ask(&client, ("GET", "/v1/status"), Some(operator), "")?.status == 200);
    write(&door.path("credentials"), &format!("{without}{line}\n"), 0o640)?;
    wait::until("the new token to be known", SEEN_WITHIN, || {
        let status = door.ask(&client, ("GET", "/v1/status"), Some(&fresh), "")?.status;
        Ok(if status == 200 { Look::Done(()) } else { Look::NotYet(status.to_string()) })
    })?;
    site.redirector.stop()
}

/// Why there is no answer, with all causes.
fn no_answer(door: &Door, client: &Client) -> Result<String> {
    match door.ask(client, ("GET", "/v1/status"), None, "") {
        Ok(answer) => anyhow::bail!("there is an answer: {answer:?}"),
        Err(error) => Ok(format!("{error:#}").to_lowercase()),
    }
}

#[test]
fn certificates_let_in_whom_they_name_and_nobody_else() -> Result<()> {
    let (mut site, door) = site()?;
    let client = |authority: &Authority, name: &str, age| {
        door.client(&site.client, Some(&authority.certify(name, &[], age)?))
    };
    let good = client(&door.authority, "a-laptop", Age::Good)?;
    ensure!(door.ask(&good, ("GET", "/v1/status"), None, "")?.status == 200);
    let put = ("PUT", "/v1/servers/s9");
    let answer = door.ask(&good, put, None, r#"{"address":"10.2.0.99"}"#)?;
    ensure!(answer.status == 403, "a laptop is an operator's: {answer:?}");
    let answer = door.ask(&good, ("GET", "/v1/status"), Some("rdr_wrong"), "")?;
    ensure!(answer.status == 401, "a wrong token is not made good by a certificate: {answer:?}");
    let stranger = client(&door.authority, "a-stranger", Age::Good)?;
    let answer = door.ask(&stranger, ("GET", "/v1/status"), None, "")?;
    ensure!(answer.status == 401 && answer.body.contains("unknown_certificate"), "{answer:?}");

    let said = no_answer(&door, &client(&door.authority, "a-laptop", Age::Expired)?)?;
    ensure!(said.contains("expired"), "{said}");
    let other = Authority::new("authority of the test")?;
    let said = no_answer(&door, &client(&other, "a-laptop", Age::Good)?)?;
    ensure!(
        ["decrypterror", "unknownca", "badcertificate"].iter().any(|why| said.contains(why)),
        "{said}"
    );
    site.redirector.stop()
}

fn raw(site: &Greeters, said: &[u8]) -> Result<Vec<u8>> {
    let at: SocketAddr = LISTEN.parse()?;
    let mut stream = site.client.enter(|| Ok(TcpStream::connect(at)?))?;
    stream.set_read_timeout(Some(SEEN_WITHIN))?;
    stream.write_all(said)?;
    // A connection that is cut after its last word, before ours, was heard all the same.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    Ok(heard)
}

/// A client's first word in TLS up to this version, with what the daemon's certificate needs
/// (RFC 5246, section 7.4.1.2).
fn hello(minor: u8) -> Vec<u8> {
    // Groups: secp256r1. Signatures: ECDSA on it with SHA-256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x23, 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[test]
fn plain_http_and_old_tls_are_refused() -> Result<()> {
    const HANDSHAKE: u8 = 22;
    // Type alert, version, length 2, fatal, protocol_version.
    const TOO_OLD: [u8; 2] = [2, 70];
    let (mut site, _door) = site()?;
    let heard = raw(&site, b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let heard = String::from_utf8_lossy(&heard);
    ensure!(heard.starts_with("HTTP/1.1 400") && heard.ends_with("https://\r\n"), "{heard}");
    for (minor, is_old) in [(1, true), (2, true), (3, false)] {
        let heard = raw(&site, &hello(minor))?;
        let is_good = match is_old {
            true => heard.len() == 7 && heard.ends_with(&TOO_OLD),
            false => heard.first() == Some(&HANDSHAKE),
        };
        ensure!(is_good, "TLS 1.{}: {heard:?}", minor - 1);
    }
    site.redirector.stop()
}

#[test]
fn the_command_line_shows_a_token_and_knows_its_authority() -> Result<()> {
    let (mut site, door) = site()?;
    let run = |more: &[&str]| -> Result<Output> {
        let mut command = site.client.command(site.redirector.program());
        let (api, ca) = (format!("https://{LISTEN}"), door.path("ca.pem"));
        command.args(["--api", &api, "--ca-file"]).arg(ca).args(more);
        Ok(command.output()?)
    };
    let token = |role: &str| door.path(&format!("{role}.token")).to_string_lossy().into_owned();
    let output = run(&["--token-file", &token("viewer"), "device", "list"])?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("disk"), "{output:?}");
    let moving = ["device", "move", "disk", "--to", "s2"];
    for (words, said) in [
        ([&["--token-file", &token("viewer")], &moving[..]].concat(), "this needs operator"),
        (moving.to_vec(), "redirector token new"),
    ] {
        let output = run(&words)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && error.contains(said), "{words:?}: {output:?}");
    }
    let output = run(&[&["--token-file", &token("operator")], &moving[..]].concat())?;
    ensure!(output.status.success(), "{output:?}");

    let mut command = site.client.command(site.redirector.program());
    command.args([
        "--api",
        &format!("http://{LISTEN}"),
        "--token-file",
        &token("viewer"),
        "status",
    ]);
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(error.contains("everybody on the way could read it"), "{output:?}");
    let mut command = site.client.command(site.redirector.program());
    command.args(["--api", &format!("https://{LISTEN}"), "status"]);
    let output = command.output()?;
    ensure!(output.status.code() == Some(3), "an authority that nobody knows: {output:?}");
    site.redirector.stop()
}

#[test]
fn a_start_with_an_open_door_is_refused_and_check_says_the_same() -> Result<()> {
    let (mut site, door) = site()?;
    site.redirector.stop()?;
    let config = fs::read_to_string(site.redirector.config())?;
    let without = |key: &str| {
        let lines = config.lines().filter(|line| !line.starts_with(key));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let other = Authority::new("another")?.certify("x", &[], Age::Good)?;
    write(&door.path("other.key"), &other.1, 0o600)?;
    write(&door.path("open.key"), &other.1, 0o644)?;
    write(&door.path("loose"), "anna admin cert:a\n", 0o666)?;
    write(&door.path("nobody"), "# nobody\n", 0o600)?;
    let plain =
        config.lines().filter(|line| !line.starts_with("tls_") && !line.starts_with("client_ca"));
    let plain: String = plain.map(|line| format!("{line}\n")).collect();
    for (name, config, said) in [
        ("no-credentials", without("credentials"), "set api.credentials too"),
        ("no-tls", plain, "set api.tls_certificate and api.tls_key too"),
        ("no-key", without("tls_key"), "does nothing without api.tls_key"),
        (
            "no-file",
            config.replace("door/credentials", "door/none"),
            "api.credentials: cannot read",
        ),
        ("loose", config.replace("door/credentials", "door/loose"), "chmod go-w it"),
        ("open-key", config.replace("door/tls.key", "door/open.key"), "chmod o-rw it"),
        ("nobody", config.replace("door/credentials", "door/nobody"), "it names nobody"),
        ("other-key", config.replace("door/tls.key", "door/other.key"), "cannot be used with"),
        ("no-pem", config.replace("door/tls.pem", "door/credentials"), "has no certificate in it"),
    ] {
        let ended = site.redirector.run_refused(&site.gateway, name, &config)?;
        ensure!(!ended.status.success() && ended.log.contains(said), "{name}: {}", ended.log);
        let file = site.redirector.config().with_file_name(format!("{name}.toml"));
        let mut check = std::process::Command::new(site.redirector.program());
        let output = check.args(["check", "--config"]).arg(file).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && error.contains(said), "check {name}: {output:?}");
    }
    site.redirector.start(&site.gateway)?;
    site.redirector.stop()
}
