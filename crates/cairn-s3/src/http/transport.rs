//! A connection whose other side has to keep up.
//!
//! By HTTP/1.1: a head comes within its time, a connection without a request is closed after some time, and what is sent has to be taken. By
//! HTTP/2 the connection itself only sees to the last; the rest is [`super::http2`]'s. Bodies are [`Patience`]'s of [`crate::body`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::patience::Patience;
use crate::observe::{RequestMetrics, WaitedFor};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a request, until then.
    Idle(Instant),
    /// A head has begun, and must end by then.
    Head(Instant),
    /// A request runs.
    Busy,
}

/// How long the phases of a connection may last, and which it is in.
#[derive(Debug)]
pub struct Phases {
    head_timeout: Duration,
    idle_timeout: Duration,
    now: Mutex<Phase>,
}

/// A request that runs on a connection.
#[derive(Debug)]
pub struct Running(Arc<Phases>);

impl Phases {
    /// Of a connection that was just opened: its first request is due.
    pub fn new(head_timeout: Duration, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { head_timeout, idle_timeout, now: Mutex::new(Phase::Head(Instant::now() + head_timeout)) })
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Running {
        *self.now.lock() = Phase::Busy;
        Running(self.clone())
    }

    fn received(&self) {
        let mut now = self.now.lock();
        if let Phase::Idle(_) = *now {
            *now = Phase::Head(Instant::now() + self.head_timeout);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.now.lock() = Phase::Idle(Instant::now() + self.0.idle_timeout);
    }
}

/// The connection.
pub struct Paced<Stream> {
    stream: Stream,
    /// `None`: reading has no bounds of its own.
    phases: Option<Arc<Phases>>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    patience: Patience,
    is_shut_down: bool,
    service: crate::S3Service,
}

impl<Stream> Paced<Stream> {
    /// Holds the other side to this.
    pub fn new(stream: Stream, phases: Option<Arc<Phases>>, patience: Patience, service: crate::S3Service) -> Self {
        Self { stream, phases, timer: None, patience, is_shut_down: false, service }
    }

    fn metrics(&self) -> &RequestMetrics {
        self.service.metrics()
    }

    fn sent<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(outcome) = outcome {
            self.patience.moved(outcome.as_ref().map_or(0, bytes));
            return Poll::Ready(outcome);
        }
        if self.patience.poll_lost(context).is_pending() {
            return Poll::Pending;
        }
        self.metrics().timed_out(WaitedFor::Reader);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not take what is sent to it")))
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Paced<Stream> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut me.stream).poll_read(context, buffer);
        let Some(phases) = &me.phases else { return outcome };
        if outcome.is_ready() {
            if buffer.filled().len() > before {
                phases.received();
            }
            return outcome;
        }
        let phase = *phases.now.lock();
        let (Phase::Idle(deadline) | Phase::Head(deadline)) = phase else { return Poll::Pending };
        let timer = match &mut me.timer {
            Some((at, timer)) => {
                if *at != deadline {
                    *at = deadline;
                    timer.as_mut().reset(deadline);
                }
                timer
            }
            none => &mut none.insert((deadline, Box::pin(tokio::time::sleep_until(deadline)))).1,
        };
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if let Phase::Idle(_) = phase {
            // As if the client had closed it, which it may do at any time.
            return Poll::Ready(Ok(()));
        }
        me.metrics().timed_out(WaitedFor::Head);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request does not come")))
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(context, outcome, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.sent(context, outcome, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.sent(context, outcome, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if !me.is_shut_down {
            let outcome = Pin::new(&mut me.stream).poll_shutdown(context);
            match me.sent(context, outcome, |()| 0) {
                Poll::Ready(Ok(())) => me.is_shut_down = true,
                outcome => return outcome,
            }
        }
        if me.phases.is_some() {
            return Poll::Ready(Ok(()));
        }
        // By HTTP/2 clients send all the while they read. What came to a closed socket would be answered by a reset, and that takes with it
        // what the kernel has not sent yet: so the other side closes first.
        loop {
            let mut scratch = [std::mem::MaybeUninit::uninit(); 1024];
            let mut scratch = ReadBuf::uninit(&mut scratch);
            match ready!(Pin::new(&mut me.stream).poll_read(context, &mut scratch)) {
                Ok(()) if !scratch.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}
