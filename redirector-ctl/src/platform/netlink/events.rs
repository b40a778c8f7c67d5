//! That something has changed, as far as the kernel tells.

use futures::StreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::SocketAddr;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Events waiting at most. More are left out: who has so many to look into looks at everything, and
/// again without being told.
pub(super) const EVENTS_MAX: usize = 256;

/// Something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetEvent {
    /// An interface came, went or changed.
    Links,
    /// A route or an address of ours came, went or changed.
    Routes,
    /// A neighbour came, went or changed.
    Neighbours,
}

/// Passes on that something changed. It never waits for whoever looks, because the messages that
/// come meanwhile wait in memory: a router may change a million routes in some seconds. When nobody
/// looks any more, it ends.
pub(super) async fn forward(
    mut messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    events: mpsc::Sender<NetEvent>,
) {
    use RouteNetlinkMessage as Message;
    while let Some((message, _)) = messages.next().await {
        let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
        let event = match message {
            Message::NewLink(_) | Message::DelLink(_) => NetEvent::Links,
            Message::NewNeighbour(_) | Message::DelNeighbour(_) => NetEvent::Neighbours,
            Message::NewRoute(_)
            | Message::DelRoute(_)
            | Message::NewAddress(_)
            | Message::DelAddress(_) => NetEvent::Routes,
            _ => continue,
        };
        if matches!(events.try_send(event), Err(TrySendError::Closed(_))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netlink_packet_route::route::RouteMessage;

    use super::*;

    #[tokio::test]
    async fn messages_do_not_pile_up_while_nobody_looks_at_them() {
        let (sender, messages) = futures::channel::mpsc::unbounded();
        let (events, mut queue) = mpsc::channel(2);
        for _ in 0..1000 {
            let message = RouteNetlinkMessage::NewRoute(RouteMessage::default());
            sender.unbounded_send((message.into(), SocketAddr::new(0, 0))).unwrap();
        }
        drop(sender);
        let all = tokio::time::timeout(Duration::from_secs(10), forward(messages, events)).await;
        assert!(all.is_ok(), "it waits for whoever looks");
        assert_eq!(queue.recv().await, Some(NetEvent::Routes));
    }
}
