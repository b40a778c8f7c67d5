//! The dashboard in a real browser, in the gateway's namespace, against the real daemon: what it
//! shows, what can be done with it, and what it says when the daemon does not answer. Screenshots
//! are left in `artefacts/dashboard`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{API, Greeters, echo};
use redirector_tests::netns::Namespace;
use redirector_tests::wait::{self, Look};

/// A step on a busy machine; the first one starts the browser.
const STEP_WITHIN: Duration = Duration::from_secs(120);
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// The second device's port at the servers.
const ARCHIVE_PORT: u16 = 7101;

/// The browser and the program that drives it.
struct Browser {
    child: Child,
    steps: ChildStdin,
    answers: Receiver<String>,
}

impl Browser {
    fn start(gateway: &Namespace) -> Result<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = tests.join("ui/dashboard.js");
        ensure!(
            tests.join("ui/node_modules/playwright-core").is_dir(),
            "playwright-core is not installed: cargo xtask setup installs it"
        );
        let pictures: PathBuf = tests.join("../artefacts/dashboard");
        fs::create_dir_all(&pictures).context("make the directory of the screenshots")?;
        let mut command = gateway.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "node"]).arg(script);
        command.arg(format!("http://{API}/")).arg(pictures);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("start node (package nodejs)")?;
        let steps = child.stdin.take().context("node has no standard input")?;
        let output = child.stdout.take().context("node has no standard output")?;
        let (said, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, steps, answers })
    }

    /// Takes a step of `ui/dashboard.js`.
    fn step(&mut self, name: &str) -> Result<()> {
        writeln!(self.steps, "{name}").context("the browser's program has ended")?;
        let answer = self.answers.recv_timeout(STEP_WITHIN);
        let answer = answer.with_context(|| format!("no word of the step {name}"))?;
        ensure!(answer == format!("done {name}"), "{answer}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends by itself when its program has gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes connections and drops them, which is all that a check by connecting asks for.
fn take_connections(server: &Namespace) -> Result<()> {
    let listener = server.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ARCHIVE_PORT))?;
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

fn wait_until_on(site: &Greeters, server: &str) -> Result<()> {
    let api = site.redirector.api()?;
    wait::until(&format!("disk to be on {server}"), SEEN_WITHIN, || {
        let devices = api.devices()?;
        let disk = devices.iter().find(|device| device.name == "disk").context("no disk")?;
        Ok(match disk.association.server == server {
            true => Look::Done(()),
            false => Look::NotYet(disk.association.server.clone()),
        })
    })
}

#[test]
fn the_dashboard_shows_moves_and_survives_what_happens_to_a_site() -> Result<()> {
    let archive = format!(
        "\n[[device]]\nname = \"archive\"\naddress = \"10.1.0.100\"\nport = 7001\n\
         server_port = {ARCHIVE_PORT}\nservers = [\"s1\", \"s2\"]\nserver = \"s2\""
    );
    let mut site = Greeters::start(Version::V4, &archive)?;
    site.servers.iter().try_for_each(take_connections)?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (mut stream, name) = wait::until_ok("a connection", SEEN_WITHIN, || site.connect())?;
        ensure!(name == "s1", "disk is on {name}");
        echo(&mut stream)?;
        streams.push(stream);
    }

    let mut browser = Browser::start(&site.gateway)?;
    for step in ["look", "dark", "phone", "filter", "move"] {
        browser.step(step)?;
    }
    wait_until_on(&site, "s2")?;
    streams.iter_mut().try_for_each(echo).context("a flow that drains")?;
    browser.step("drain")?;
    streams.truncate(1);
    browser.step("drained")?;
    browser.step("keyboard")?;
    wait_until_on(&site, "s1")?;

    site.gateway.ip(&["link set to-s1 down"])?;
    browser.step("failover")?;
    wait_until_on(&site, "s2")?;

    site.redirector.stop()?;
    browser.step("lost")?;
    site.redirector.start(&site.gateway)?;
    browser.step("back")?;
    drop(browser);
    site.redirector.stop()
}
