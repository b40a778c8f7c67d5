//! A conversation with a server: what is read is counted against a limit, and it is known what is
//! being waited for, so that a failure can be told in words.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Most bytes that one check reads.
pub(super) const READ_MAX: usize = 64 * 1024;
/// How much of a server's own words a text quotes, in characters.
const QUOTED_MAX: usize = 120;

/// Why a conversation failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection broke.
    Io(io::Error),
    /// The server said something else than it should.
    Wrong(String),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

/// A conversation over `stream`.
#[derive(Debug)]
pub(super) struct Talk<S> {
    stream: S,
    left_len: usize,
    /// What the server should say next.
    pub(super) waiting_for: &'static str,
    /// What ends the conversation politely, once it has come so far that it can be ended so.
    pub(super) farewell: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Nothing has been said yet.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, left_len: READ_MAX, waiting_for: "anything", farewell: Vec::new() }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Says something; `answer` is what the server should say to that.
    pub(super) async fn say(&mut self, bytes: &[u8], answer: &'static str) -> Result<(), Fault> {
        self.waiting_for = answer;
        self.stream.write_all(bytes).await.map_err(Fault::Io)
    }

    /// Hears exactly `N` bytes.
    pub(super) async fn hear<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    /// Hears exactly `len` bytes, unless that is more than `len_max`.
    pub(super) async fn hear_len(&mut self, len: usize, len_max: usize) -> Result<Vec<u8>, Fault> {
        if len > len_max {
            let what = self.waiting_for;
            return Err(Fault::Wrong(format!(
                "{what} would have {len} bytes, at most {len_max} fit"
            )));
        }
        let mut bytes = vec![0; len];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    /// Hears what is there, at least one byte, and appends it.
    pub(super) async fn hear_some(&mut self, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let mut some = [0; 2048];
        let len_max = some.len().min(self.left_len);
        if len_max == 0 {
            return Err(self.too_much());
        }
        match self.stream.read(&mut some[..len_max]).await {
            Ok(0) => Err(self.broke_off()),
            Ok(len) => {
                self.left_len -= len;
                bytes.extend_from_slice(&some[..len]);
                Ok(())
            }
            Err(error) => Err(Fault::Io(error)),
        }
    }

    /// Ends it politely and waits until the server has noticed. Nothing depends on that.
    pub(super) async fn part(&mut self) {
        if !self.farewell.is_empty() && self.stream.write_all(&self.farewell).await.is_ok() {
            // The answer, or the end of the connection: either says that it has been heard.
            let _ = self.stream.read(&mut [0; 64]).await;
        }
    }

    async fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.left_len = self.left_len.checked_sub(bytes.len()).ok_or_else(|| self.too_much())?;
        match self.stream.read_exact(bytes).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.broke_off()),
            Err(error) => Err(Fault::Io(error)),
        }
    }

    fn broke_off(&self) -> Fault {
        Fault::Wrong(format!("it closed the connection before {} was complete", self.waiting_for))
    }

    fn too_much(&self) -> Fault {
        let what = self.waiting_for;
        Fault::Wrong(format!("it said more than {READ_MAX} bytes, and {what} was not complete"))
    }
}

/// A server's words for people: what is no text is escaped, what is long is cut.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\0', '\n', '\r']);
    let mut shown = String::new();
    for char in text.chars().take(QUOTED_MAX) {
        if char.is_control() || matches!(char, '"' | '\\') {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    if text.chars().nth(QUOTED_MAX).is_some() {
        shown.push_str(" ..");
    }
    format!("\"{shown}\"")
}

/// Numbers out of bytes, from the front; None when there are not enough left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn slice(&mut self, len: usize) -> Option<&'b [u8]> {
        let (slice, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(slice)
    }

    pub(super) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn be64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn le16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn le32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// A server whose words are known beforehand, whatever it is asked.
    #[derive(Debug, Default)]
    pub(in super::super) struct Recording {
        pub(in super::super) said: Vec<u8>,
        answers: Vec<u8>,
        at: usize,
    }

    impl AsyncRead for Recording {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let len = into.remaining().min(self.answers.len() - self.at);
            into.put_slice(&self.answers[self.at..self.at + len]);
            self.at += len;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Recording {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.said.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A conversation with a server that will say `answers` and then close the connection.
    pub(in super::super) fn with(answers: &[u8]) -> Talk<Recording> {
        Talk::new(Recording { answers: answers.to_vec(), ..Recording::default() })
    }

    /// Runs an exchange to its end; it never has to wait.
    pub(in super::super) fn outcome(
        exchange: impl Future<Output = Result<(), Fault>>,
    ) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(exchange).map_err(|fault| match fault {
            Fault::Wrong(text) => text,
            Fault::Io(error) => error.to_string(),
        })
    }

    /// `good`, and then: cut off, with some bytes replaced, or something else altogether.
    pub(in super::super) fn damaged(
        good: Vec<u8>,
    ) -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
        use proptest::prelude::*;
        let len = good.len();
        let patches = proptest::collection::vec((0..len, any::<u8>()), 0..6);
        let patched = (0..=len, patches).prop_map(move |(cut, patches)| {
            let mut bytes = good.clone();
            for (at, byte) in patches {
                bytes[at] = byte;
            }
            // More often whole than not.
            bytes.truncate(if cut % 3 == 0 { cut } else { len });
            bytes
        });
        prop_oneof![3 => patched, 1 => proptest::collection::vec(any::<u8>(), 0..512)]
    }

    #[test]
    fn a_conversation_hears_no_more_than_its_limit() {
        let mut talk = with(&vec![0; 2 * READ_MAX]);
        let all = async {
            loop {
                talk.hear_some(&mut Vec::new()).await?;
            }
        };
        let text = outcome(all).unwrap_err();
        assert!(text.contains("more than 65536 bytes"), "{text}");
        assert_eq!(talk.stream().at, READ_MAX);
    }

    #[test]
    fn a_servers_words_are_cut_and_escaped() {
        let escaped = "\"no such \\u{1b}[31m'export' \\\"x\\\"\"";
        assert_eq!(quoted(b"no such \x1b[31m'export' \"x\"\0\0"), escaped);
        assert_eq!(quoted(&[b'a'; 500]).len(), QUOTED_MAX + 5);
    }
}
