//! NFS: the NULL call, procedure 0 of ONC RPC program 100003 (RFC 5531, RFC 1813, RFC 7530).
//! Every version of the server must answer it, without credentials.

use tokio::io::{AsyncRead, AsyncWrite};

use super::talk::{Bytes, Fault, Talk};

const NFS_PROGRAM: u32 = 100_003;
const RPC_VERSION: u32 = 2;
const CALL: u32 = 0;
const REPLY: u32 = 1;
/// A record's last fragment (RFC 5531, 11).
const LAST_FRAGMENT: u32 = 1 << 31;
/// Longest reply, in bytes: 24, and a verifier of up to 400 (RFC 5531, 8.2).
pub(super) const REPLY_LEN_MAX: usize = 1024;

/// Makes the call over TCP. `xid` tells its answer from others.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    version: u32,
    xid: u32,
) -> Result<(), Fault> {
    let call = null_call(version, xid);
    let mark = LAST_FRAGMENT | u32::try_from(call.len()).unwrap_or_default();
    let record = [&mark.to_be_bytes()[..], &call].concat();
    talk.say(&record, "the answer to NFS's NULL call").await?;
    let mark = u32::from_be_bytes(talk.hear().await?);
    let len = usize::try_from(mark & !LAST_FRAGMENT).unwrap_or(usize::MAX);
    let reply = talk.hear_len(len, REPLY_LEN_MAX).await?;
    if mark & LAST_FRAGMENT == 0 {
        return Err(Fault::Wrong("its answer to NFS's NULL call comes in fragments".to_owned()));
    }
    read_reply(&reply, version, xid).map_err(Fault::Wrong)
}

/// The call, without a record mark: as UDP has it.
pub(super) fn null_call(version: u32, xid: u32) -> Vec<u8> {
    let null = 0_u32;
    // Credentials and verifier: AUTH_NONE, of length 0.
    let words = [xid, CALL, RPC_VERSION, NFS_PROGRAM, version, null, 0, 0, 0, 0];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Whether these bytes answer the call `xid`, for a socket on which others may arrive.
pub(super) fn is_reply_to(bytes: &[u8], xid: u32) -> bool {
    bytes.first_chunk().is_some_and(|first| u32::from_be_bytes(*first) == xid)
}

/// What the server's reply says.
pub(super) fn read_reply(bytes: &[u8], version: u32, xid: u32) -> Result<(), String> {
    let short = || "its answer to NFS's NULL call breaks off".to_owned();
    let mut rest = Bytes(bytes);
    let (answered, kind) = (rest.be32().ok_or_else(short)?, rest.be32().ok_or_else(short)?);
    if (answered, kind) != (xid, REPLY) {
        return Err("what it answers is no reply to NFS's NULL call".to_owned());
    }
    match rest.be32().ok_or_else(short)? {
        0 => accepted(rest, version).ok_or_else(short)?,
        1 => Err(denied(rest).ok_or_else(short)?),
        other => Err(format!("it answers NFS's NULL call with the unknown RPC status {other}")),
    }
}

fn accepted(mut rest: Bytes<'_>, version: u32) -> Option<Result<(), String>> {
    let _flavour = rest.be32()?;
    let verifier_len = usize::try_from(rest.be32()?).ok()?;
    rest.slice(verifier_len.checked_next_multiple_of(4)?)?;
    Some(match rest.be32()? {
        0 => Ok(()),
        1 => Err("it has no NFS (RPC program 100003 is not available there)".to_owned()),
        2 => {
            let (low, high) = (rest.be32()?, rest.be32()?);
            Err(format!("it has no NFS version {version}, only {low} to {high}"))
        }
        3 => Err("it does not know NFS's NULL call".to_owned()),
        4 => Err("it cannot read NFS's NULL call".to_owned()),
        5 => Err("it answers NFS's NULL call with a system error".to_owned()),
        other => Err(format!("it answers NFS's NULL call with the unknown status {other}")),
    })
}

fn denied(mut rest: Bytes<'_>) -> Option<String> {
    Some(match rest.be32()? {
        0 => {
            let (low, high) = (rest.be32()?, rest.be32()?);
            format!("it has no RPC version {RPC_VERSION}, only {low} to {high}")
        }
        1 => format!("it refuses NFS's NULL call with authentication error {}", rest.be32()?),
        other => format!("it refuses NFS's NULL call for the unknown reason {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::{damaged, outcome, with};
    use super::*;

    const XID: u32 = 0x1234_5678;

    fn reply(words: &[u32]) -> Vec<u8> {
        let words: Vec<u8> =
            [XID, REPLY].iter().chain(words).flat_map(|word| word.to_be_bytes()).collect();
        let mark = LAST_FRAGMENT | u32::try_from(words.len()).unwrap();
        [&mark.to_be_bytes()[..], &words].concat()
    }

    fn said_of(answers: &[u8]) -> Result<(), String> {
        outcome(exchange(&mut with(answers), 4, XID))
    }

    #[test]
    fn a_success_is_good_with_or_without_a_verifier() {
        assert_eq!(said_of(&reply(&[0, 0, 0, 0])), Ok(()));
        assert_eq!(said_of(&reply(&[0, 1, 5, 7, 7, 0])), Ok(()));
    }

    #[test]
    fn the_call_is_byte_for_byte_the_protocols() {
        let mut talk = with(&reply(&[0, 0, 0, 0]));
        outcome(exchange(&mut talk, 3, XID)).unwrap();
        let expected = b"\x80\0\0\x28\x12\x34\x56\x78\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03";
        assert_eq!(talk.stream().said, [&expected[..], &[0; 20]].concat());
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        for (words, said) in [
            (&[0, 0, 0, 1][..], "it has no NFS (RPC program 100003 is not available there)"),
            (&[0, 0, 0, 2, 3, 3], "it has no NFS version 4, only 3 to 3"),
            (&[1, 0, 3, 4], "it has no RPC version 2, only 3 to 4"),
            (&[1, 1, 5], "it refuses NFS's NULL call with authentication error 5"),
            (&[0, 0, 0], "its answer to NFS's NULL call breaks off"),
            (&[0, 0, u32::MAX, 0], "its answer to NFS's NULL call breaks off"),
        ] {
            assert_eq!(said_of(&reply(words)).unwrap_err(), said);
        }
        let huge = [0xff; 64];
        assert!(said_of(&huge).unwrap_err().contains("2147483647 bytes"));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answers in damaged(reply(&[0, 0, 8, 7, 7, 2, 3, 4]))) {
            let _ = said_of(&answers);
            let _ = read_reply(&answers, 3, XID);
        }
    }
}
