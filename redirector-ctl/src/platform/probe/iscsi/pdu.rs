//! iSCSI's PDUs, as far as a check says or hears them (RFC 7143, 11).

/// Length of the basic header segment, in bytes.
pub(super) const BHS_LEN: usize = 48;
/// A tag that names nothing.
pub(super) const NO_TAG: u32 = u32::MAX;

pub(super) const NOP_IN: u8 = 0x20;
pub(super) const LOGIN_RESPONSE: u8 = 0x23;
pub(super) const TEXT_RESPONSE: u8 = 0x24;
pub(super) const ASYNC_MESSAGE: u8 = 0x32;
pub(super) const REJECT: u8 = 0x3f;

const LOGIN: u8 = 0x03;
const TEXT: u8 = 0x04;
const LOGOUT: u8 = 0x06;
/// The request does not wait for its turn, so that the number of commands never grows.
const IMMEDIATE: u8 = 0x40;
/// The last PDU of a request, a login that goes to the next stage, a logout of the session.
const FINAL: u8 = 0x80;
const OPERATIONAL: u8 = 1 << 2;
const FULL_FEATURE: u8 = 3;
/// The session's id was drawn by chance (RFC 7143, 11.12.5).
const ISID_RANDOM: u8 = 0x80;
const FIRST_COMMAND: u32 = 1;

/// A PDU that was heard.
#[derive(Debug)]
pub(super) struct Pdu {
    pub(super) basic: Basic,
    pub(super) data: Vec<u8>,
}

/// What a check wants to know of a basic header segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Basic {
    pub(super) opcode: u8,
    flags: u8,
    /// Of a reject.
    pub(super) reject_reason: u8,
    /// Length of the additional header segments, in bytes.
    pub(super) additional_len: usize,
    /// Length of the data without its padding, in bytes.
    pub(super) data_len: usize,
    pub(super) target_tag: u32,
    /// StatSN.
    pub(super) stat: u32,
    /// Class and detail, of a login response.
    pub(super) status: [u8; 2],
}

impl Basic {
    pub(super) fn read(bytes: &[u8; BHS_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let data_len = word(4) & 0x00ff_ffff;
        Self {
            opcode: bytes[0] & 0x3f,
            flags: bytes[1],
            reject_reason: bytes[2],
            additional_len: usize::from(bytes[4]) * 4,
            data_len: usize::try_from(data_len).unwrap_or(usize::MAX),
            target_tag: word(20),
            stat: word(24),
            status: [bytes[36], bytes[37]],
        }
    }

    /// Whether a login response says that the session is open.
    pub(super) fn has_arrived(&self) -> bool {
        self.flags & FINAL != 0 && self.flags & FULL_FEATURE == FULL_FEATURE
    }

    /// Whether nothing more comes of this answer.
    pub(super) fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }
}

/// A login from the operational stage to the end.
pub(super) fn login(chance: u32, expected_stat: u32, text: &[u8]) -> Vec<u8> {
    let mut header = header(LOGIN, FINAL | OPERATIONAL | FULL_FEATURE, 1, expected_stat);
    let [qualifier_high, qualifier_low, random @ ..] = chance.to_be_bytes();
    header[8..14].copy_from_slice(&[
        ISID_RANDOM,
        0,
        random[0],
        random[1],
        qualifier_high,
        qualifier_low,
    ]);
    with_data(header, text)
}

/// A text request; with a target's tag the next part of its answer.
pub(super) fn text(target_tag: u32, expected_stat: u32, text: &[u8]) -> Vec<u8> {
    let mut header = header(TEXT, FINAL, 2, expected_stat);
    header[20..24].copy_from_slice(&target_tag.to_be_bytes());
    with_data(header, text)
}

/// A logout that closes the session.
pub(super) fn logout(expected_stat: u32) -> Vec<u8> {
    header(LOGOUT, FINAL, 3, expected_stat).to_vec()
}

fn header(opcode: u8, flags: u8, task_tag: u32, expected_stat: u32) -> [u8; BHS_LEN] {
    let mut header = [0; BHS_LEN];
    header[0] = opcode | IMMEDIATE;
    header[1] = flags;
    header[16..20].copy_from_slice(&task_tag.to_be_bytes());
    header[24..28].copy_from_slice(&FIRST_COMMAND.to_be_bytes());
    header[28..32].copy_from_slice(&expected_stat.to_be_bytes());
    header
}

/// The header with the data's length, the data, and zeros up to a multiple of 4.
fn with_data(mut header: [u8; BHS_LEN], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap_or_default();
    header[4..8].copy_from_slice(&len.to_be_bytes());
    let mut bytes = [&header[..], data].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
