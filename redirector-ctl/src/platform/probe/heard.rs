//! What a check makes of bytes that are already there: the readers of servers' answers without a
//! server, for tests that feed them anything.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::knock::segment;
use super::talk::{Fault, Talk};
use super::{http, iscsi, nbd, nfs, smb};
use crate::core::check::Check;

/// What a check chooses by chance, such as the number of a call, is this.
pub const CHANCE: u32 = 0x0102_0304;

/// Whether an IP packet answers a SYN that asked for a service address.
#[must_use]
pub fn answers_a_syn(packet: &[u8]) -> bool {
    segment::answer(packet).is_some()
}

/// The judgement of a check whose server says `bytes` and then closes, whatever it is asked. Checks
/// that read nothing judge nothing.
///
/// # Errors
/// Why the server does not pass, in words.
pub fn judge(check: &Check, address: SocketAddr, bytes: &[u8]) -> Result<(), String> {
    let mut talk = Talk::new(tokio::io::join(bytes, tokio::io::sink()));
    let talking = async {
        match check {
            Check::Http(check) => http::exchange(&mut talk, check, address).await,
            Check::Nbd(check) => nbd::exchange(&mut talk, check).await,
            Check::Iscsi(check) => iscsi::exchange(&mut talk, check, CHANCE).await,
            Check::Nfs { version } => {
                nfs::exchange(&mut talk, version.map_or(4, u32::from), CHANCE).await
            }
            Check::Smb => smb::exchange(&mut talk, CHANCE).await,
            Check::Connect | Check::Greeting | Check::Exec { .. } => Ok(()),
        }
    };
    // All bytes are there, so nothing ever waits.
    match pin!(talking).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => Ok(()),
        Poll::Ready(Err(Fault::Wrong(text))) => Err(text),
        Poll::Ready(Err(Fault::Io(error))) => Err(error.to_string()),
        Poll::Pending => Err("the check waits though all has been said".to_owned()),
    }
}
