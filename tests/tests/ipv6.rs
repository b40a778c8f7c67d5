//! A device of IPv6 under the real daemon: announced, served, moved over, and its waiting clients
//! told of a death.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::process::{Keeping, Life};
use redirector_tests::redirector::{Bpffs, Redirector};
use redirector_tests::run::Run;
use redirector_tests::{wait, xdp_pass};

/// Where the clients connect.
const SERVICE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x100)), 7000);
/// Port of the device at its servers.
const SERVER_PORT: u16 = 7100;
const DEADLINE: Duration = Duration::from_secs(20);

/// A host behind an interface of the gateway; both ends have an address of fd0`number`::/64.
fn host(run: &Run, gateway: &Namespace, name: &str, number: u8, pass: &Path) -> Result<Namespace> {
    let host = Namespace::new(run, name)?;
    for namespace in [gateway, &host] {
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
    }
    let far = format!("to-{name}");
    gateway.ip(&[
        format!("link add {far} type veth peer name eth0 netns {}", host.name()),
        format!("address add fd0{number}::1/64 dev {far} nodad"),
        format!("link set {far} up"),
    ])?;
    host.ip(&[
        format!("address add fd0{number}::11/64 dev eth0 nodad"),
        "link set eth0 up".to_owned(),
        format!("route add default via fd0{number}::1"),
    ])?;
    // What the gateway's program sends reaches a veth's end only if that has a program too, and
    // only finished packets may come in.
    let pass = pass.to_string_lossy();
    host.ip(&[format!("link set dev eth0 xdpdrv pinned {pass}")])?;
    run_quietly(
        host.command("ethtool").args(["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"]),
    )?;
    Ok(host)
}

/// Greets with `name`, and says back what it hears, until it hears nothing more.
fn serve(host: &Namespace, name: &'static str) -> Result<()> {
    let listener: TcpListener =
        host.listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), SERVER_PORT))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut heard = [0; 64];
                let _ = stream.write_all(name.as_bytes());
                while let Ok(len @ 1..) = stream.read(&mut heard) {
                    if stream.write_all(&heard[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

fn config(run: &Run, bpffs: &Bpffs) -> String {
    let dir = run.dir().display();
    let mut text = format!(
        "[redirector]\nstate_dir = \"{dir}/state\"\nbpffs_dir = \"{}/redirector\"\n\n\
         [api]\nunix_socket = \"{dir}/api.sock\"\n\n\
         [[interface]]\nname = \"to-c1\"\nannounce = true\n\n\
         [[interface]]\nname = \"to-s1\"\n\n[[interface]]\nname = \"to-s2\"\n\n",
        bpffs.dir().display()
    );
    for (name, number) in [("s1", 2), ("s2", 3)] {
        text += &format!("[[server]]\nname = \"{name}\"\naddress = \"fd0{number}::11\"\n\n");
    }
    text += &format!(
        "[[device]]\nname = \"disk\"\naddress = \"{}\"\nport = {}\nserver_port = {SERVER_PORT}\n\
         servers = [\"s1\", \"s2\"]\nserver = \"s1\"\ncheck = \"greeting\"\n",
        SERVICE.ip(),
        SERVICE.port()
    );
    text
}

/// A connection, and the name of the server behind it.
fn connect(client: &Namespace) -> Result<(TcpStream, String)> {
    let mut stream = client.enter(|| {
        TcpStream::connect_timeout(&SERVICE, Duration::from_secs(2))
            .context("connect to the device")
    })?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut name = [0; 2];
    stream.read_exact(&mut name)?;
    Ok((stream, String::from_utf8_lossy(&name).into_owned()))
}

#[test]
fn a_device_of_ipv6_is_announced_served_and_taken_over() -> Result<()> {
    let run = Run::new()?;
    let bpffs = Bpffs::mount(&run)?;
    let pass = xdp_pass::load_and_pin(bpffs.dir())?;
    let gateway = Namespace::new(&run, "gateway")?;
    let client = host(&run, &gateway, "c1", 1, &pass)?;
    let (s1, s2) = (host(&run, &gateway, "s1", 2, &pass)?, host(&run, &gateway, "s2", 3, &pass)?);
    gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    serve(&s1, "s1")?;
    serve(&s2, "s2")?;
    let keeping = Keeping { log_dir: run.dir().to_owned(), life: Life::WithHarness };
    let mut redirector = Redirector::new(run.dir(), &config(&run, &bpffs), &keeping)?;
    redirector.start(&gateway)?;
    redirector.wait_until_all_healthy()?;

    let (mut stream, name) = wait::until_ok("a first connection", DEADLINE, || connect(&client))?;
    ensure!(name == "s1", "the device is on {name}");
    for len in [1, 40, 64] {
        let said = vec![7; len];
        stream.write_all(&said)?;
        let mut heard = vec![0; len];
        stream.read_exact(&mut heard)?;
        ensure!(heard == said, "what came back is something else");
    }

    gateway.ip(&["link set to-s1 down"])?;
    let heard = stream.read(&mut [0; 1]);
    let kind = heard.as_ref().map_err(std::io::Error::kind);
    ensure!(kind == Err(ErrorKind::ConnectionReset), "the waiting client heard {heard:?}");
    let (_, name) = wait::until_ok("a connection after the death", DEADLINE, || connect(&client))?;
    ensure!(name == "s2", "the device is on {name}");
    redirector.stop()
}
