//! Verified I/O on every disk for as long as a scenario runs, and whether it was left alone.
//!
//! fio opens its connection once and never again, so a job without an error also says that its flow
//! was neither broken nor moved: another server would have known nothing of it.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::device::{Device, Kind};
use crate::io::{self, Fio, Job, Work};
use crate::lab::Lab;

/// Bytes a second that each client writes: enough to keep a flow always in use, little enough to
/// leave two cores to the rest.
const RATE: u64 = 4 << 20;
/// Bytes of a disk: some seconds of writing. A job that has written and verified the whole disk is
/// followed by another one.
pub const DISK_BYTES: u64 = 24 << 20;
/// Reading everything back and the rest, after the writing is done.
const VERIFY_WITHIN: Duration = Duration::from_secs(60);

/// fio on every disk.
pub struct IoLoad {
    disks: Vec<Disk>,
    result: IoResult,
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

/// One disk, its client, and the job at work.
struct Disk {
    device: Device,
    bytes: u64,
    client: String,
    seed: u64,
    fio: Fio,
}

impl IoLoad {
    /// Starts fio on every disk of the lab, on the clients in turn, and waits until all are at
    /// work.
    ///
    /// # Errors
    /// When fio does not start or connect.
    pub fn start(lab: &Lab, seed: u64) -> Result<Self> {
        let mut disks = Vec::new();
        let plan = lab.plan();
        let with_disks = plan.devices.iter().filter_map(|device| match device.kind {
            Kind::Disk { bytes } => Some((device.clone(), bytes)),
            Kind::Echo => None,
        });
        for (index, (device, bytes)) in with_disks.enumerate() {
            let client = format!("c{}", index % usize::from(plan.clients_len) + 1);
            // Seeds of different disks and of their later jobs are all different.
            let seed = seed.wrapping_mul(1000).wrapping_add(index as u64 * 100);
            let fio = start_job(lab, &device, &client, (bytes, seed))?;
            disks.push(Disk { device, bytes, client, seed, fio });
        }
        Ok(Self { disks, result: IoResult::default() })
    }

    /// Starts the next job wherever one has done its disk.
    ///
    /// # Errors
    /// When a program hangs or cannot be started.
    pub fn keep_going(&mut self, lab: &Lab) -> Result<()> {
        for disk in &mut self.disks {
            if disk.fio.is_running()? {
                continue;
            }
            disk.seed += 1;
            let Disk { device, client, bytes, seed, .. } = disk;
            let next = start_job(lab, device, client, (*bytes, *seed))?;
            let ended = std::mem::replace(&mut disk.fio, next);
            self.result.add(&disk.device.name, disk.bytes, ended)?;
        }
        Ok(())
    }

    /// Waits for the end and compares every disk, read through its service address, with its file.
    ///
    /// # Errors
    /// When a program hangs or cannot be started.
    pub fn finish(self, lab: &Lab) -> Result<IoResult> {
        let mut result = self.result;
        for Disk { device, bytes, fio, .. } in self.disks {
            let name = &device.name;
            result.add(name, bytes, fio)?;
            let launch_name = format!("compare-{name}");
            let launch = lab.on_client("c1", &launch_name)?;
            let compared = io::compare(&launch, &device.uri(), &lab.backing_file(name))
                .with_context(|| format!("compare {name}"))?;
            if compared.differing != 0 || compared.empty_blocks != 0 {
                result.violations.push(format!("{name}: the disk is not its file: {compared:?}"));
            }
        }
        Ok(result)
    }
}

impl IoResult {
    /// Waits for the end of a job and judges it.
    fn add(&mut self, disk: &str, bytes: u64, fio: Fio) -> Result<()> {
        let writing = Duration::from_secs_f64(bytes as f64 / RATE as f64);
        let outcome = fio.finish(writing + VERIFY_WITHIN)?;
        self.jobs += 1;
        self.verified_bytes += outcome.verified_bytes;
        let done = (outcome.error, outcome.written_bytes, outcome.verified_bytes);
        if done != (0, bytes, bytes) {
            self.violations.push(format!("{disk}: of {bytes} bytes: {outcome:?}"));
        }
        Ok(())
    }
}

fn start_job(lab: &Lab, device: &Device, client: &str, (bytes, seed): (u64, u64)) -> Result<Fio> {
    let name = format!("fio-{}-{seed}", device.name);
    let work = Work::WriteAndVerify { rate: Some(RATE) };
    let (uri, depth) = (device.uri(), io::DEPTH);
    let job = Job { name: name.clone(), uri, bytes, seed, depth, work };
    let fio = Fio::start(&lab.on_client(client, &name)?, &job)?;
    lab.working_connection(&device.name)?;
    Ok(fio)
}
