//! Records and events as a file that Wireshark opens (pcapng, draft-ietf-opsawg-pcapng).
//!
//! Packets are enhanced packet blocks with a comment; events are systemd journal export blocks,
//! which Wireshark shows as lines between the packets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::systemd_journal_export::SystemdJournalExportBlock;
use pcap_file::{DataLink, Endianness, PcapError};

use super::tables::Recorded;

/// Times are in 10 to the minus nine seconds (if_tsresol, section 4.2).
const NANOSECONDS: u8 = 9;
/// Direction of a packet in its flags word: came in, went out (section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When: ns since the Unix epoch.
    pub at_ns: u64,
    /// The word for what it is.
    pub kind: &'static str,
    /// How bad it is: a syslog level (RFC 5424).
    pub level: u8,
    /// The device that it is about.
    pub device: Option<String>,
    /// The server that it is about.
    pub server: Option<String>,
    /// The whole of it in one sentence.
    pub text: String,
}

/// What is known by number in records.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Interfaces by index.
    pub interfaces: BTreeMap<u32, String>,
    /// Devices by id.
    pub devices: BTreeMap<u32, String>,
    /// Servers by id.
    pub servers: BTreeMap<u16, String>,
}

/// Makes a file of packets, whose times are ns since the Unix epoch, and of notes, both oldest
/// first; `why` says why there is one.
///
/// # Errors
/// Never for records that the program wrote.
pub fn file(
    why: &str,
    packets: &[Recorded],
    notes: &[Note],
    names: &Names,
) -> Result<Vec<u8>, PcapError> {
    let application = format!("redirector {}", env!("CARGO_PKG_VERSION"));
    let mut section = SectionHeaderBlock { endianness: Endianness::Little, ..Default::default() };
    section.options = vec![
        SectionHeaderOption::Comment(Cow::Owned(why.to_owned())),
        SectionHeaderOption::UserApplication(application.into()),
    ];
    let mut writer = PcapNgWriter::with_section_header(Vec::new(), section)?;
    let interfaces = interfaces(packets, names);
    for name in interfaces.values() {
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        block.options = vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        writer.write_pcapng_block(block)?;
    }
    let mut notes = notes.iter().peekable();
    for packet in packets {
        while let Some(note) = notes.next_if(|note| note.at_ns <= packet.at_ns) {
            writer.write_pcapng_block(entry(note))?;
        }
        let place = interfaces.keys().position(|index| *index == packet.ifindex);
        writer.write_pcapng_block(block(packet, place.unwrap_or_default() as u32, names))?;
    }
    for note in notes {
        writer.write_pcapng_block(entry(note))?;
    }
    Ok(writer.into_inner())
}

/// All interfaces that are known or that packets name.
fn interfaces(packets: &[Recorded], names: &Names) -> BTreeMap<u32, String> {
    let mut all = names.interfaces.clone();
    for packet in packets {
        all.entry(packet.ifindex).or_insert_with(|| format!("interface-{}", packet.ifindex));
    }
    all
}

fn block<'a>(packet: &'a Recorded, interface_id: u32, names: &Names) -> EnhancedPacketBlock<'a> {
    let direction = if packet.left { OUTBOUND } else { INBOUND };
    EnhancedPacketBlock {
        interface_id,
        timestamp: Duration::from_nanos(packet.at_ns),
        original_len: packet.frame_len.max(packet.headers.len() as u32),
        data: Cow::Borrowed(&packet.headers),
        options: vec![
            EnhancedPacketOption::Comment(comment(packet, names).into()),
            EnhancedPacketOption::Flags(direction),
        ],
    }
}

/// What became of a packet and why: the reason's name first, for filters.
fn comment(packet: &Recorded, names: &Names) -> String {
    let name = |name: Option<&String>| name.map_or("-", String::as_str).to_owned();
    let (device, server) = (names.devices.get(&packet.device), names.servers.get(&packet.server));
    let flow = if packet.proven { "proven" } else { "candidate or none" };
    let version = packet.version.map_or_else(String::new, |(epoch, incarnation)| {
        format!(", epoch {epoch}, incarnation {incarnation}")
    });
    format!(
        "{}: {} device {}, server {}, flow {flow}{version}; {}",
        packet.reason.name(),
        packet.reason.help(),
        name(device),
        name(server),
        if packet.left { "as it left" } else { "as it came in" },
    )
}

/// An event as an entry of a journal (systemd's Journal Export Format: a field a line).
fn entry(note: &Note) -> SystemdJournalExportBlock<'static> {
    let mut text = format!("__REALTIME_TIMESTAMP={}\n", note.at_ns / 1000);
    let mut field = |name: &str, value: &str| {
        text.push_str(&format!("{name}={}\n", value.replace(['\n', '\r', '\0'], " ")));
    };
    field("PRIORITY", &note.level.to_string());
    field("SYSLOG_IDENTIFIER", "redirector");
    field("MESSAGE", &format!("{}: {}", note.kind, note.text));
    field("REDIRECTOR_EVENT", note.kind);
    for (name, value) in [("REDIRECTOR_DEVICE", &note.device), ("REDIRECTOR_SERVER", &note.server)]
    {
        if let Some(value) = value {
            field(name, value);
        }
    }
    SystemdJournalExportBlock { journal_entry: text.into_bytes().into() }
}
