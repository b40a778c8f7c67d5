//! The smallest whole site: a client, a gateway with the real daemon, and two servers that greet
//! with their name and say back what they hear. In either family.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_common::verdict::Reason;

use crate::data_path::Version;
use crate::netns::{Namespace, run_quietly};
use crate::process::{Keeping, Life};
use crate::redirector::{Bpffs, Redirector};
use crate::run::Run;
use crate::xdp_pass;

/// Where the API listens too, in the gateway.
pub const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);
/// Port of the device `disk`.
pub const PORT: u16 = 7000;
/// Its port at the servers.
const SERVER_PORT: u16 = 7100;
/// Until a greeting or an echo has come.
const TALK_WITHIN: Duration = Duration::from_secs(20);

/// The site. Fields are dropped from first to last.
#[derive(Debug)]
pub struct Greeters {
    /// The daemon.
    pub redirector: Redirector,
    /// The client.
    pub client: Namespace,
    /// Servers s1 and s2; their interfaces at the gateway are `to-s1` and `to-s2`.
    pub servers: [Namespace; 2],
    /// The gateway.
    pub gateway: Namespace,
    /// Where the program's tables are pinned.
    pub bpffs: Bpffs,
    /// The program at the other end of the gateway's links.
    pass: PathBuf,
    version: Version,
    keeping: Keeping,
    run: Run,
}

/// Device `disk`'s service address.
fn service(version: Version) -> IpAddr {
    match version {
        Version::V4 => IpAddr::from([10, 1, 0, 100]),
        Version::V6 => IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 0x100]),
    }
}

/// Host `host` of network `number`.
fn address(version: Version, number: u8, host: u8) -> IpAddr {
    match version {
        Version::V4 => IpAddr::from([10, number, 0, host]),
        Version::V6 => {
            IpAddr::from([0xfd00 | u16::from(number), 0, 0, 0, 0, 0, 0, u16::from(host)])
        }
    }
}

impl Greeters {
    /// Builds it, with `settings` for the device in the configuration's words, and waits until all
    /// is healthy. The device is on s1.
    ///
    /// # Errors
    /// When the kernel or the daemon refuses something (needs root). What was made until then goes.
    pub fn start(version: Version, settings: &str) -> Result<Self> {
        Self::start_behind(version, settings, |_| Ok(format!("listen = \"{API}\"\n")))
    }

    /// The same, with what `[api]` is to have besides the socket; `api` is given the run's
    /// directory.
    ///
    /// # Errors
    /// As [`Greeters::start`], and those of `api`.
    pub fn start_behind(
        version: Version,
        settings: &str,
        api: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<Self> {
        let run = Run::new()?;
        let bpffs = Bpffs::mount(&run)?;
        let pass = xdp_pass::load_and_pin(bpffs.dir())?;
        let gateway = Namespace::new(&run, "gateway")?;
        let make = |name, number| host(&run, (&gateway, version), (name, number), &pass);
        let client = make("c1", 1)?;
        let servers = [make("s1", 2)?, make("s2", 3)?];
        gateway.sysctl("net/ipv4/ip_forward", "1")?;
        if matches!(version, Version::V6) {
            gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        for (server, name) in servers.iter().zip(["s1", "s2"]) {
            // All service addresses that scenarios with thousands of devices use: with dsr the
            // servers have them themselves.
            server.ip(&["route add local 10.64.0.0/10 dev lo"])?;
            serve(server, (version, SERVER_PORT), name)?;
        }
        let keeping = Keeping { log_dir: run.dir().to_owned(), life: Life::WithHarness };
        let api = api(run.dir())?;
        let config = config(&run, &bpffs, (version, settings), &api);
        let mut redirector = Redirector::new(run.dir(), &config, &keeping)?;
        redirector.start(&gateway)?;
        redirector.wait_until_all_healthy()?;
        Ok(Self { redirector, client, servers, gateway, bpffs, pass, version, keeping, run })
    }

    /// Makes the link of `c1`, `s1` or `s2` anew after it was deleted.
    ///
    /// # Errors
    /// When there is no such host, or the kernel refuses.
    pub fn plug_in_again(&self, name: &str) -> Result<()> {
        let hosts = [("c1", &self.client), ("s1", &self.servers[0]), ("s2", &self.servers[1])];
        let found = hosts.iter().zip(1..).find(|((known, _), _)| *known == name);
        let ((_, host), number) = found.with_context(|| format!("no host {name}"))?;
        plug((&self.gateway, host), self.version, (name, number), &self.pass)
    }

    /// Where clients reach the device `disk`.
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(service(self.version), PORT)
    }

    /// A directory of its own, which goes with it.
    pub fn dir(&self) -> &Path {
        self.run.dir()
    }

    /// How its programs are kept.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Packets that have left under a reason, as the daemon tells.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn count(&self, reason: Reason) -> Result<u64> {
        let status = self.redirector.api()?.status()?;
        let reasons = status["reasons"].as_array().context("the status has no reasons")?;
        let of = reasons.iter().filter(|count| count["name"] == reason.name());
        Ok(of.filter_map(|count| count["packets"].as_u64()).sum())
    }

    /// A connection, and the name of the server behind it.
    ///
    /// # Errors
    /// When nobody greets.
    pub fn connect(&self) -> Result<(TcpStream, String)> {
        self.connect_to(PORT)
    }

    /// The same with the device at another port of that service address.
    ///
    /// # Errors
    /// When nobody greets.
    pub fn connect_to(&self, port: u16) -> Result<(TcpStream, String)> {
        let at = SocketAddr::new(service(self.version), port);
        let mut stream = self.client.enter(|| {
            TcpStream::connect_timeout(&at, Duration::from_secs(2)).context("connect to the device")
        })?;
        stream.set_read_timeout(Some(TALK_WITHIN))?;
        let mut name = [0; 2];
        stream.read_exact(&mut name).context("no greeting")?;
        Ok((stream, String::from_utf8_lossy(&name).into_owned()))
    }
}

/// Says something, and expects to hear it again.
///
/// # Errors
/// When the connection is broken, or what comes back is something else.
pub fn echo(stream: &mut TcpStream) -> Result<()> {
    [1, 40, 64].into_iter().try_for_each(|len| echo_of(stream, len))
}

/// Says so many bytes at once, and expects to hear them again.
///
/// # Errors
/// As of [`echo`].
pub fn echo_of(stream: &mut TcpStream, len: usize) -> Result<()> {
    let said = vec![7; len];
    stream.write_all(&said)?;
    let mut heard = vec![0; len];
    stream.read_exact(&mut heard)?;
    ensure!(heard == said, "what came back is something else");
    Ok(())
}

/// A host behind an interface of the gateway; both ends have an address of network `number`.
fn host(
    run: &Run,
    (gateway, version): (&Namespace, Version),
    (name, number): (&str, u8),
    pass: &Path,
) -> Result<Namespace> {
    let host = Namespace::new(run, name)?;
    if matches!(version, Version::V6) {
        for namespace in [gateway, &host] {
            namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
            namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
        }
    }
    plug((gateway, &host), version, (name, number), pass)?;
    Ok(host)
}

/// The link between gateway and host.
fn plug(
    (gateway, host): (&Namespace, &Namespace),
    version: Version,
    (name, number): (&str, u8),
    pass: &Path,
) -> Result<()> {
    let (near, far) = (address(version, number, 1), address(version, number, 11));
    let rest = if matches!(version, Version::V4) { "/24 dev" } else { "/64 nodad dev" };
    gateway.ip(&[
        format!("link add to-{name} type veth peer name eth0 netns {}", host.name()),
        format!("address add {near}{rest} to-{name}"),
        format!("link set to-{name} up"),
    ])?;
    host.ip(&[
        format!("address add {far}{rest} eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {near}"),
    ])?;
    // What the gateway's program sends reaches a veth's end only if that has a program too, and
    // only finished packets may come in.
    let pass = pass.to_string_lossy();
    host.ip(&[format!("link set dev eth0 xdpdrv pinned {pass}")])?;
    run_quietly(
        host.command("ethtool").args(["-K", "eth0", "tx", "off", "tso", "off", "gso", "off"]),
    )?;
    Ok(())
}

/// Greets with `name` at a port, and says back what it hears, until it hears nothing more.
///
/// # Errors
/// When the port is taken.
pub fn serve(host: &Namespace, (version, port): (Version, u16), name: &'static str) -> Result<()> {
    let any: IpAddr = match version {
        Version::V4 => IpAddr::from([0; 4]),
        Version::V6 => IpAddr::from([0_u16; 8]),
    };
    let listener: TcpListener = host.listen(SocketAddr::new(any, port))?;
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

fn config(run: &Run, bpffs: &Bpffs, (version, settings): (Version, &str), api: &str) -> String {
    let dir = run.dir().display();
    let mut text = format!(
        "[redirector]\nstate_dir = \"{dir}/state\"\nbpffs_dir = \"{}/redirector\"\n\n\
         [api]\nunix_socket = \"{dir}/api.sock\"\n{api}\n\
         [[interface]]\nname = \"to-c1\"\nannounce = true\n\n\
         [[interface]]\nname = \"to-s1\"\n\n[[interface]]\nname = \"to-s2\"\n\n",
        bpffs.dir().display()
    );
    for (name, number) in [("s1", 2), ("s2", 3)] {
        let address = address(version, number, 11);
        text += &format!("[[server]]\nname = \"{name}\"\naddress = \"{address}\"\n\n");
    }
    text += &format!(
        "[[device]]\nname = \"disk\"\naddress = \"{}\"\nport = {PORT}\n\
         server_port = {SERVER_PORT}\nservers = [\"s1\", \"s2\"]\nserver = \"s1\"\n\
         check = \"greeting\"\n{settings}\n",
        service(version)
    );
    text
}
