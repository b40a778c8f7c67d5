//! Loads of a lab's servers. All namespaces share one kernel's figures, so each server gets its
//! own: a real node_exporter in its namespace, whose textfile collector reads what is written here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

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
/// Unit of processor time in `/proc/PID/stat` (USER_HZ, proc(5)), in seconds.
const TICK_S: f64 = 0.01;

/// From where a server's processor time comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Processor {
    /// So much of it is busy, whatever the server does.
    Declared(f64),
    /// What these programs use of so many processors.
    Used {
        /// Their process ids.
        programs: Vec<u32>,
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

/// Counters of one server as its file has them.
#[derive(Debug, Default, Clone, Copy)]
struct Counters {
    busy_s: f64,
    idle_s: f64,
    /// Processor time of the programs when last looked.
    used_s: Option<f64>,
}

/// Adds to the lab's configuration where the servers' figures are, and these lines.
///
/// # Errors
/// When the file cannot be written.
pub fn configure(lab: &Lab, lines: &str) -> Result<()> {
    let path = lab.redirector.config();
    let mut text = fs::read_to_string(path).context("read the lab's configuration")?;
    for number in 1..=lab.plan().servers_len {
        let address = server_address(number);
        let line = format!("address = \"{address}\"\n");
        let more = format!("{line}metrics_url = \"http://{address}:{PORT}/metrics\"\n");
        text = text.replace(&line, &more);
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
        let (mut exporters, mut files) = (BTreeMap::new(), BTreeMap::new());
        for name in lab.servers.keys() {
            let dir = lab.run().subdir(&format!("figures-{name}"))?;
            files.insert(name.clone(), dir.join("server.prom"));
            exporters.insert(name.clone(), start_exporter(lab, name, &dir, &keeping)?);
        }
        let idle = lab.servers.keys().map(|name| (name.clone(), Processor::Declared(0.0)));
        let wanted = Arc::new(Mutex::new(idle.collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (Arc::clone(&wanted), Arc::clone(&stop));
        let writer = std::thread::spawn(move || write_on(&files, &seen, &ended));
        Ok(Self { wanted, stop, writer: Some(writer), exporters })
    }

    /// Says from where a server's figures come from now on.
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

fn start_exporter(lab: &Lab, server: &str, dir: &Path, keeping: &Keeping) -> Result<Process> {
    let namespace = lab.network.host(server)?;
    let name = format!("{server}-node-exporter");
    let arguments = [
        format!("--web.listen-address=:{PORT}"),
        "--collector.disable-defaults".to_owned(),
        "--collector.textfile".to_owned(),
        format!("--collector.textfile.directory={}", dir.display()),
    ];
    let mut exporter = keeping.launch(&name, namespace).start(Path::new(EXPORTER), &arguments)?;
    let at = (std::net::Ipv4Addr::LOCALHOST, PORT).into();
    exporter.wait_ready(START_WITHIN, || storage::answers(namespace, at))?;
    Ok(exporter)
}

fn write_on(
    files: &BTreeMap<String, PathBuf>,
    wanted: &Mutex<BTreeMap<String, Processor>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut counters: BTreeMap<&String, Counters> = BTreeMap::new();
    let mut pace = Pace::every(WRITE_INTERVAL);
    let mut last = wait::now();
    while !stop.load(Ordering::Relaxed) {
        pace.beat();
        let now = wait::now();
        let elapsed_s = (now - last).as_secs_f64();
        last = now;
        let processors = wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (server, file) in files {
            let Some(processor) = processors.get(server) else { continue };
            if *processor == Processor::Silent {
                continue;
            }
            let counters = counters.entry(server).or_default();
            counters.go_on(processor, elapsed_s);
            // Renamed into place, so that nobody reads half a file.
            let new = file.with_extension("new");
            fs::write(&new, counters.text()).with_context(|| format!("write {}", new.display()))?;
            fs::rename(&new, file).with_context(|| format!("replace {}", file.display()))?;
        }
    }
    Ok(())
}

impl Counters {
    fn go_on(&mut self, processor: &Processor, elapsed_s: f64) {
        let busy = match processor {
            Processor::Declared(share) => *share,
            Processor::Used { programs, cpus } => {
                let used_s: f64 = programs.iter().map(|id| used_s(*id)).sum();
                let before_s = self.used_s.replace(used_s).unwrap_or(used_s);
                (used_s - before_s) / (cpus * elapsed_s).max(f64::MIN_POSITIVE)
            }
            Processor::Silent => return,
        };
        let busy = busy.clamp(0.0, 1.0);
        self.busy_s += busy * elapsed_s;
        self.idle_s += (1.0 - busy) * elapsed_s;
    }

    fn text(&self) -> String {
        let Self { busy_s, idle_s, .. } = self;
        format!(
            "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {idle_s:.4}\n\
             node_cpu_seconds_total{{cpu=\"0\",mode=\"user\"}} {busy_s:.4}\n\
             node_memory_MemTotal_bytes 1000000000\n\
             node_memory_MemAvailable_bytes 900000000\n"
        )
    }
}

/// Processor time that a program has used, in seconds; 0 when it has ended.
pub fn used_s(program: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
    // The second field, in brackets, may hold spaces; user and system time are the 14th and 15th.
    let after = text.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    let fields = after.split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * TICK_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_of_a_program_is_read_and_that_of_none_is_zero() {
        let before = used_s(std::process::id());
        let busy = wait::until("some processor time", Duration::from_secs(20), || {
            let used = used_s(std::process::id());
            let is_more = used > before;
            Ok(if is_more { wait::Look::Done(used) } else { wait::Look::NotYet(used.to_string()) })
        });
        assert!(busy.unwrap() > before);
        assert_eq!(used_s(u32::MAX), 0.0);
    }
}
