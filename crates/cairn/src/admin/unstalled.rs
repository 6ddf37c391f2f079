//! A connection whose other side has to take what is sent to it: one that takes nothing for too long is an error.
//!
//! HTTP bounds how long a request may take to arrive; nothing else bounds how long an answer may take to leave, and a connection whose
//! answers nobody reads would be held for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The connection.
pub struct Unstalled<Stream> {
    stream: Stream,
    timeout: Duration,
    /// Runs out when the other side has taken nothing for `timeout`. It counts while something waits to be taken.
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<Stream> Unstalled<Stream> {
    /// Bounds how long something that is sent may wait.
    pub fn new(stream: Stream, timeout: Duration) -> Self {
        Self { stream, timeout, deadline: Box::pin(tokio::time::sleep(timeout)), is_waiting: false }
    }

    /// What came of sending: an error where it has waited for too long.
    fn bounded<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.is_waiting = false;
            return outcome;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            let deadline = Instant::now() + self.timeout;
            self.deadline.as_mut().reset(deadline);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not take what is sent to it")))
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Unstalled<Stream> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Unstalled<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_is_slow_is_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Unstalled::new(server, Duration::from_secs(30));
        let started = Instant::now();
        let sending = tokio::spawn(async move {
            let outcome = server.write_all(&[7; 64 * 10]).await;
            (outcome.map_err(|error| error.kind()), server)
        });
        // Something every 20 s, which takes longer than 30 s in sum.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            client.read_exact(&mut [0; 64]).await.unwrap();
        }
        let (outcome, mut server) = sending.await.unwrap();
        assert_eq!(outcome, Ok(()));
        assert!(started.elapsed() > Duration::from_secs(100));

        // A pause in which nothing waits does not count.
        tokio::time::sleep(Duration::from_secs(1000)).await;
        let started = Instant::now();
        assert_eq!(server.write_all(&[7; 65]).await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(started.elapsed().as_secs(), 30);
    }
}
