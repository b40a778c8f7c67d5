//! Reads the flight recorder's files, by a parser that has nothing in common with their writer.

use anyhow::{Context, Result, anyhow, ensure};
use pcap_parser::pcapng::{Block, parse_block_le};
use pcap_parser::{OptionCode, PcapNGOption};

/// A line of a file: a packet or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A packet.
    Packet(Packet),
    /// An event, by its fields.
    Event {
        /// When, in us since the Unix epoch.
        at_us: u64,
        /// Its message.
        message: String,
    },
}

/// A packet of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When, in ns since the Unix epoch.
    pub at_ns: u64,
    /// Name of the interface.
    pub interface: String,
    /// Its comment.
    pub comment: String,
    /// What is there of it.
    pub data: Vec<u8>,
    /// How long it was.
    pub len: u32,
}

impl Packet {
    /// The name of its reason, with which the comment begins.
    pub fn reason(&self) -> &str {
        self.comment.split(':').next().unwrap_or_default()
    }
}

impl Line {
    /// When, in us since the Unix epoch.
    pub fn at_us(&self) -> u64 {
        match self {
            Self::Packet(packet) => packet.at_ns / 1000,
            Self::Event { at_us, .. } => *at_us,
        }
    }
}

/// All lines of a file, in its order.
///
/// # Errors
/// When it is not a pcapng file in order.
pub fn read(file: &[u8]) -> Result<Vec<Line>> {
    let (mut rest, mut interfaces, mut lines) = (file, Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (after, block) = parse_block_le(rest).map_err(|error| {
            anyhow!("no block at byte {}: {:?}", file.len() - rest.len(), error.map(|_| ()))
        })?;
        match block {
            Block::SectionHeader(_) => {}
            Block::InterfaceDescription(of) => {
                let name = of.if_name().context("no name")?.map_err(|_| anyhow!("no text"))?;
                ensure!(of.ts_resolution() == Some(1_000_000_000), "not in nanoseconds");
                interfaces.push(name.to_owned());
            }
            Block::EnhancedPacket(of) => lines.push(Line::Packet(Packet {
                at_ns: u64::from(of.ts_high) << 32 | u64::from(of.ts_low),
                interface: interfaces.get(of.if_id as usize).context("no interface")?.clone(),
                comment: comment(&of.options)?,
                data: of.data.get(..of.caplen as usize).context("too short")?.to_vec(),
                len: of.origlen,
            })),
            Block::SystemdJournalExport(of) => lines.push(event(of.data)?),
            other => return Err(anyhow!("an unexpected block: {other:?}")),
        }
        rest = after;
    }
    Ok(lines)
}

fn comment(options: &[PcapNGOption<'_>]) -> Result<String> {
    let found = options.iter().find(|option| option.code == OptionCode::Comment);
    let text = found.context("no comment")?.as_str().map_err(|_| anyhow!("no text"))?;
    Ok(text.to_owned())
}

fn event(data: &[u8]) -> Result<Line> {
    let text = std::str::from_utf8(data)?.trim_end_matches('\0');
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|line| line.0 == name).map(|line| line.1).with_context(|| name.to_owned())
    };
    let at_us = field("__REALTIME_TIMESTAMP")?.parse()?;
    Ok(Line::Event { at_us, message: field("MESSAGE")?.to_owned() })
}
