//! iSCSI: a login, in a discovery session SendTargets, and a logout (RFC 7143).
//!
//! The login goes straight to the operational stage, so it offers no authentication. A target that
//! wants some refuses it; what such a server lists in a discovery session can still be checked.

mod pdu;

use tokio::io::{AsyncRead, AsyncWrite};

use super::talk::{Fault, Talk, quoted};
use crate::core::check::{INITIATOR, IscsiCheck, IscsiSession};
use pdu::{BHS_LEN, Basic, NO_TAG, Pdu};

/// Longest data of one PDU: what a side takes that has not said otherwise (RFC 7143, 13.12).
const DATA_LEN_MAX: usize = 8192;
/// Most PDUs that one question is answered with.
const PDUS_MAX: usize = 16;

/// Asks for the target. `chance` makes the session's id differ from check to check.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    check: &IscsiCheck,
    chance: u32,
) -> Result<(), Fault> {
    let expected_stat = login(talk, check, chance).await?;
    talk.farewell = pdu::logout(expected_stat);
    match check.session {
        IscsiSession::Normal => Ok(()),
        IscsiSession::Discovery => discover(talk, check, expected_stat).await,
    }
}

/// Logs in; gives the number that the target's next status will have.
async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    check: &IscsiCheck,
    chance: u32,
) -> Result<u32, Fault> {
    let mut text = login_text(check);
    let mut expected_stat = 0;
    for _ in 0..PDUS_MAX {
        talk.say(&pdu::login(chance, expected_stat, &text), "the answer to an iSCSI login").await?;
        let answer = hear(talk, pdu::LOGIN_RESPONSE).await?;
        if let Some(refusal) = refusal(&answer) {
            return Err(Fault::Wrong(refusal));
        }
        expected_stat = answer.basic.stat.wrapping_add(1);
        if answer.basic.has_arrived() {
            return Ok(expected_stat);
        }
        // The target wants to go on negotiating, and there is nothing to negotiate.
        text.clear();
    }
    Err(Fault::Wrong(format!("its iSCSI login was not over after {PDUS_MAX} answers")))
}

/// Looks for the target in what the server lists.
async fn discover<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    check: &IscsiCheck,
    mut expected_stat: u32,
) -> Result<(), Fault> {
    let mut question = b"SendTargets=All\0".to_vec();
    let (mut listed, mut tag) = (Vec::new(), NO_TAG);
    for _ in 0..PDUS_MAX {
        let text = pdu::text(tag, expected_stat, &question);
        talk.say(&text, "the answer to iSCSI's SendTargets").await?;
        let answer = hear(talk, pdu::TEXT_RESPONSE).await?;
        expected_stat = answer.basic.stat.wrapping_add(1);
        talk.farewell = pdu::logout(expected_stat);
        listed.extend(answer.data);
        if has_target(&listed, check.target.as_deref()) {
            return Ok(());
        }
        if answer.basic.is_final() || answer.basic.target_tag == NO_TAG {
            break;
        }
        (tag, question) = (answer.basic.target_tag, Vec::new());
    }
    Err(Fault::Wrong(missing(&listed, check.target.as_deref())))
}

/// Hears PDUs until one is of this kind, past what a target may say at any time.
async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    opcode: u8,
) -> Result<Pdu, Fault> {
    for _ in 0..PDUS_MAX {
        let basic = Basic::read(&talk.hear::<BHS_LEN>().await?);
        talk.hear_len(basic.additional_len, DATA_LEN_MAX).await?;
        let padded_len = basic.data_len.next_multiple_of(4);
        let mut data = talk.hear_len(padded_len, DATA_LEN_MAX).await?;
        data.truncate(basic.data_len);
        match basic.opcode {
            found if found == opcode => return Ok(Pdu { basic, data }),
            pdu::NOP_IN | pdu::ASYNC_MESSAGE => {}
            pdu::REJECT => {
                let reason = basic.reject_reason;
                return Err(Fault::Wrong(format!("it rejects iSCSI with reason {reason:#04x}")));
            }
            other => {
                let what = talk.waiting_for;
                return Err(Fault::Wrong(format!("it sent opcode {other:#04x}, not {what}")));
            }
        }
    }
    Err(Fault::Wrong(format!("it sent {PDUS_MAX} PDUs and not {}", talk.waiting_for)))
}

fn login_text(check: &IscsiCheck) -> Vec<u8> {
    let initiator = check.initiator.as_deref().unwrap_or(INITIATOR);
    let mut text = format!("InitiatorName={initiator}\0");
    match (check.session, &check.target) {
        (IscsiSession::Normal, Some(target)) => {
            text.push_str(&format!("SessionType=Normal\0TargetName={target}\0"));
        }
        _ => text.push_str("SessionType=Discovery\0"),
    }
    text.into_bytes()
}

/// What a login's status means where it is not success (RFC 7143, 11.13.5).
fn refusal(answer: &Pdu) -> Option<String> {
    let [class, detail] = answer.basic.status;
    let status = u16::from_be_bytes([class, detail]);
    let text = match status {
        _ if class == 0 => return None,
        0x0101 | 0x0102 => {
            let to = values(&answer.data, b"TargetAddress=").next().map(quoted);
            let to = to.map(|to| format!(" {to}")).unwrap_or_default();
            format!("it sends initiators elsewhere{to}")
        }
        0x0201 => {
            "it wants authentication, which a check has not: use the session `discovery`, or \
                   let this initiator in without"
                .to_owned()
        }
        0x0202 => "this initiator is not allowed: let the target allow its name".to_owned(),
        0x0203 => "the target does not exist".to_owned(),
        0x0204 => "the target was removed".to_owned(),
        0x0206 => "it has too many connections".to_owned(),
        0x0301 => "the target is unavailable at present".to_owned(),
        0x0302 => "it is out of resources".to_owned(),
        _ => "it refuses the iSCSI login".to_owned(),
    };
    Some(format!("{text} (iSCSI login status {status:#06x})"))
}

/// The values of one key in a text of `key=value` and 0.
fn values<'t>(text: &'t [u8], key: &'static [u8]) -> impl Iterator<Item = &'t [u8]> {
    text.split(|byte| *byte == 0).filter_map(move |pair| pair.strip_prefix(key))
}

fn has_target(listed: &[u8], target: Option<&str>) -> bool {
    // The last pair may be the beginning of a longer one.
    let whole = listed.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    let mut names = values(&listed[..whole], b"TargetName=");
    names.any(|name| target.is_none_or(|target| name == target.as_bytes()))
}

fn missing(listed: &[u8], target: Option<&str>) -> String {
    let len = values(listed, b"TargetName=").count();
    match target {
        None => "it lists no iSCSI target for this initiator".to_owned(),
        Some(target) => {
            let target = quoted(target.as_bytes());
            format!("it lists {len} iSCSI targets for this initiator, and not {target}")
        }
    }
}

#[cfg(test)]
mod tests;
