//! Connections: taken, limited in number and time, led through the port's door, and served.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use super::caller::{Caller, Peer};
use super::door::Door;
use super::limits::{
    CONNECTION_LIFE, CONNECTIONS_PER_ADDRESS_MAX, GOODBYE_TIMEOUT, HANDSHAKE_TIMEOUT, HEAD_LEN_MAX,
    HEAD_TIMEOUT, HEADERS_MAX, PORT_CONNECTIONS_MAX, SOCKET_CONNECTIONS_MAX, WRITE_TIMEOUT,
};
use super::listen::Listeners;
use super::login::Entrance;
use super::tls;

/// Addresses of which connections are counted; beyond it those without any are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// First byte of a handshake's record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What somebody gets who speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 43\r\nconnection: close\r\n\r\nthis port speaks TLS: begin with https://\r\n";

/// Serves `router` until `stop` resolves.
pub(super) async fn serve(router: Router, listeners: Listeners, stop: impl Future<Output = ()>) {
    let (announce_stop, stopped) = watch::channel(());
    let acceptor = |places, door| Acceptor {
        router: router.clone(),
        places: Arc::new(Semaphore::new(places)),
        guests: Guests::default(),
        door,
        stopped: stopped.clone(),
        open: GracefulShutdown::new(),
    };
    let (unix, socket_file) = listeners.unix.unzip();
    let (tcp, door) = listeners.tcp.unzip();
    let port = acceptor(PORT_CONNECTIONS_MAX, door.clone());
    let socket = acceptor(SOCKET_CONNECTIONS_MAX, None);
    let announcer = async {
        stop.await;
        drop(socket_file);
        drop(announce_stop);
    };
    let all = async { tokio::join!(announcer, accept_if(tcp, port), accept_if(unix, socket)) };
    tokio::select! {
        _ = all => {}
        () = keep_if(door) => {}
    }
}

async fn accept_if<L: Listener<Io: Peer>>(listener: Option<L>, acceptor: Acceptor) {
    if let Some(listener) = listener {
        acceptor.accept(listener).await;
    }
}

async fn keep_if(door: Option<Door>) {
    match door {
        Some(door) => door.keep().await,
        None => std::future::pending().await,
    }
}

/// What accepting connections takes.
struct Acceptor {
    router: Router,
    /// One for each connection that may be open.
    places: Arc<Semaphore>,
    guests: Guests,
    /// What the listener demands; None for nothing.
    door: Option<Door>,
    /// Closed when the daemon stops.
    stopped: watch::Receiver<()>,
    /// The connections that are open.
    open: GracefulShutdown,
}

impl Acceptor {
    /// Accepts connections until the daemon stops, then gives the open ones time to end.
    async fn accept<L: Listener<Io: Peer>>(mut self, mut listener: L) {
        loop {
            let next = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                let (stream, _) = listener.accept().await;
                (place, stream)
            };
            let (place, stream) = tokio::select! {
                next = next => next,
                _ = self.stopped.changed() => break,
            };
            let caller = stream.caller();
            let Some(guest) = self.guests.one_more(&caller) else {
                tracing::debug!(%caller, "closed: too many connections from there");
                continue;
            };
            let reception = Reception {
                router: self.router.clone(),
                door: self.door.clone(),
                watcher: self.open.watcher(),
                caller,
            };
            tokio::spawn(async move {
                match timeout(CONNECTION_LIFE, reception.receive(stream)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!("an API connection ended: {error:#}"),
                    Err(_) => {
                        tracing::debug!("an API connection was closed at the end of its life")
                    }
                }
                drop((place, guest));
            });
        }
        drop(listener);
        if timeout(GOODBYE_TIMEOUT, self.open.shutdown()).await.is_err() {
            tracing::warn!("API requests were still open when the daemon stopped");
        }
    }
}

/// Connections by the address that they come from.
#[derive(Debug, Default)]
struct Guests(HashMap<IpAddr, Arc<()>>);

/// A connection that counts; it does until it is dropped.
#[derive(Debug)]
struct Guest(#[expect(dead_code, reason = "counted by being there")] Option<Arc<()>>);

impl Guests {
    /// Counts one more, unless there are too many from its address. Those of this machine, which
    /// all have one address, only share the places.
    fn one_more(&mut self, caller: &Caller) -> Option<Guest> {
        let address = caller.address().map(|address| address.ip().to_canonical());
        let Some(address) = address.filter(|address| !address.is_loopback()) else {
            return Some(Guest(None));
        };
        if self.0.len() > ADDRESSES_MAX {
            self.0.retain(|_, open| Arc::strong_count(open) > 1);
        }
        let open = self.0.entry(address).or_default();
        // One of them is the table's own.
        let has_room = Arc::strong_count(open) <= CONNECTIONS_PER_ADDRESS_MAX;
        has_room.then(|| Guest(Some(Arc::clone(open))))
    }
}

/// What becomes of one connection.
struct Reception {
    router: Router,
    door: Option<Door>,
    watcher: Watcher,
    caller: Caller,
}

impl Reception {
    async fn receive<S: Peer>(self, stream: S) -> anyhow::Result<()> {
        let Some(door) = &self.door else {
            return self.serve(limited(stream), Entrance::Open).await;
        };
        let door = door.clone();
        match door.tls() {
            None => {
                let entrance =
                    Entrance::Guarded { door, certificate: Arc::default(), has_tls: false };
                self.serve(limited(stream), entrance).await
            }
            Some(tls) => self.shake_hands(stream, door, tls).await,
        }
    }

    async fn shake_hands<S: Peer>(
        self,
        stream: S,
        door: Door,
        tls: Arc<ServerConfig>,
    ) -> anyhow::Result<()> {
        if timeout(HANDSHAKE_TIMEOUT, stream.first_byte()).await?? != HANDSHAKE {
            limited(stream).write_all(SPEAK_TLS).await?;
            return Ok(());
        }
        let handshake = TlsAcceptor::from(tls).accept(limited(stream));
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake).await??;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(tls::names_in).unwrap_or_default().into();
        self.serve(stream, Entrance::Guarded { door, certificate, has_tls: true }).await
    }

    async fn serve<S>(self, stream: S, entrance: Entrance) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Noted on each request: a layer around the router would be made anew, all of it, with each
        // connection.
        let (caller, router) = (self.caller, TowerToHyperService::new(self.router));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            request.extensions_mut().insert(entrance.clone());
            router.call(request)
        });
        let connection = http1_limits().serve_connection(TokioIo::new(stream), service);
        Ok(self.watcher.watch(connection).await?)
    }
}

/// A stream that breaks when its other end takes nothing for too long.
fn limited<S: Peer>(stream: S) -> std::pin::Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

fn http1_limits() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// What [`Peer::first_byte`] answers where a connection ended before it.
pub(super) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before its first byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_loopback_has_what_there_is() {
        let mut guests = Guests::default();
        let from = |text: &str| Caller::Address(text.parse().expect("an address"));
        let far = from("10.0.0.1:1");
        let mut open: Vec<Guest> =
            (0..CONNECTIONS_PER_ADDRESS_MAX).filter_map(|_| guests.one_more(&far)).collect();
        assert_eq!(open.len(), CONNECTIONS_PER_ADDRESS_MAX);
        assert!(guests.one_more(&far).is_none());
        assert!(guests.one_more(&from("10.0.0.2:1")).is_some());
        assert!(guests.one_more(&from("[::ffff:10.0.0.1]:1")).is_none(), "it is the same one");
        let near = from("127.0.0.1:1");
        assert!((0..=CONNECTIONS_PER_ADDRESS_MAX).all(|_| guests.one_more(&near).is_some()));
        open.pop();
        assert!(guests.one_more(&far).is_some());
    }
}
