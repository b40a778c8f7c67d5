//! Loads of a lab's servers. All namespaces share one kernel's figures, so each server gets its
//! own: a real node_exporter in its namespace, whose textfile collector reads what is written here
//! of the server's control group. Its network collector reads the namespace's own counters.
//! The node_exporter itself is outside the group: it is an instrument.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::groups::Meter;
use crate::lab::Lab;
use crate::process::{Keeping, Life, Process};
use crate::storage;
use crate::topology::server_address;
use crate::wait::{self, Pace};

/// Where Debian's package has it.
const EXPORTER: &str = "prometheus-node-exporter";
/// Port of every server's node_exporter.
const PORT: u16 = 9100;
/// Longest start of a node_exporter on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(15);
/// How often figures are written.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);
/// Memory that a server is taken to have where its group has no limit.
const MEMORY_BYTES: u64 = 1 << 30;
/// What a server's link is taken to carry, in bytes a second: 10 Gbit/s, as a veth says of itself.
const LINK_SPEED: u64 = 1_250_000_000;

/// From where a server's processor time comes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Processor {
    /// So much of it is busy, whatever the server does.
    Declared(f64),
    /// What the server's group uses of so many processors.
    Used {
        /// Processors that the server is taken to have.
        cpus: f64,
    },
    /// Nobody writes figures any more: the last ones stand.
    Silent,
}

/// node_exporters, one a server, and who writes their figures.
#[derive(Debug)]
pub struct Loads {
    wanted: Arc<Mutex<BTreeMap<String, Processor>>>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<Result<()>>>,
    exporters: BTreeMap<String, Process>,
}

/// One server's file, and what is written to it.
#[derive(Debug)]
struct Figures {
    file: PathBuf,
    meter: Meter,
    /// Counters as the file has them.
    busy_s: f64,
    idle_s: f64,
    /// Processor time of the group when last looked.
    used_s: Option<f64>,
}

/// Adds to the lab's configuration where the servers' figures are, and these lines.
///
/// # Errors
/// When the file cannot be written.
pub fn configure(lab: &Lab, lines: &str) -> Result<()> {
    add_to_servers(lab, lines, |address| {
        format!("metrics_url = \"http://{address}:{PORT}/metrics\"")
    })
}

/// Adds a line about each server to the lab's configuration, and at its end these lines.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn add_to_servers(
    lab: &Lab,
    lines: &str,
    of_server: impl Fn(Ipv4Addr) -> String,
) -> Result<()> {
    let path = lab.redirector.config();
    let mut text = fs::read_to_string(path).context("read the lab's configuration")?;
    for number in 1..=lab.plan().servers_len {
        let address = server_address(number);
        let line = format!("address = \"{address}\"\n");
        text = text.replace(&line, &format!("{line}{}\n", of_server(address)));
    }
    let _ = write!(text, "\n{lines}");
    fs::write(path, text).context("write the lab's configuration")
}

impl Loads {
    /// Starts a node_exporter on every server and writes its figures from now on; every server is
    /// idle.
    ///
    /// # Errors
    /// When a node_exporter (package prometheus-node-exporter) does not come up.
    pub fn start(lab: &Lab) -> Result<Self> {
        let keeping = Keeping { log_dir: lab.run().subdir("exporters")?, life: Life::WithHarness };
        let (mut exporters, mut all) = (BTreeMap::new(), BTreeMap::new());
        for (name, server) in &lab.servers {
            let dir = lab.run().subdir(&format!("figures-{name}"))?;
            let mut figures = Figures::new(dir.join("server.prom"), server.group().meter());
            // At once, and here, where it can be said that a machine does not count them.
            figures.write(Processor::Declared(0.0), 0.0)?;
            all.insert(name.clone(), figures);
            let arguments = [
                "--collector.disable-defaults".to_owned(),
                "--collector.netdev".to_owned(),
                "--collector.textfile".to_owned(),
                format!("--collector.textfile.directory={}", dir.display()),
            ];
            exporters.insert(name.clone(), start_exporter(lab, name, &arguments, &keeping)?);
        }
        let idle = lab.servers.keys().map(|name| (name.clone(), Processor::Declared(0.0)));
        let wanted = Arc::new(Mutex::new(idle.collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (Arc::clone(&wanted), Arc::clone(&stop));
        let writer = std::thread::spawn(move || write_on(all, &seen, &ended));
        Ok(Self { wanted, stop, writer: Some(writer), exporters })
    }

    /// Says from where a server's processor time comes from now on.
    pub fn set(&self, server: &str, processor: Processor) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert(server.to_owned(), processor);
    }

    /// kill -9 of a server's node_exporter.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&mut self, server: &str) -> Result<()> {
        let exporter = self.exporters.remove(server);
        exporter.with_context(|| format!("{server} has no node_exporter"))?.kill()
    }
}

impl Drop for Loads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What it could not write shows in the test as figures that are missing.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

/// Starts a node_exporter on a server, as it comes but for these arguments.
///
/// # Errors
/// When it (package prometheus-node-exporter) does not come up.
pub fn start_exporter(
    lab: &Lab,
    server: &str,
    more: &[String],
    keeping: &Keeping,
) -> Result<Process> {
    let namespace = lab.network.host(server)?;
    let name = format!("{server}-node-exporter");
    let mut arguments = vec![format!("--web.listen-address=:{PORT}")];
    arguments.extend_from_slice(more);
    let mut exporter = keeping.launch(&name, namespace).start(Path::new(EXPORTER), &arguments)?;
    let at = (std::net::Ipv4Addr::LOCALHOST, PORT).into();
    exporter.wait_ready(START_WITHIN, || storage::answers(namespace, at))?;
    Ok(exporter)
}

fn write_on(
    mut all: BTreeMap<String, Figures>,
    wanted: &Mutex<BTreeMap<String, Processor>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut pace = Pace::every(WRITE_INTERVAL);
    let mut last = wait::now();
    while !stop.load(Ordering::Relaxed) {
        pace.beat();
        let now = wait::now();
        let elapsed_s = (now - last).as_secs_f64();
        last = now;
        let processors = wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (server, figures) in &mut all {
            match processors.get(server) {
                None | Some(Processor::Silent) => {}
                Some(processor) => figures.write(*processor, elapsed_s)?,
            }
        }
    }
    Ok(())
}

impl Figures {
    fn new(file: PathBuf, meter: &Meter) -> Self {
        Self { file, meter: meter.clone(), busy_s: 0.0, idle_s: 0.0, used_s: None }
    }

    fn write(&mut self, processor: Processor, elapsed_s: f64) -> Result<()> {
        let used_s = self.meter.processor_s()?;
        let before_s = self.used_s.replace(used_s).unwrap_or(used_s);
        let busy = match processor {
            Processor::Declared(share) => share,
            Processor::Used { cpus } => {
                (used_s - before_s) / (cpus * elapsed_s).max(f64::MIN_POSITIVE)
            }
            Processor::Silent => return Ok(()),
        };
        let busy = busy.clamp(0.0, 1.0);
        self.busy_s += busy * elapsed_s;
        self.idle_s += (1.0 - busy) * elapsed_s;
        // Renamed into place, so that nobody reads half a file.
        let (file, new) = (&self.file, self.file.with_extension("new"));
        fs::write(&new, self.text()?).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, file).with_context(|| format!("replace {}", file.display()))
    }

    fn text(&self) -> Result<String> {
        let Self { busy_s, idle_s, meter, .. } = self;
        let memory = meter.memory()?;
        let all_bytes = memory.limit_bytes.unwrap_or(MEMORY_BYTES);
        let free_bytes = all_bytes.saturating_sub(memory.used_bytes);
        let mut text = format!(
            "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {idle_s:.4}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {busy_s:.4}\n\
             node_memory_MemTotal_bytes {all_bytes}\n\
             node_memory_MemAvailable_bytes {free_bytes}\n\
             node_network_speed_bytes{{device=\"eth0\"}} {LINK_SPEED}\n"
        );
        if let Some(waiting_s) = meter.waiting_s() {
            let _ = writeln!(text, "node_pressure_io_waiting_seconds_total {waiting_s:.6}");
        }
        Ok(text)
    }
}
