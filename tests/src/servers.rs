//! A server of the lab: its storage programs and its echo server, which live and die together.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::device::Kind;
use crate::groups::Group;
use crate::lab::Plan;
use crate::netns::Namespace;
use crate::process::{Keeping, Launch, Process};
use crate::{echo, programs, storage};

/// Longest start of an echo server on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A server and its running programs.
#[derive(Debug)]
pub struct Server {
    name: String,
    disks: Vec<Process>,
    echo: Option<Process>,
    /// After the programs, which have to go first.
    group: Group,
}

impl Server {
    /// A server that runs nothing yet, and whose programs will be counted in `group`.
    pub fn new(name: &str, group: Group) -> Self {
        Self { name: name.to_owned(), disks: Vec::new(), echo: None, group }
    }

    /// Where its programs are counted.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Its name, in the lab and for the redirector.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a program for every device and waits until all of them answer.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn start(&mut self, namespace: &Namespace, plan: &Plan, keeping: &Keeping) -> Result<()> {
        let mut echo_ports = Vec::new();
        for device in &plan.devices {
            match device.kind {
                Kind::Disk { .. } => {
                    let name = format!("{}-{}", self.name, device.name);
                    let launch = keeping.launch(&name, namespace).inside(&self.group);
                    let program = storage::serve_disk(&launch, &device.name, device.server_port)?;
                    self.disks.push(program);
                }
                Kind::Echo => echo_ports.push(device.server_port),
            }
        }
        if !echo_ports.is_empty() {
            let name = format!("{}-echo", self.name);
            let launch = keeping.launch(&name, namespace).inside(&self.group);
            self.echo = Some(start_echo(&launch, &self.name, &echo_ports, plan.session_bytes)?);
        }
        Ok(())
    }

    /// Kills every program with SIGKILL. The server's kernel lives on and refuses connections.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        // All are dead before the first is reaped: a server does not die program by program.
        self.signal(Signal::SIGKILL)?;
        for mut program in self.disks.drain(..).chain(self.echo.take()) {
            program.kill()?;
        }
        Ok(())
    }

    /// Sends a signal to every program.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.disks.iter().chain(&self.echo).try_for_each(|program| program.signal(signal))
    }

    /// The clients' ends of all connections that the echo server has accepted on `port` so far, by
    /// the server's own log.
    ///
    /// # Errors
    /// When there is no echo server or its log cannot be read.
    pub fn accepted(&self, port: u16) -> Result<BTreeSet<SocketAddr>> {
        let echo = self.echo.as_ref().context("this server runs no echo server")?;
        echo::accepted(&echo.output()?, port)
    }
}

fn start_echo(launch: &Launch, server: &str, ports: &[u16], session_bytes: u64) -> Result<Process> {
    let mut arguments = vec!["echo-server".to_owned(), "--name".to_owned(), server.to_owned()];
    arguments.extend(["--session-bytes".to_owned(), session_bytes.to_string()]);
    for port in ports {
        arguments.extend(["--port".to_owned(), port.to_string()]);
    }
    let mut echo = launch.start(&programs::lab()?, &arguments)?;
    echo.wait_ready(START_WITHIN, || {
        ports.iter().try_for_each(|&port| {
            let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            storage::answers(launch.namespace, at.into())
        })
    })?;
    Ok(echo)
}
