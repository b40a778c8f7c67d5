//! Conversations with an iSCSI server whose words are known beforehand.

use super::super::talk::tests::{damaged, outcome, with};
use super::*;

const TARGET: &str = "iqn.2026-01.com.example:disk-a";

fn asked(target: Option<&str>, session: IscsiSession) -> IscsiCheck {
    IscsiCheck { target: target.map(str::to_owned), initiator: None, session }
}

fn pdu(opcode: u8, flags: u8, tag: u32, status: [u8; 2], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; BHS_LEN];
    (bytes[0], bytes[1]) = (opcode, flags);
    bytes[4..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes[20..24].copy_from_slice(&tag.to_be_bytes());
    bytes[24..28].copy_from_slice(&9_u32.to_be_bytes());
    bytes[36..38].copy_from_slice(&status);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn logged_in() -> Vec<u8> {
    pdu(pdu::LOGIN_RESPONSE, 0x87, 0, [0, 0], b"TargetPortalGroupTag=1\0")
}

fn list(text: &str) -> Vec<u8> {
    pdu(pdu::TEXT_RESPONSE, 0x80, NO_TAG, [0, 0], text.replace(' ', "\0").as_bytes())
}

fn good() -> Vec<u8> {
    let nop = pdu(pdu::NOP_IN, 0x80, 5, [0, 0], b"");
    let text = format!("TargetName={TARGET} TargetAddress=10.0.2.11:3260,1 ");
    [logged_in(), nop, list(&text)].concat()
}

fn said_of(answers: &[u8], check: &IscsiCheck) -> Result<(), String> {
    outcome(exchange(&mut with(answers), check, 0x0102_0304))
}

#[test]
fn a_target_that_is_listed_is_good_and_the_session_is_closed() {
    let mut talk = with(&good());
    let check = asked(Some(TARGET), IscsiSession::Discovery);
    assert_eq!(outcome(exchange(&mut talk, &check, 0x0102_0304)), Ok(()));
    let said = &talk.stream().said;
    assert_eq!(said[..8], [0x43, 0x87, 0, 0, 0, 0, 0, 73]);
    assert_eq!(said[8..16], [0x80, 0, 3, 4, 1, 2, 0, 0]);
    assert!(said[48..].starts_with(b"InitiatorName=iqn.2026-01.invalid.redirector:check\0"));
    assert_eq!(said.len(), 48 + 76 + 48 + 16);
    assert_eq!((talk.farewell[0], talk.farewell[1], talk.farewell[31]), (0x46, 0x80, 10));
}

#[test]
fn a_login_that_takes_several_rounds_ends_as_one_that_takes_one() {
    let halfway = pdu(pdu::LOGIN_RESPONSE, 0x04, 0, [0, 0], b"HeaderDigest=None\0");
    let check = asked(Some(TARGET), IscsiSession::Normal);
    assert_eq!(said_of(&[halfway.clone(), logged_in()].concat(), &check), Ok(()));
    assert!(said_of(&halfway.repeat(40), &check).unwrap_err().contains("not over after 16"));
}

#[test]
fn a_list_in_several_parts_is_one_list() {
    let first = pdu(pdu::TEXT_RESPONSE, 0x40, 77, [0, 0], b"TargetName=iqn.2026-01.com.exam");
    let answers = [logged_in(), first, list("ple:disk-a ")].concat();
    assert_eq!(said_of(&answers, &asked(Some(TARGET), IscsiSession::Discovery)), Ok(()));
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let named = asked(Some(TARGET), IscsiSession::Discovery);
    let other = [logged_in(), list("TargetName=iqn.2026-01.com.example:disk-ab ")].concat();
    assert_eq!(
        said_of(&other, &named).unwrap_err(),
        "it lists 1 iSCSI targets for this initiator, and not \"iqn.2026-01.com.example:disk-a\""
    );
    let none = [logged_in(), list("")].concat();
    assert_eq!(
        said_of(&none, &asked(None, IscsiSession::Discovery)).unwrap_err(),
        "it lists no iSCSI target for this initiator"
    );
    let unknown = pdu(pdu::LOGIN_RESPONSE, 0, 0, [2, 3], b"");
    assert_eq!(
        said_of(&unknown, &asked(Some(TARGET), IscsiSession::Normal)).unwrap_err(),
        "the target does not exist (iSCSI login status 0x0203)"
    );
    let moved = pdu(pdu::LOGIN_RESPONSE, 0, 0, [1, 1], b"TargetAddress=10.0.2.12:3260\0");
    assert_eq!(
        said_of(&moved, &named).unwrap_err(),
        "it sends initiators elsewhere \"10.0.2.12:3260\" (iSCSI login status 0x0101)"
    );
    let odd = said_of(&[0x11; 2048], &named).unwrap_err();
    assert!(odd.contains("bytes, at most 8192 fit") || odd.contains("opcode"), "{odd}");
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_it_panic(answers in damaged(good())) {
        for session in [IscsiSession::Discovery, IscsiSession::Normal] {
            let _ = said_of(&answers, &asked(Some(TARGET), session));
        }
    }
}
