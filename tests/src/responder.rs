//! Answers datagrams until it is dropped.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// Time from one look at whether it is to end to the next.
const PATIENCE: Duration = Duration::from_millis(200);

/// A thread that answers every datagram with the same words.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Answers with `says` at an address of `host`; from an unspecified one by the kernel's choice.
    ///
    /// # Errors
    /// When the address is taken or is none of the host's.
    pub fn start(host: &Namespace, at: SocketAddr, says: &'static str) -> Result<Self> {
        let bind = || UdpSocket::bind(at).with_context(|| format!("answer datagrams at {at}"));
        let socket = host.enter(bind)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A time-out is a look at the flag; a lost answer is the client's to ask again.
                if let Ok((_, client)) = socket.recv_from(&mut [0; 64]) {
                    let _ = socket.send_to(says.as_bytes(), client);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
