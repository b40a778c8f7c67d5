//! A device of IPv6 under the real daemon: announced, served, moved over, and its waiting clients
//! told of a death.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use anyhow::{Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{Greeters, echo};
use redirector_tests::wait;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_device_of_ipv6_is_announced_served_and_taken_over() -> Result<()> {
    let mut site = Greeters::start(Version::V6, "")?;
    let (mut stream, name) = wait::until_ok("a first connection", DEADLINE, || site.connect())?;
    ensure!(name == "s1", "the device is on {name}");
    echo(&mut stream)?;

    site.gateway.ip(&["link set to-s1 down"])?;
    let heard = stream.read(&mut [0; 1]);
    let kind = heard.as_ref().map_err(std::io::Error::kind);
    ensure!(kind == Err(ErrorKind::ConnectionReset), "the waiting client heard {heard:?}");
    let (_, name) = wait::until_ok("a connection after the death", DEADLINE, || site.connect())?;
    ensure!(name == "s2", "the device is on {name}");
    site.redirector.stop()
}
