//! Verified I/O on every disk while a scenario runs, and whether it was left alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::device::{Device, Kind};
use crate::io::{self, Fio, Job, Work};
use crate::lab::Lab;

/// Bytes a second that each client writes: enough to keep a flow always in use, little enough to
/// leave two cores to the rest.
const RATE: u64 = 4 << 20;
/// Reading everything back and the rest, after the writing is done.
const VERIFY_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of a disk that keep the load running for `span`.
pub fn disk_bytes(span: Duration) -> u64 {
    let bytes = (span.as_secs_f64() * RATE as f64) as u64;
    bytes.next_multiple_of(1 << 20)
}

/// fio on every disk.
pub struct IoLoad {
    jobs: Vec<DiskJob>,
}

struct DiskJob {
    device: Device,
    fio: Fio,
    /// The server that has fio's connection, and the client's end of it.
    server: String,
    client_end: SocketAddr,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct IoResult {
    /// fio jobs.
    pub jobs: u64,
    /// Bytes written, each read back and right.
    pub verified_bytes: u64,
    /// I/O errors, wrong bytes, and whatever else no client may see.
    pub violations: Vec<String>,
}

impl IoLoad {
    /// Starts fio on every disk of the lab, on the clients in turn, and notes which server has its
    /// connections.
    ///
    /// # Errors
    /// When fio does not start or connect.
    pub fn start(lab: &Lab, seed: u64) -> Result<Self> {
        let mut jobs = Vec::new();
        let disks = lab.plan().devices.iter().filter_map(|device| match device.kind {
            Kind::Disk { bytes } => Some((device, bytes)),
            Kind::Echo => None,
        });
        let clients_len = usize::from(lab.plan().clients_len);
        for (index, (device, bytes)) in disks.enumerate() {
            let client = format!("c{}", index % clients_len + 1);
            let name = format!("fio-{}-{seed}", device.name);
            let work = Work::WriteAndVerify { rate: Some(RATE) };
            let (uri, depth) = (device.uri(), io::DEPTH);
            let job = Job { name: name.clone(), uri, bytes, seed, depth, work };
            let fio = Fio::start(&lab.on_client(&client, &name)?, &job)?;
            let (server, connection) = lab.working_connection(&device.name)?;
            let client_end = connection.remote;
            jobs.push(DiskJob { device: device.clone(), fio, server, client_end });
        }
        Ok(Self { jobs })
    }

    /// Violations that show while it runs: an fio that has ended, a connection that its server no
    /// longer has.
    ///
    /// # Errors
    /// When a server's connections cannot be read.
    pub fn check_running(&mut self, lab: &Lab) -> Result<Vec<String>> {
        let mut violations = Vec::new();
        for job in &mut self.jobs {
            let DiskJob { device: Device { name, .. }, server, client_end, fio } = job;
            if !fio.is_running()? {
                violations.push(format!("{name}: fio has ended before the scenario"));
                continue;
            }
            let connections = lab.connections(server, name)?;
            if !connections.iter().any(|connection| connection.remote == *client_end) {
                violations.push(format!("{name}: {server} has lost fio's flow {client_end}"));
            }
        }
        Ok(violations)
    }

    /// Waits for the end and compares every disk, read through its service address, with its file.
    ///
    /// # Errors
    /// When a program hangs or cannot be started.
    pub fn finish(self, lab: &Lab) -> Result<IoResult> {
        let mut result = IoResult::default();
        for job in self.jobs {
            let Device { name, kind, .. } = &job.device;
            let Kind::Disk { bytes } = *kind else { continue };
            let writing = Duration::from_secs_f64(bytes as f64 / RATE as f64);
            let outcome = job.fio.finish(writing + VERIFY_WITHIN)?;
            result.jobs += 1;
            if outcome.error != 0 {
                result.violations.push(format!(
                    "{name}: fio failed with errno {}: {}",
                    outcome.error, outcome.log
                ));
                continue;
            }
            if (outcome.written_bytes, outcome.verified_bytes) != (bytes, bytes) {
                result.violations.push(format!(
                    "{name}: of {bytes} bytes fio wrote {} and verified {}",
                    outcome.written_bytes, outcome.verified_bytes
                ));
            }
            let launch_name = format!("compare-{name}");
            let launch = lab.on_client("c1", &launch_name)?;
            let uri = job.device.uri();
            let compared = io::compare(&launch, &uri, &lab.backing_file(name))
                .with_context(|| format!("compare {name}"))?;
            if compared.differing != 0 || compared.empty_blocks != 0 {
                result.violations.push(format!("{name}: the disk is not its file: {compared:?}"));
            }
            result.verified_bytes += outcome.verified_bytes;
        }
        Ok(result)
    }
}
