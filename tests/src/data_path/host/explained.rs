//! What became of a packet on the host, in a form that can be compared.

use redirector_common::apply::Exit;
use redirector_common::request;
use redirector_common::tcp::Segment;
use redirector_common::verdict::{Account, Action, Reason};

use super::super::frame::Bytes;
use super::super::{DROP, INGRESS, Outcome, PASS, REDIRECT, TX};

/// What became of a packet, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Action and frame.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Device and server to whose account it goes.
    pub account: (u32, u16),
    /// Whether it ends a request of its client's.
    pub is_request: bool,
}

impl Explained {
    /// Of a packet that has left by `exit` and this interface.
    pub fn new(
        frame: Bytes,
        (exit, ifindex): (Exit, u16),
        (account, segment): (&Account, &Segment),
    ) -> Self {
        let action = match exit {
            Exit::Pass => PASS,
            Exit::Drop => DROP,
            Exit::Back => TX,
            Exit::Send if ifindex == INGRESS => TX,
            Exit::Send => REDIRECT,
        };
        Self {
            outcome: Outcome { action, frame: frame.bytes },
            reason: account.reason,
            account: (account.device, account.server),
            is_request: request::ends(account, segment),
        }
    }

    /// Of a packet that is not looked at any further.
    pub fn passed(frame: &[u8], reason: Reason) -> Self {
        let account = Account::of_nobody(Action::Pass, reason);
        Self {
            outcome: Outcome { action: PASS, frame: frame.to_vec() },
            reason,
            account: (account.device, account.server),
            is_request: false,
        }
    }
}
