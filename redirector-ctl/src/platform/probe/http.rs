//! HTTP: one GET request over HTTP/1.1 (RFC 9112), and its answer's status.
//!
//! A short body of known length is awaited, so that a server which hangs in the middle of its
//! answer is found. Other bodies are not read.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use super::talk::{Fault, Talk, quoted};
use crate::core::check::HttpCheck;

/// Longest status line and headers, in bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// Longest body that is awaited, in bytes.
const BODY_LEN_MAX: usize = 16 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Asks for the path.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    talk: &mut Talk<S>,
    check: &HttpCheck,
    address: SocketAddr,
) -> Result<(), Fault> {
    talk.say(request(check, address).as_bytes(), "the answer to an HTTP request").await?;
    let mut heard = Vec::new();
    let head_len = loop {
        talk.hear_some(&mut heard).await?;
        let end = heard.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD);
        if let Some(end) = end {
            break end + END_OF_HEAD.len();
        }
        if heard.len() > HEAD_LEN_MAX || !may_be_http(&heard) {
            return Err(Fault::Wrong(format!("its answer is not HTTP's: {}", quoted(&heard))));
        }
    };
    let head = read_head(&heard[..head_len])?;
    if !(check.status_min..=check.status_max).contains(&head.status) {
        return Err(Fault::Wrong(format!(
            "its answer to GET {} is {}, not one from {} to {}",
            check.path, head.line, check.status_min, check.status_max
        )));
    }
    if let Some(body_len) = head.content_len.filter(|len| *len <= BODY_LEN_MAX) {
        talk.waiting_for = "the body of its HTTP answer";
        let left_len = body_len.saturating_sub(heard.len() - head_len);
        talk.hear_len(left_len, BODY_LEN_MAX).await?;
    }
    Ok(())
}

fn request(check: &HttpCheck, address: SocketAddr) -> String {
    let host = check.host.clone().unwrap_or_else(|| address.to_string());
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: redirector-check\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        check.path
    )
}

/// Whether an answer can still be one: it is left at once when it cannot.
fn may_be_http(heard: &[u8]) -> bool {
    heard.iter().zip(b"HTTP/1.").all(|(heard, wanted)| heard == wanted)
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Status and reason, for people.
    line: String,
    /// Length of the body, where it is known.
    content_len: Option<usize>,
}

fn read_head(head: &[u8]) -> Result<Head, String> {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    let wrong = || format!("its answer is not HTTP's: {}", quoted(first));
    let version_and_rest = first.strip_prefix(b"HTTP/1.").and_then(|rest| rest.split_at_checked(2));
    let (_, rest) = version_and_rest
        .filter(|(v, _)| v[0].is_ascii_digit() && v[1] == b' ')
        .ok_or_else(wrong)?;
    let digits = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    let status = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 3);
    let status = status.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let mut head = Head { status, line: quoted(rest), content_len: None };
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.content_len = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // It overrides the length (RFC 9112, 6.3).
            return Ok(Head { content_len: None, ..head });
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::super::talk::tests::{damaged, outcome, with};
    use super::*;

    const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";

    fn said_of(answers: &[u8]) -> Result<(), String> {
        let address = "10.0.2.11:80".parse().unwrap();
        outcome(exchange(&mut with(answers), &HttpCheck::default(), address))
    }

    #[test]
    fn a_status_within_the_range_is_good() {
        assert_eq!(said_of(GOOD), Ok(()));
        assert_eq!(said_of(b"HTTP/1.0 302 Found\r\n\r\n"), Ok(()));
        assert_eq!(said_of(b"HTTP/1.1 204 \r\n\r\n"), Ok(()));
        assert_eq!(said_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5"), Ok(()));
    }

    #[test]
    fn the_request_names_path_and_host() {
        let address = "10.0.2.11:80".parse().unwrap();
        let check = HttpCheck { path: "/health?deep=1".into(), ..HttpCheck::default() };
        let text = request(&check, address);
        assert!(
            text.starts_with("GET /health?deep=1 HTTP/1.1\r\nHost: 10.0.2.11:80\r\n"),
            "{text}"
        );
        let named = HttpCheck { host: Some("nas.example".into()), ..check };
        assert!(request(&named, address).contains("\r\nHost: nas.example\r\n"));
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        assert_eq!(
            said_of(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err(),
            "its answer to GET / is \"503 Service Unavailable\", not one from 200 to 399"
        );
        let short = said_of(&GOOD[..GOOD.len() - 1]).unwrap_err();
        assert!(short.contains("before the body of its HTTP answer was complete"), "{short}");
        assert!(said_of(b"SSH-2.0-OpenSSH\r\n").unwrap_err().contains("not HTTP's: \"SSH-2.0"));
        for bad in ["HTTP/1.1 20 x", "HTTP/1.1 2000 x", "HTTP/1.1200 OK", "HTTP/1.", "HTTP/2 200"] {
            let said = said_of(format!("{bad}\r\n\r\n").as_bytes()).unwrap_err();
            assert!(said.contains("not HTTP's"), "{bad}: {said}");
        }
    }

    #[test]
    fn endless_headers_are_left() {
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(20_000)].concat();
        assert!(said_of(&endless).unwrap_err().contains("not HTTP's"));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(answers in damaged(GOOD.to_vec())) {
            let _ = said_of(&answers);
        }
    }
}
