//! The bodies of answers on a connection of HTTP/2.
//!
//! `h2` takes what it is given, up to the window that the client has opened, and a client may open large ones for many answers at once and then
//! read none. So what is given counts against the connection until it has gone out (or was thrown away, because the client has taken its request
//! back), and all answers of a connection share a bound. Who waits for a window holds nothing of it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream};
use http_body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Ended;
use crate::http::patience::Patience;
use crate::http::response::ResponseBody;
use crate::http::service::S3Service;
use crate::observe::WaitedFor;

/// What is held of all answers' bodies on a connection until the client takes it, bytes.
pub const UNSENT_BYTES_MAX: usize = 256 << 10;
/// The least piece of a body that is given at once, where there is more of it: a frame of the size that every client takes (RFC 9113, section
/// 4.2).
const PIECE_BYTES_MIN: usize = 16 << 10;

/// A piece of a body, which counts as unsent until it is dropped.
pub struct Piece {
    bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl Piece {
    fn empty() -> Self {
        Self { bytes: Bytes::new(), _held: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// What the bodies of a connection's answers may hold.
#[derive(Clone)]
pub struct Unsent(Arc<Semaphore>);

impl Unsent {
    /// Of a connection on which nothing was sent yet.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(UNSENT_BYTES_MAX)))
    }

    /// How much may be given of a body at once: the fewer bodies wait to be sent, the more.
    fn piece_bytes(&self) -> usize {
        (self.0.available_permits() / 4).max(PIECE_BYTES_MIN)
    }
}

/// Why a body is not sent further.
enum Broken {
    /// The client took its request back, or the connection is gone.
    TakenBack,
    /// The client does not take it.
    Slow,
}

/// Sends a body, as fast as the client takes it.
pub async fn send_body(
    service: &S3Service,
    mut body: ResponseBody,
    mut stream: SendStream<Piece>,
    (unsent, mut patience): (Unsent, Patience),
) -> Ended {
    loop {
        let frame = poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                return Poll::Ready(Some(frame));
            }
            stream.poll_reset(context).map(|_| None)
        });
        let mut data = match frame.await {
            None => return Ended::TakenBack,
            Some(None) => {
                let _ = stream.send_data(Piece::empty(), true);
                return Ended::Served;
            }
            Some(Some(Err(_))) => {
                // So that the client cannot take what it has for the whole.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ended::Served;
            }
            Some(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        let is_end = body.is_end_stream();
        while !data.is_empty() {
            let (length, held) = match room(&mut stream, &unsent, &mut patience, data.len()).await {
                Ok(room) => room,
                Err(Broken::TakenBack) => return Ended::TakenBack,
                Err(Broken::Slow) => {
                    service.metrics().timed_out(WaitedFor::Reader);
                    stream.send_reset(Reason::CANCEL);
                    return Ended::Served;
                }
            };
            let piece = Piece { bytes: data.split_to(length), _held: held };
            let is_last = is_end && data.is_empty();
            if stream.send_data(piece, is_last).is_err() {
                return Ended::TakenBack;
            }
            if is_last {
                return Ended::Served;
            }
        }
    }
}

/// Waits until a piece of so many bytes can be given: how much of it, and what counts it.
async fn room(
    stream: &mut SendStream<Piece>,
    unsent: &Unsent,
    patience: &mut Patience,
    wanted: usize,
) -> Result<(usize, Option<OwnedSemaphorePermit>), Broken> {
    let wanted = wanted.min(unsent.piece_bytes());
    stream.reserve_capacity(wanted);
    // The window first: who waits for that must not keep others from sending.
    let length = poll_fn(|context| {
        waiting(stream, patience, context, |stream, context| {
            if stream.capacity() > 0 {
                return Poll::Ready(Some(stream.capacity()));
            }
            match stream.poll_capacity(context) {
                Poll::Ready(Some(Ok(0))) | Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(capacity))) => Poll::Ready(Some(capacity)),
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
            }
        })
    });
    let length = length.await?.min(wanted);
    let mut holding = pin!(unsent.0.clone().acquire_many_owned(u32::try_from(length).unwrap_or(u32::MAX)));
    let held = poll_fn(|context| waiting(stream, patience, context, |_, context| holding.as_mut().poll(context).map(Result::ok)));
    let held = held.await?;
    patience.moved(length);
    Ok((length, Some(held)))
}

/// Polls what the client has to make possible, as long as the request stands and there is patience.
fn waiting<T>(
    stream: &mut SendStream<Piece>,
    patience: &mut Patience,
    context: &mut Context<'_>,
    mut poll: impl FnMut(&mut SendStream<Piece>, &mut Context<'_>) -> Poll<Option<T>>,
) -> Poll<Result<T, Broken>> {
    if stream.poll_reset(context).is_ready() {
        return Poll::Ready(Err(Broken::TakenBack));
    }
    match poll(stream, context) {
        Poll::Ready(found) => Poll::Ready(found.ok_or(Broken::TakenBack)),
        Poll::Pending => patience.poll_lost(context).map(|()| Err(Broken::Slow)),
    }
}
