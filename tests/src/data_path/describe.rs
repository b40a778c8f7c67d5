//! Frames for the eye: field by field, two beside each other, and as files that packet analysers
//! read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etherparse::{LaxPacketHeaders, LaxSlicedPacket, NetHeaders, TransportHeader};

/// The fields of a frame, one a line; what etherparse cannot read comes as bytes.
pub fn fields(frame: &[u8]) -> Vec<String> {
    let mut lines = vec![format!("length {}", frame.len())];
    match LaxPacketHeaders::from_ethernet(frame) {
        Err(error) => lines.push(format!("no Ethernet frame: {error}")),
        Ok(headers) => {
            push(&mut lines, "ethernet", &headers.link);
            headers.link_exts.iter().for_each(|tag| push(&mut lines, "tag", tag));
            match &headers.net {
                Some(NetHeaders::Ipv4(header, _)) => push(&mut lines, "ip", header),
                Some(NetHeaders::Ipv6(header, more)) => {
                    push(&mut lines, "ip", header);
                    push(&mut lines, "extensions", more);
                }
                other => push(&mut lines, "network", other),
            }
            match &headers.transport {
                Some(TransportHeader::Tcp(header)) => push(&mut lines, "tcp", header),
                Some(TransportHeader::Udp(header)) => push(&mut lines, "udp", header),
                other => push(&mut lines, "transport", other),
            }
        }
    }
    let payload = LaxSlicedPacket::from_ethernet(frame)
        .ok()
        .and_then(|packet| packet.ip_payload().map(|payload| payload.payload));
    for (n, row) in payload.unwrap_or(frame).chunks(16).enumerate() {
        lines.push(format!("{:04x} {row:02x?}", n * 16));
    }
    lines
}

/// One line for each field of what the standard library prints over many.
fn push(lines: &mut Vec<String>, name: &str, value: &impl std::fmt::Debug) {
    let text = format!("{value:#?}");
    let mut inside = Vec::new();
    for line in text.lines().map(str::trim) {
        match line.strip_suffix(['{', '(', '[']) {
            Some(head) => inside.push(head.trim_end().trim_end_matches(':').to_owned()),
            None if line.starts_with(['}', ')', ']']) => {
                inside.pop();
            }
            None => {
                lines.push(format!("{name} {} {}", inside.join(" "), line.trim_end_matches(',')))
            }
        }
    }
}

/// Two frames field by field; where they differ the line begins with `!`.
pub fn side_by_side(expected: &[u8], actual: &[u8]) -> String {
    let (left, right) = (fields(expected), fields(actual));
    let mut text = format!("  {:<64} {}\n", "expected", "actual");
    for n in 0..left.len().max(right.len()) {
        let of = |lines: &[String]| lines.get(n).cloned().unwrap_or_default();
        let (left, right) = (of(&left), of(&right));
        let mark = if left == right { ' ' } else { '!' };
        let _ = writeln!(text, "{mark} {left:<64} {right}");
    }
    text
}

/// Writes frames into a pcap file (link type Ethernet) in the build's directory; gives its path.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_pcap(name: &str, frames: &[&[u8]]) -> Result<PathBuf> {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packets");
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let path = dir.join(format!("{name}.pcap"));
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let mut bytes = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
    for (n, frame) in frames.iter().enumerate() {
        let len = frame.len() as u32;
        bytes.extend(words(&[n as u32, 0, len, len]));
        bytes.extend(*frame);
    }
    std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
