//! The storage behind the servers, made of real programs: one nbdkit that holds the disks, and on
//! every server a qemu-nbd per disk that passes it on. So any server really reaches any disk.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Namespace;
use crate::process::{Keeping, Launch, Process};
use crate::topology::STORAGE_ADDRESS;

/// Port of the storage host's NBD server.
const STORAGE_PORT: u16 = 10809;
/// Longest start of a storage program on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(15);

/// The storage host's disks and the program that holds them.
#[derive(Debug)]
pub struct Storage {
    _nbdkit: Process,
    disks: PathBuf,
}

impl Storage {
    /// Makes a sparse file for each disk (name, bytes) in `disks` and serves them.
    ///
    /// # Errors
    /// When nbdkit (package nbdkit) does not come up.
    pub fn start(
        namespace: &Namespace,
        disks: PathBuf,
        sizes: &[(&str, u64)],
        keeping: &Keeping,
    ) -> Result<Self> {
        for (name, bytes) in sizes {
            let path = disks.join(name);
            let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            file.set_len(*bytes).with_context(|| format!("size {}", path.display()))?;
        }
        let mut nbdkit = keeping.launch("nbdkit", namespace).start(
            Path::new("nbdkit"),
            &[
                "-f",
                "-t",
                "4",
                "-p",
                &STORAGE_PORT.to_string(),
                "file",
                &format!("dir={}", disks.display()),
            ],
        )?;
        let at = SocketAddrV4::new(STORAGE_ADDRESS, STORAGE_PORT);
        nbdkit.wait_ready(START_WITHIN, || answers(namespace, at.into()))?;
        Ok(Self { _nbdkit: nbdkit, disks })
    }

    /// The file behind a disk.
    pub fn backing_file(&self, disk: &str) -> PathBuf {
        self.disks.join(disk)
    }
}

/// Starts the program that serves `disk` on one server's `port`, and waits until it answers.
///
/// # Errors
/// When qemu-nbd (package qemu-utils) does not come up.
pub fn serve_disk(launch: &Launch, disk: &str, port: u16) -> Result<Process> {
    let image = format!(
        "driver=raw,file.driver=nbd,file.host={STORAGE_ADDRESS},file.port={STORAGE_PORT},\
         file.export={disk},file.reconnect-delay=10"
    );
    let port_text = port.to_string();
    let arguments =
        ["-x", disk, "-p", &port_text, "--persistent", "--shared=0", "--image-opts", &image];
    let mut qemu = launch.start(Path::new("qemu-nbd"), &arguments)?;
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    qemu.wait_ready(START_WITHIN, || answers(launch.namespace, at.into()))?;
    Ok(qemu)
}

/// Whether something accepts connections at `address` inside the namespace.
///
/// # Errors
/// When nothing does.
pub fn answers(namespace: &Namespace, address: SocketAddr) -> Result<()> {
    namespace.enter(|| {
        TcpStream::connect_timeout(&address, Duration::from_secs(1))
            .with_context(|| format!("connect to {address}"))?;
        Ok(())
    })
}
