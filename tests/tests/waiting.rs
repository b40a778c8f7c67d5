//! Clients that only wait hear of their server's death too.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::fault::Fault;
use redirector_tests::flows::server_name;
use redirector_tests::lab::{Lab, Plan};

/// Long before a keepalive or a retransmission would tell.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection to the service address, greeted, that has nothing left to send.
fn waiting(lab: &Lab) -> Result<(TcpStream, String)> {
    let service = lab.device("echo-a")?.service();
    let mut stream = lab.client("c1")?.enter(|| Ok(TcpStream::connect(service)?))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut greeting = [0; 64];
    let len = stream.read(&mut greeting)?;
    let greeting = String::from_utf8_lossy(&greeting[..len]).into_owned();
    Ok((stream, server_name(&greeting).to_owned()))
}

fn hears_of_death_by(fault: Fault) -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let (mut stream, server) = waiting(&lab)?;
    fault.inject(&mut lab, &server).context("kill the server")?;
    let heard = stream.read(&mut [0; 64]);
    let kind = heard.as_ref().map_err(std::io::Error::kind);
    ensure!(kind == Err(ErrorKind::ConnectionReset), "{fault}: the client heard {heard:?}");
    Ok(())
}

#[test]
fn a_client_that_waits_is_reset_when_its_server_is_cut_off() -> Result<()> {
    hears_of_death_by(Fault::Cut)
}

#[test]
fn a_client_that_waits_is_reset_when_its_servers_programs_stop() -> Result<()> {
    hears_of_death_by(Fault::Stop)
}
