//! What a server's node_exporter says, in the text format of Prometheus (version 0.0.4), and what
//! follows from two such texts for its load.
//!
//! Only the few metrics that say something about load are kept; everything else is passed over, and
//! nothing that a text holds can make the figures large or wrong: counters that go back or stand
//! still give no reading, which in time makes the server's load unknown.

use std::collections::BTreeMap;

use super::{Share, Signal};

/// Longest text, in bytes. A large host's is some hundred thousand.
pub const TEXT_LEN_MAX: usize = 4 << 20;
/// Most disks or interfaces; further ones are not looked at.
const PARTS_MAX: usize = 256;

/// The figures of one text. Counters grow from the host's start; seconds and bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostFigures {
    /// Processor time of all kinds, over all processors.
    cpu_s: f64,
    /// The part of it in which there was nothing to do, or only to wait for a disk.
    cpu_idle_s: f64,
    memory_bytes: Option<f64>,
    memory_available_bytes: Option<f64>,
    /// Time in which some task waited for input or output (PSI).
    io_waiting_s: Option<f64>,
    /// Disk -> time in which it was at work.
    disks_s: BTreeMap<String, f64>,
    interfaces: BTreeMap<String, Interface>,
}

/// Counters of one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Interface {
    received_bytes: f64,
    sent_bytes: f64,
    /// Bytes a second that its link carries; not positive where nobody knows.
    speed: f64,
}

/// One line: `name{label="value",...} number`.
struct Line<'t> {
    name: &'t str,
    labels: &'t str,
    value: f64,
}

impl HostFigures {
    /// Reads a text.
    ///
    /// # Errors
    /// When it has none of the figures, in words that say what it lacks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut figures = Self::default();
        for line in text.lines().filter_map(line) {
            figures.take(&line);
        }
        if figures.cpu_s == 0.0 && figures.memory_bytes.is_none() {
            return Err(
                "has neither node_cpu_seconds_total nor node_memory_MemTotal_bytes: is it \
                        the /metrics of a node_exporter?"
                    .to_owned(),
            );
        }
        Ok(figures)
    }

    fn take(&mut self, line: &Line<'_>) {
        let value = line.value;
        match line.name {
            "node_cpu_seconds_total" => {
                self.cpu_s += value;
                if matches!(line.label("mode"), Some("idle" | "iowait")) {
                    self.cpu_idle_s += value;
                }
            }
            "node_memory_MemTotal_bytes" => self.memory_bytes = Some(value),
            "node_memory_MemAvailable_bytes" => self.memory_available_bytes = Some(value),
            "node_pressure_io_waiting_seconds_total" => self.io_waiting_s = Some(value),
            "node_disk_io_time_seconds_total" => {
                if let Some(time_s) = part(&mut self.disks_s, line) {
                    *time_s = value;
                }
            }
            "node_network_receive_bytes_total" => {
                self.on_interface(line, |i| &mut i.received_bytes)
            }
            "node_network_transmit_bytes_total" => self.on_interface(line, |i| &mut i.sent_bytes),
            "node_network_speed_bytes" => self.on_interface(line, |i| &mut i.speed),
            _ => {}
        }
    }

    fn on_interface(&mut self, line: &Line<'_>, field: fn(&mut Interface) -> &mut f64) {
        if let Some(interface) = part(&mut self.interfaces, line) {
            *field(interface) = line.value;
        }
    }

    /// What these figures say, `elapsed_s` after `before`. What stood still or went back says
    /// nothing: a program that writes figures may have ended, or the host have started anew.
    #[must_use]
    pub fn shares(&self, before: Option<&Self>, elapsed_s: f64) -> Vec<(Signal, Share)> {
        let since = before.filter(|_| elapsed_s > 0.0);
        let all = [
            (Signal::Cpu, since.and_then(|before| self.cpu(before))),
            (Signal::Memory, self.memory()),
            (Signal::Disk, since.and_then(|before| self.disk(before, elapsed_s))),
            (Signal::Network, since.and_then(|before| self.network(before, elapsed_s))),
        ];
        all.into_iter().filter_map(|(signal, share)| Some((signal, share?))).collect()
    }

    fn cpu(&self, before: &Self) -> Option<Share> {
        let (all_s, idle_s) = (self.cpu_s - before.cpu_s, self.cpu_idle_s - before.cpu_idle_s);
        (all_s > 0.0 && idle_s >= 0.0).then(|| Share::of(all_s - idle_s, all_s)).flatten()
    }

    fn memory(&self) -> Option<Share> {
        let total = self.memory_bytes?;
        Share::of(total - self.memory_available_bytes?, total)
    }

    /// Pressure where the kernel tells it, otherwise the busiest disk.
    fn disk(&self, before: &Self, elapsed_s: f64) -> Option<Share> {
        if let (Some(now_s), Some(before_s)) = (self.io_waiting_s, before.io_waiting_s) {
            return (now_s >= before_s).then(|| Share::of(now_s - before_s, elapsed_s)).flatten();
        }
        let busy = |(disk, now_s): (&String, &f64)| {
            let worked_s = now_s - before.disks_s.get(disk)?;
            (worked_s >= 0.0).then(|| Share::of(worked_s, elapsed_s)).flatten()
        };
        worst(self.disks_s.iter().filter_map(busy))
    }

    /// The fullest direction of the fullest link. Interfaces of unknown speed do not count: drivers
    /// of virtual machines say -1.
    fn network(&self, before: &Self, elapsed_s: f64) -> Option<Share> {
        let fill = |(name, now): (&String, &Interface)| {
            let was = before.interfaces.get(name)?;
            let received = now.received_bytes - was.received_bytes;
            let sent = now.sent_bytes - was.sent_bytes;
            let grown = received >= 0.0 && sent >= 0.0;
            grown.then(|| Share::of(received.max(sent) / elapsed_s, now.speed)).flatten()
        };
        worst(self.interfaces.iter().filter_map(fill))
    }
}

fn worst(shares: impl Iterator<Item = Share>) -> Option<Share> {
    shares.max_by(|a, b| a.get().total_cmp(&b.get()))
}

/// The place of the line's disk or interface, while there is room.
fn part<'m, T: Default>(parts: &'m mut BTreeMap<String, T>, line: &Line<'_>) -> Option<&'m mut T> {
    let name = line.label("device")?;
    if parts.len() >= PARTS_MAX && !parts.contains_key(name) {
        return None;
    }
    Some(parts.entry(name.to_owned()).or_default())
}

/// A line with a finite number; None for comments and whatever else.
fn line(text: &str) -> Option<Line<'_>> {
    let (name, labels, rest) = match text.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = rest.rsplit_once('}')?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = text.split_once(' ')?;
            (name, "", rest)
        }
    };
    let value = rest.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    value.is_finite().then_some(Line { name, labels, value })
}

impl<'t> Line<'t> {
    /// The value of a label. Values that are escaped are not those we look for.
    fn label(&self, name: &str) -> Option<&'t str> {
        let mut rest = self.labels;
        while let Some((found, after)) = rest.split_once("=\"") {
            let (value, next) = after.split_once('"')?;
            if found.trim_start_matches([',', ' ']) == name {
                return Some(value);
            }
            rest = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What prometheus-node-exporter 1.5.0 of Debian 12 says, and the same metrics 5 s later.
    const TEXT: &str = include_str!("../testdata/load/node_exporter_1.5.0.txt");
    const LATER: &str = include_str!("../testdata/load/node_exporter_1.5.0_later.txt");

    fn shares(before: &str, now: &str, elapsed_s: f64) -> Vec<String> {
        let before = HostFigures::parse(before).unwrap();
        let now = HostFigures::parse(now).unwrap();
        let shares = now.shares(Some(&before), elapsed_s).into_iter();
        shares.map(|(signal, share)| format!("{} {share}", signal.name())).collect()
    }

    #[test]
    fn two_texts_of_the_real_exporter_give_shares_of_processor_memory_and_disk() {
        // A machine that was compiling on both processors; its virtual link has speed -1.
        assert_eq!(shares(TEXT, LATER, 5.0), ["cpu 100 %", "memory 9 %", "disk 1 %"]);
    }

    #[test]
    fn the_first_text_says_only_how_full_the_memory_is() {
        let first = HostFigures::parse(TEXT).unwrap().shares(None, 0.0);
        let signals: Vec<Signal> = first.iter().map(|(signal, _)| *signal).collect();
        assert_eq!(signals, [Signal::Memory]);
    }

    #[test]
    fn counters_that_stand_still_or_go_back_say_nothing() {
        let cpu = |shares: &[String]| shares.iter().any(|share| share.starts_with("cpu"));
        assert!(cpu(&shares(TEXT, LATER, 5.0)));
        assert!(!cpu(&shares(LATER, LATER, 5.0)));
        assert!(!cpu(&shares(LATER, TEXT, 5.0)));
    }

    #[test]
    fn without_pressure_the_busiest_disk_counts_and_links_count_by_their_speed() {
        let text = |disk_s: f64, bytes: f64| {
            format!(
                "node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} 7.5\n\
                 node_cpu_seconds_total{{cpu=\"0\",mode=\"iowait\"}} {disk_s}\n\
                 node_cpu_seconds_total{{cpu=\"1\",mode=\"user\"}} {disk_s}\n\
                 node_cpu_seconds_total{{cpu=\"1\",mode=\"system\"}} {disk_s}\n\
                 node_disk_io_time_seconds_total{{device=\"sda\"}} 1\n\
                 node_disk_io_time_seconds_total{{device=\"sdb\"}} {disk_s}\n\
                 node_network_speed_bytes{{device=\"eth0\"}} 1e6\n\
                 node_network_receive_bytes_total{{device=\"eth0\"}} 7\n\
                 node_network_transmit_bytes_total{{device=\"eth0\"}} {bytes}\n"
            )
        };
        let found = shares(&text(10.0, 0.0), &text(11.0, 1e6), 2.0);
        assert_eq!(found, ["cpu 67 %", "disk 50 %", "network 50 %"]);
    }

    #[test]
    fn another_page_is_refused_in_words() {
        let said = HostFigures::parse("<html>It works!</html>").unwrap_err();
        assert!(said.contains("/metrics of a node_exporter"), "{said}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_share_is_out_of_range(
            lines in proptest::collection::vec(
                "node_(cpu_seconds_total|memory_MemTotal_bytes|disk_io_time_seconds_total)\
                 [{]?(device|mode)?(=\")?[a-z]{0,4}\"?[}]? ?[-+]?[0-9eE.]{0,8}", 0..20),
            junk in ".{0,80}",
        ) {
            let text = format!("{}\n{junk}", lines.join("\n"));
            if let Ok(figures) = HostFigures::parse(&text) {
                for (_, share) in figures.shares(Some(&HostFigures::default()), 1.0) {
                    assert!((0.0..=10.0).contains(&share.get()));
                }
            }
        }
    }
}
