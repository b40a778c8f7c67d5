//! TFTP: each transfer goes on at a port that the server chooses, so its device has all those
//! ports, and the server's first answer comes from one that no client has asked yet.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::Greeters;
use redirector_tests::process::{Process, run_to_end};
use redirector_tests::random::Random;
use redirector_tests::wait;
use reqwest::Method;
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(20);
/// Not a multiple of a block, and some hundred of them.
const FILE_LEN: usize = 200_001;

fn dnsmasq(site: &Greeters, server: usize, dir: &Path) -> Result<Process> {
    let name = format!("dnsmasq-s{}", server + 1);
    let arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--port=0",
        "--enable-tftp",
        &format!("--tftp-root={}", dir.display()),
    ];
    let keeping = site.keeping();
    keeping.launch(&name, &site.servers[server]).start(Path::new("dnsmasq"), &arguments)
}

/// A file over TFTP from the device `boot`.
fn fetch(site: &Greeters, name: &str, into: &Path) -> Result<Vec<u8>> {
    let host = match site.service().ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let url = format!("tftp://{host}/{name}");
    let into = into.to_string_lossy();
    let keeping = site.keeping();
    let launch = keeping.launch("curl", &site.client);
    let command = ["curl", "--silent", "--show-error", "--max-time", "5", "--output", &into, &url];
    run_to_end(&launch, &command, WITHIN)?.success("curl")?;
    std::fs::read(into.as_ref()).context("what curl has written")
}

fn transfers(version: Version) -> Result<()> {
    let mut site = Greeters::start(version, "")?;
    let dir = site.dir().to_owned();
    let mut random = Random::new(7);
    let mut servers = Vec::new();
    let mut files = Vec::new();
    for server in 0..2 {
        let root = dir.join(format!("tftp-s{}", server + 1));
        std::fs::create_dir(&root).context("make a directory to serve")?;
        let content: Vec<u8> = (0..FILE_LEN).map(|_| random.bits() as u8).collect();
        std::fs::write(root.join("image"), &content).context("write a file to serve")?;
        servers.push(dnsmasq(&site, server, &root)?);
        files.push(content);
    }
    let api = site.redirector.api()?;
    let device = json!({
        "address": site.service().ip(), "port": 69, "ports": ["70-65535"], "protocol": "udp",
        "servers": ["s1", "s2"], "server": "s1",
    });
    api.send_json(Method::PUT, "/v1/devices/boot", &device)?.accepted()?;
    for (server, expected) in ["s1", "s2"].into_iter().zip(&files) {
        api.move_device("boot", server)?;
        let got = wait::until_ok("a transfer", WITHIN, || fetch(&site, "image", &dir.join("got")))?;
        ensure!(got == *expected, "{version:?}: not the file of {server}");
    }
    site.redirector.stop()
}

#[test]
fn a_file_comes_over_tftp_of_ipv4_from_the_server_that_has_the_device() -> Result<()> {
    transfers(Version::V4)
}

#[test]
fn a_file_comes_over_tftp_of_ipv6_from_the_server_that_has_the_device() -> Result<()> {
    transfers(Version::V6)
}
