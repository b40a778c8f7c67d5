//! SMB: SMB2 NEGOTIATE (MS-SMB2, 2.2.3 and 2.2.4) directly over TCP, the first thing that every
//! client of SMB 2 and 3 says. No session is set up, so no credentials are needed.

use tokio::io::{AsyncRead, AsyncWrite};

use super::talk::{Bytes, Fault, Talk, quoted};

const MAGIC: [u8; 4] = *b"\xfeSMB";
const SMB1_MAGIC: [u8; 4] = *b"\xffSMB";
const HEADER_LEN: u16 = 64;
const NEGOTIATE: u16 = 0;
/// SMB2_FLAGS_SERVER_TO_REDIR: the message is an answer.
const ANSWER: u32 = 1;
/// What is offered: 2.0.2, 2.1, 3.0, 3.0.2, 3.1.1.
const DIALECTS: [u16; 5] = [0x0202, 0x0210, 0x0300, 0x0302, 0x0311];
/// SMB2_PREAUTH_INTEGRITY_CAPABILITIES with SHA-512, which 3.1.1 asks for.
const PREAUTH_INTEGRITY: u16 = 1;
const SHA_512: u16 = 1;
const SALT_LEN: u16 = 32;

/// Longest answer, in bytes.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// Negotiates. `salt` differs from check to check.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    salt: u32,
) -> Result<(), Fault> {
    talk.say(&request(salt), "the answer to SMB2 NEGOTIATE").await?;
    let prefix: [u8; 4] = talk.hear().await?;
    let len = u32::from_be_bytes(prefix);
    // The first byte is 0 (MS-SMB2, 2.1), the others are the length.
    if prefix[0] != 0 {
        return Err(Fault::Wrong(format!("its answer is not SMB's: {}", quoted(&prefix))));
    }
    let answer = talk.hear_len(usize::try_from(len).unwrap_or(usize::MAX), ANSWER_LEN_MAX).await?;
    read_answer(&answer).map_err(Fault::Wrong)
}

fn request(salt: u32) -> Vec<u8> {
    let mut message = MAGIC.to_vec();
    message.extend(HEADER_LEN.to_le_bytes());
    message.extend([0; 2 + 4]); // credit charge, status
    message.extend(NEGOTIATE.to_le_bytes());
    message.extend(1_u16.to_le_bytes()); // credits asked for
    message.resize(usize::from(HEADER_LEN), 0); // flags, ids and signature: none
    let dialects_len = u16::try_from(DIALECTS.len()).unwrap_or_default();
    message.extend(36_u16.to_le_bytes()); // structure size
    message.extend(dialects_len.to_le_bytes());
    message.extend(1_u16.to_le_bytes()); // security mode: signing enabled
    message.extend([0; 2 + 4]); // reserved, capabilities
    message.extend([salt.to_le_bytes(); 4].concat()); // client GUID
    let context_at = message.len();
    message.extend([0; 4]);
    message.extend(1_u16.to_le_bytes()); // contexts
    message.extend([0; 2]);
    message.extend(DIALECTS.iter().flat_map(|dialect| dialect.to_le_bytes()));
    message.resize(message.len().next_multiple_of(8), 0);
    let context_offset = u32::try_from(message.len()).unwrap_or_default();
    message[context_at..context_at + 4].copy_from_slice(&context_offset.to_le_bytes());
    message.extend(preauth_context(salt));
    let len = u32::try_from(message.len()).unwrap_or_default();
    [&len.to_be_bytes()[..], &message].concat()
}

fn preauth_context(salt: u32) -> Vec<u8> {
    let data_len = 6 + SALT_LEN;
    let words = [PREAUTH_INTEGRITY, data_len, 0, 0, 1, SALT_LEN, SHA_512];
    let mut context: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    context.extend([salt.to_le_bytes(); SALT_LEN as usize / 4].concat());
    context
}

/// What the server's answer says.
fn read_answer(bytes: &[u8]) -> Result<(), String> {
    let short = || "its answer to SMB2 NEGOTIATE breaks off".to_owned();
    let mut rest = Bytes(bytes);
    match rest.array().ok_or_else(short)? {
        MAGIC => {}
        SMB1_MAGIC => return Err("it speaks SMB 1 only".to_owned()),
        other => return Err(format!("its answer is not SMB's: {}", quoted(&other))),
    }
    let header = Header::read(rest).ok_or_else(short)?;
    if header.command != NEGOTIATE || header.flags & ANSWER == 0 {
        return Err("what it says is no answer to SMB2 NEGOTIATE".to_owned());
    }
    if header.status != 0 {
        return Err(format!("it refuses SMB2 NEGOTIATE with status {:#010x}", header.status));
    }
    let mut body = Bytes(bytes.get(usize::from(HEADER_LEN)..).unwrap_or_default());
    body.array::<4>().ok_or_else(short)?; // structure size, security mode
    let dialect = body.le16().ok_or_else(short)?;
    if DIALECTS.contains(&dialect) {
        return Ok(());
    }
    Err(format!("it chose the SMB dialect {dialect:#06x}, which was not offered"))
}

struct Header {
    status: u32,
    command: u16,
    flags: u32,
}

impl Header {
    /// What follows the magic.
    fn read(mut rest: Bytes<'_>) -> Option<Self> {
        rest.array::<4>()?; // structure size, credit charge
        let status = rest.le32()?;
        let command = rest.le16()?;
        rest.le16()?; // credits
        Some(Self { status, command, flags: rest.le32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::{damaged, outcome, with};
    use super::*;

    fn answer(status: u32, dialect: u16) -> Vec<u8> {
        let mut message = MAGIC.to_vec();
        message.extend([64, 0, 0, 0]);
        message.extend(status.to_le_bytes());
        message.extend([0, 0, 1, 0, 1, 0, 0, 0]);
        message.resize(64, 0);
        message.extend([65, 0, 1, 0]);
        message.extend(dialect.to_le_bytes());
        message.resize(64 + 65, 0);
        let len = u32::try_from(message.len()).unwrap();
        [&len.to_be_bytes()[..], &message].concat()
    }

    fn said_of(answers: &[u8]) -> Result<(), String> {
        outcome(exchange(&mut with(answers), 7))
    }

    #[test]
    fn an_offered_dialect_with_status_ok_is_good() {
        assert_eq!(said_of(&answer(0, 0x0311)), Ok(()));
        assert_eq!(said_of(&answer(0, 0x0202)), Ok(()));
    }

    #[test]
    fn the_request_is_as_long_as_it_says_and_its_context_is_aligned() {
        let bytes = request(7);
        let len = u32::from_be_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(usize::try_from(len).unwrap(), bytes.len() - 4);
        let offset = u32::from_le_bytes(bytes[4 + 92..4 + 96].try_into().unwrap());
        assert_eq!((offset, bytes.len() - 4 - 112), (112, 8 + 38));
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let refused = said_of(&answer(0xc000_00bb, 0x0202)).unwrap_err();
        assert_eq!(refused, "it refuses SMB2 NEGOTIATE with status 0xc00000bb");
        let odd = said_of(&answer(0, 0x02ff)).unwrap_err();
        assert_eq!(odd, "it chose the SMB dialect 0x02ff, which was not offered");
        let old = said_of(b"\0\0\0\x04\xffSMB").unwrap_err();
        assert_eq!(old, "it speaks SMB 1 only");
        assert!(said_of(b"HTTP/1.1 400").unwrap_err().contains("not SMB's: \"HTTP\""));
        assert!(said_of(b"\0\xff\xff\xff").unwrap_err().contains("16777215 bytes"));
        assert!(said_of(&[]).unwrap_err().contains("before the answer to SMB2 NEGOTIATE"));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answers in damaged(answer(0, 0x0311))) {
            let _ = said_of(&answers);
            let _ = read_answer(&answers);
        }
    }
}
