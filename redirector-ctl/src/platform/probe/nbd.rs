//! NBD: the fixed newstyle handshake, and NBD_OPT_INFO of one export.
//! Source: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>
//!
//! INFO tells what GO would tell, and leaves the server in the handshake: no transmission begins,
//! and the conversation can end with NBD_OPT_ABORT.

use tokio::io::{AsyncRead, AsyncWrite};

use super::talk::{Bytes, Fault, Talk, quoted};
use crate::core::check::NbdCheck;

const NBDMAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const IHAVEOPT: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// What servers of the old handshake say in the place of IHAVEOPT.
const OLDSTYLE: u64 = 0x0000_4202_8186_1253;
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// NBD_FLAG_FIXED_NEWSTYLE, of the server and of the client.
const FIXED_NEWSTYLE: u16 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
/// The first of the replies that are errors.
const REP_ERR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;

/// Longest data of one reply: an error's text has up to 4096 bytes.
const DATA_LEN_MAX: usize = 8192;
/// Most replies to one option: one for each kind of information, and the last.
const REPLIES_MAX: usize = 16;

/// Asks whether the server has the export.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    check: &NbdCheck,
) -> Result<(), Fault> {
    talk.waiting_for = "NBD's greeting";
    read_greeting(talk.hear().await?)?;
    let mut request = u32::from(FIXED_NEWSTYLE).to_be_bytes().to_vec();
    request.extend(option(OPT_INFO, &info_data(&check.export)));
    talk.say(&request, "the answer to NBD_OPT_INFO").await?;
    talk.farewell = option(OPT_ABORT, &[]);
    let mut size_bytes = None;
    for _ in 0..REPLIES_MAX {
        let header = read_reply(talk.hear().await?)?;
        let data = talk.hear_len(header.len, DATA_LEN_MAX).await?;
        match header.kind {
            REP_INFO => size_bytes = read_export_info(&data).or(size_bytes),
            REP_ACK => return judge(check, size_bytes).map_err(Fault::Wrong),
            error if error >= REP_ERR => {
                return Err(Fault::Wrong(refusal(&check.export, error, &data)));
            }
            other => return Err(Fault::Wrong(format!("it sent an NBD reply of kind {other}"))),
        }
    }
    Err(Fault::Wrong(format!("it sent {REPLIES_MAX} replies to NBD_OPT_INFO and no last one")))
}

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut bytes = IHAVEOPT.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The export's name, and no requests for information beyond its size.
fn info_data(export: &str) -> Vec<u8> {
    let len = u32::try_from(export.len()).unwrap_or(u32::MAX);
    let mut data = len.to_be_bytes().to_vec();
    data.extend(export.as_bytes());
    data.extend(0_u16.to_be_bytes());
    data
}

fn read_greeting(bytes: [u8; 18]) -> Result<(), String> {
    let mut rest = Bytes(&bytes);
    let words = (rest.be64(), rest.be64(), rest.be16());
    match words {
        (Some(NBDMAGIC), Some(IHAVEOPT), Some(flags)) if flags & FIXED_NEWSTYLE != 0 => Ok(()),
        (Some(NBDMAGIC), Some(IHAVEOPT | OLDSTYLE), _) => Err(
            "it speaks NBD without the fixed newstyle handshake, which has no names of exports \
                 to ask for: check it with `greeting`"
                .to_owned(),
        ),
        _ => Err(format!("its greeting is not NBD's: {}", quoted(&bytes))),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct ReplyHeader {
    kind: u32,
    len: usize,
}

fn read_reply(bytes: [u8; 20]) -> Result<ReplyHeader, String> {
    let mut rest = Bytes(&bytes);
    let words = (rest.be64(), rest.be32(), rest.be32(), rest.be32());
    match words {
        (Some(REPLY_MAGIC), Some(OPT_INFO), Some(kind), Some(len)) => {
            Ok(ReplyHeader { kind, len: usize::try_from(len).unwrap_or(usize::MAX) })
        }
        _ => Err(format!("its answer to NBD_OPT_INFO is none: {}", quoted(&bytes))),
    }
}

/// The size, if this information is about the export itself.
fn read_export_info(data: &[u8]) -> Option<u64> {
    let mut rest = Bytes(data);
    (rest.be16()? == INFO_EXPORT).then(|| rest.be64()).flatten()
}

fn judge(check: &NbdCheck, size_bytes: Option<u64>) -> Result<(), String> {
    let Some(found) = size_bytes else {
        return Err("it acknowledged NBD_OPT_INFO without the export's size".to_owned());
    };
    match check.size_bytes {
        Some(wanted) if wanted != found => {
            Err(format!("{} has {found} bytes, not {wanted}", named(&check.export)))
        }
        _ => Ok(()),
    }
}

fn named(export: &str) -> String {
    match export {
        "" => "its default export".to_owned(),
        name => format!("its export {}", quoted(name.as_bytes())),
    }
}

fn refusal(export: &str, error: u32, data: &[u8]) -> String {
    let export = named(export);
    let text = match error - REP_ERR {
        1 => "it does not know NBD_OPT_INFO, so it cannot be asked for an export: check it with \
              `greeting`"
            .to_owned(),
        2 => format!("it refuses {export} by its policy"),
        3 => format!("it calls the request for {export} invalid"),
        5 => format!("it wants TLS before it tells of {export}: check it with `greeting`"),
        6 => format!("{export} does not exist"),
        7 => "it is shutting down".to_owned(),
        8 => format!("it wants block sizes before it tells of {export}: check it with `greeting`"),
        other => format!("it refuses {export} with NBD error {other}"),
    };
    if data.is_empty() { text } else { format!("{text}; it says {}", quoted(data)) }
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::{damaged, outcome, with};
    use super::*;

    fn asked(export: &str, size_bytes: Option<u64>) -> NbdCheck {
        NbdCheck { export: export.to_owned(), size_bytes }
    }

    fn greeting(flags: u16) -> Vec<u8> {
        [&b"NBDMAGICIHAVEOPT"[..], &flags.to_be_bytes()].concat()
    }

    fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(data.len()).unwrap();
        let words = [OPT_INFO.to_be_bytes(), kind.to_be_bytes(), len.to_be_bytes()].concat();
        [&REPLY_MAGIC.to_be_bytes()[..], &words, data].concat()
    }

    fn export_info(size_bytes: u64) -> Vec<u8> {
        [&0_u16.to_be_bytes()[..], &size_bytes.to_be_bytes(), &[0, 3]].concat()
    }

    fn good() -> Vec<u8> {
        [greeting(3), reply(REP_INFO, &export_info(4096)), reply(REP_ACK, &[])].concat()
    }

    fn said_of(answers: &[u8], check: &NbdCheck) -> Result<(), String> {
        outcome(exchange(&mut with(answers), check))
    }

    #[test]
    fn an_export_that_exists_is_good_and_the_request_is_byte_for_byte_the_protocols() {
        let mut talk = with(&good());
        assert_eq!(outcome(exchange(&mut talk, &asked("ab", Some(4096)))), Ok(()));
        let expected = b"\0\0\0\x01IHAVEOPT\0\0\0\x06\0\0\0\x08\0\0\0\x02ab\0\0";
        assert_eq!(talk.stream().said, expected);
        assert_eq!(talk.farewell, b"IHAVEOPT\0\0\0\x02\0\0\0\0");
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let unknown = [greeting(3), reply(REP_ERR + 6, b"no such export")].concat();
        assert_eq!(
            said_of(&unknown, &asked("x", None)).unwrap_err(),
            "its export \"x\" does not exist; it says \"no such export\""
        );
        assert_eq!(
            said_of(&good(), &asked("", Some(8192))).unwrap_err(),
            "its default export has 4096 bytes, not 8192"
        );
        let early = said_of(&greeting(3), &asked("", None)).unwrap_err();
        assert!(
            early.contains("closed the connection before the answer to NBD_OPT_INFO"),
            "{early}"
        );
        let ssh = said_of(b"SSH-2.0-OpenSSH_9.2p1\r\n", &asked("", None)).unwrap_err();
        assert!(ssh.contains("not NBD's: \"SSH-2.0-OpenSSH_9."), "{ssh}");
        let old = [b"NBDMAGIC", &OLDSTYLE.to_be_bytes()[..], &[0; 2]].concat();
        assert!(said_of(&old, &asked("", None)).unwrap_err().contains("check it with `greeting`"));
    }

    #[test]
    fn a_server_that_never_ends_its_replies_is_left() {
        let info = reply(REP_INFO, &export_info(1));
        let endless = [greeting(3), info.repeat(200)].concat();
        assert!(said_of(&endless, &asked("", None)).unwrap_err().contains("no last one"));
        let huge = [greeting(3), reply(REP_INFO, &[0; 9000])].concat();
        assert!(said_of(&huge, &asked("", None)).unwrap_err().contains("9000 bytes"));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answers in damaged(good())) {
            let _ = said_of(&answers, &asked("a", Some(4096)));
        }
    }
}
