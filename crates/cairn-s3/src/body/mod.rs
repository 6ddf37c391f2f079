//! Request bodies: decoded, hashed once, and held against everything that was promised about them.
//!
//! [`VerifiedBody`] is what the store pulls. Bytes flow to the chunks as they come; [`ObjectBody::poll_finish`] answers `Ok` only when the
//! body has ended where it said, every chunk's signature and the trailer's were right, and MD5, SHA-256 and checksum are those promised. So
//! nothing is committed that was not verified, and nothing is held back to verify it.

pub mod chunked;
mod form;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cairn_store::api::{BodyFailed, Digests, ObjectBody, ObjectBodyExt as _};
use cairn_types::{Checksum, ChecksumAlgorithm, ETag};
use h2::RecvStream;
use http_body::Body as _;
use hyper::body::Incoming;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, Sleep};

use crate::auth::{ChunkSigner, PayloadMode};
use crate::checksum::headers::{self, Promised};
use crate::checksum::{Computed, Hasher, HasherSet};
use crate::error::{S3Error, code};
use crate::form::multipart::FormError;
use crate::http::patience::Patience;
use crate::text::{base64, hexadecimal};
use chunked::{ChunkedDecoder, ChunkedError, Event, Framing, Trailer};
pub use form::FormInbound;

/// A body as it comes from the connection.
pub struct Inbound {
    source: Source,
    /// Whether anything was asked of it: the client of an `Expect: 100-continue` sends nothing before.
    is_polled: bool,
    received: u64,
    /// With a client that is slow.
    patience: Option<Patience>,
}

enum Source {
    Connection(Incoming),
    /// The flag is set once anything was asked of it and has not come.
    Stream(RecvStream, Arc<AtomicBool>),
    Memory(std::collections::VecDeque<Bytes>),
    Form(Box<FormInbound>),
}

/// Why no more bytes come.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The connection broke, or the body was shorter than its `Content-Length`.
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    /// The same by HTTP/2.
    #[error(transparent)]
    Stream(#[from] h2::Error),
    /// They come too slowly.
    #[error("the body comes too slowly")]
    Slow,
    /// They are not the form that they should be.
    #[error(transparent)]
    Form(#[from] FormError),
}

impl Inbound {
    /// From a connection.
    #[must_use]
    pub fn from_connection(incoming: Incoming) -> Self {
        Self::of(Source::Connection(incoming))
    }

    /// From a stream of HTTP/2; `is_awaited` is set once its bytes were asked for and were not there.
    #[must_use]
    pub(crate) fn from_stream(stream: RecvStream, is_awaited: Arc<AtomicBool>) -> Self {
        Self::of(Source::Stream(stream, is_awaited))
    }

    /// From memory, for tests and fuzzing: pieces in order.
    #[must_use]
    pub fn from_memory(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self::of(Source::Memory(pieces))
    }

    /// The file of a form, whose fields were read.
    #[must_use]
    pub fn from_form(form: FormInbound) -> Self {
        Self { is_polled: true, ..Self::of(Source::Form(Box::new(form))) }
    }

    fn of(source: Source) -> Self {
        Self { source, is_polled: false, received: 0, patience: None }
    }

    /// Gives up a client that is slower than this.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = Some(patience);
    }

    /// The next bytes.
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, InboundError>>> {
        self.is_polled = true;
        let polled = self.poll_source(context);
        let Some(patience) = &mut self.patience else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => patience.moved(bytes.len()),
            Poll::Pending if patience.poll_lost(context).is_ready() => return Poll::Ready(Some(Err(InboundError::Slow))),
            _ => {}
        }
        polled
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, InboundError>>> {
        match &mut self.source {
            Source::Memory(pieces) => Poll::Ready(pieces.pop_front().map(Ok)),
            Source::Form(form) => form.poll_file(context),
            Source::Stream(stream, is_awaited) => loop {
                match stream.poll_data(context) {
                    Poll::Pending => {
                        is_awaited.store(true, Ordering::Relaxed);
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                    Poll::Ready(Some(Ok(data))) => {
                        // The client may send as much again: from here on the store bounds what is held.
                        let _ = stream.flow_control().release_capacity(data.len());
                        if !data.is_empty() {
                            self.received += data.len() as u64;
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            },
            Source::Connection(incoming) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    // HTTP's own trailers mean nothing in S3.
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data()
                            && !data.is_empty()
                        {
                            self.received += data.len() as u64;
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            },
        }
    }

    /// Bytes that came so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end was reached.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        match &self.source {
            Source::Connection(incoming) => incoming.is_end_stream(),
            Source::Stream(stream, _) => stream.is_end_stream(),
            Source::Memory(pieces) => pieces.is_empty(),
            Source::Form(form) => form.inbound().is_at_end(),
        }
    }

    /// What the form came from, so that the rest of it can be dropped; itself, where it is none.
    #[must_use]
    pub fn out_of_form(self) -> Self {
        match self.source {
            Source::Form(form) => form.into_inbound(),
            source => Self { source, ..self },
        }
    }

    /// Whether it is a stream of HTTP/2, which ends without the connection.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match &self.source {
            Source::Form(form) => form.inbound().is_stream(),
            source => matches!(source, Source::Stream(..)),
        }
    }

    /// Whether anything was asked of it.
    #[must_use]
    pub fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// Reads and drops up to so many bytes, so that the client gets to see its answer and the connection can serve the next request. What
    /// is left after that closes the connection.
    pub async fn drain(mut self, bytes_max: u64) {
        let mut drained = 0;
        while drained < bytes_max {
            match std::future::poll_fn(|context| self.poll_data(context)).await {
                Some(Ok(bytes)) => drained += bytes.len() as u64,
                Some(Err(_)) | None => return,
            }
        }
    }
}

/// What a body must be, and what is to be computed over it.
pub struct Expectations {
    /// How it is vouched for.
    pub payload: PayloadMode,
    /// Checks the chunks of a signed stream.
    pub chunk_signer: Option<ChunkSigner>,
    /// Bytes, after decoding.
    pub length: u64,
    /// The body may be shorter than `length`, down to so many bytes; `None`: it is not.
    pub length_min: Option<u64>,
    /// Digests in the headers.
    pub promised: Promised,
    /// Whether MD5 is wanted, promised or not: it is an object's entity tag.
    pub wants_etag: bool,
    /// The checksum to compute where the request promises none.
    pub default_checksum: Option<ChecksumAlgorithm>,
    /// How long the client may send nothing.
    pub idle_timeout: Duration,
}

/// See the module's documentation.
pub struct VerifiedBody<'a> {
    inbound: &'a mut Inbound,
    input: Bytes,
    decoder: Option<ChunkedDecoder>,
    chunk_signer: Option<ChunkSigner>,
    chunk_sha256: Sha256,
    hashers: Option<HasherSet>,
    /// Computes the checksum that is kept in place of the promised one.
    kept: Option<Hasher>,
    promised: Promised,
    payload_sha256: Option<[u8; 32]>,
    length: u64,
    length_min: Option<u64>,
    received: u64,
    at_end: bool,
    idle_timeout: Duration,
    idle: Option<Pin<Box<Sleep>>>,
    failure: Option<S3Error>,
}

impl<'a> VerifiedBody<'a> {
    /// Has a checksum of this algorithm kept, whatever the request promises: the promise is held, and not kept.
    #[must_use]
    pub fn keeping(mut self, algorithm: ChecksumAlgorithm) -> Self {
        self.kept = self.promised.algorithm().filter(|promised| *promised != algorithm).map(|_| Hasher::new(algorithm));
        self
    }

    /// The checksum that the request promised, in its headers or its trailer (there once the body is read).
    #[must_use]
    pub fn promised_checksum(&self) -> Option<Checksum> {
        self.promised.checksum
    }

    /// Reads from `inbound`.
    #[must_use]
    pub fn new(inbound: &'a mut Inbound, expectations: Expectations) -> Self {
        let Expectations { payload, chunk_signer, length, length_min, promised, wants_etag, default_checksum, idle_timeout } =
            expectations;
        let framing = match payload {
            PayloadMode::Unsigned | PayloadMode::Sha256(_) => None,
            PayloadMode::StreamingSigned => Some(Framing { signed: true, trailer: false }),
            PayloadMode::StreamingSignedTrailer => Some(Framing { signed: true, trailer: true }),
            PayloadMode::StreamingUnsignedTrailer => Some(Framing { signed: false, trailer: true }),
        };
        let payload_sha256 = if let PayloadMode::Sha256(digest) = payload { Some(digest) } else { None };
        let hashers = HasherSet::new(
            wants_etag || promised.md5.is_some(),
            payload_sha256.is_some(),
            promised.algorithm().or(default_checksum),
        );
        Self {
            inbound,
            input: Bytes::new(),
            decoder: framing.map(|framing| ChunkedDecoder::new(framing, length)),
            chunk_signer,
            chunk_sha256: Sha256::new(),
            hashers: Some(hashers),
            kept: None,
            promised,
            payload_sha256,
            length,
            length_min,
            received: 0,
            at_end: false,
            idle_timeout,
            idle: None,
            failure: None,
        }
    }

    /// Why the body failed, once it has.
    pub fn take_failure(&mut self) -> Option<S3Error> {
        self.failure.take()
    }

    /// Reads all of a body that is to be parsed. It is verified as any other.
    pub async fn read_all(&mut self, bytes_max: usize) -> Result<Bytes, S3Error> {
        if self.length > bytes_max as u64 {
            return Err(S3Error::new(&code::MAX_MESSAGE_LENGTH_EXCEEDED).field("MaxMessageLengthBytes", bytes_max.to_string()));
        }
        let mut out = Vec::with_capacity(usize::try_from(self.length).unwrap_or(0));
        while let Some(piece) = self.next().await {
            match piece {
                Ok(bytes) => out.extend_from_slice(&bytes),
                Err(failed) => return Err(self.failure(failed)),
            }
        }
        match self.finish().await {
            Ok(_) => Ok(out.into()),
            Err(failed) => Err(self.failure(failed)),
        }
    }

    /// The error behind a failure.
    pub fn failure(&mut self, _failed: BodyFailed) -> S3Error {
        self.failure.take().unwrap_or_else(|| S3Error::new(&code::INTERNAL_ERROR).detail("a body failed without a reason"))
    }

    fn fail<T>(&mut self, error: S3Error) -> Result<T, BodyFailed> {
        self.failure.get_or_insert(error);
        self.at_end = true;
        self.hashers = None;
        Err(BodyFailed)
    }

    /// The next bytes from the connection, or the end, or an idle client.
    fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyFailed>> {
        match self.inbound.poll_data(context) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(bytes))) => {
                self.idle = None;
                Poll::Ready(Ok(Some(bytes)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = match error {
                    InboundError::Slow => S3Error::new(&code::REQUEST_TIMEOUT),
                    InboundError::Form(error) => form::form_error(error),
                    error => S3Error::new(&code::INCOMPLETE_BODY).detail(error.to_string()),
                };
                Poll::Ready(self.fail(error))
            }
            Poll::Pending => {
                let timeout = self.idle_timeout;
                let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
                ready!(idle.as_mut().poll(context));
                Poll::Ready(self.fail(S3Error::new(&code::REQUEST_TIMEOUT)))
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Bytes {
        self.received += bytes.len() as u64;
        if let Some(hashers) = &mut self.hashers {
            hashers.update(&bytes);
            if let Some(kept) = &mut self.kept {
                kept.update(&bytes);
            }
        }
        bytes
    }

    fn poll_plain(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        match ready!(self.poll_inbound(context)) {
            Err(failed) => Poll::Ready(Some(Err(failed))),
            Ok(Some(bytes)) if self.received + bytes.len() as u64 <= self.length => Poll::Ready(Some(Ok(self.take(bytes)))),
            Ok(None) if self.received == self.length || self.length_min.is_some_and(|least| self.received >= least) => {
                self.at_end = true;
                Poll::Ready(None)
            }
            Ok(last) => {
                let error = match (self.length_min, last) {
                    (None, _) => S3Error::new(&code::INCOMPLETE_BODY),
                    (Some(least), None) => S3Error::new(&code::ENTITY_TOO_SMALL)
                        .field("ProposedSize", self.received.to_string())
                        .field("MinSizeAllowed", least.to_string()),
                    (Some(_), Some(bytes)) => S3Error::new(&code::ENTITY_TOO_LARGE)
                        .field("ProposedSize", (self.received + bytes.len() as u64).to_string())
                        .field("MaxSizeAllowed", self.length.to_string()),
                };
                Poll::Ready(Some(self.fail(error)))
            }
        }
    }

    fn poll_chunked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Poll::Ready(None) };
            let outcome = match decoder.decode(&mut self.input) {
                Err(error) => self.fail(chunked_error(error)),
                Ok(Some(Event::Data(bytes))) => {
                    if self.chunk_signer.is_some() {
                        self.chunk_sha256.update(&bytes);
                    }
                    return Poll::Ready(Some(Ok(self.take(bytes))));
                }
                Ok(Some(Event::ChunkEnd(claimed))) => self.check_chunk(claimed),
                Ok(Some(Event::End(trailer))) => self.check_trailer(&trailer),
                Ok(None) => {
                    let is_done = decoder.is_done();
                    match ready!(self.poll_inbound(context)) {
                        Err(failed) => Err(failed),
                        Ok(Some(bytes)) => {
                            self.input = bytes;
                            Ok(())
                        }
                        Ok(None) if is_done => {
                            self.at_end = true;
                            return Poll::Ready(None);
                        }
                        Ok(None) => self.fail(S3Error::new(&code::INCOMPLETE_BODY)),
                    }
                }
            };
            if let Err(failed) = outcome {
                return Poll::Ready(Some(Err(failed)));
            }
        }
    }

    fn check_chunk(&mut self, claimed: Option<[u8; 32]>) -> Result<(), BodyFailed> {
        let Some(signer) = &mut self.chunk_signer else { return Ok(()) };
        let expected = signer.sign_chunk(&self.chunk_sha256.finalize_reset().into());
        if claimed.is_some_and(|claimed| bool::from(claimed.ct_eq(&expected))) {
            return Ok(());
        }
        self.fail(S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH))
    }

    fn check_trailer(&mut self, trailer: &Trailer) -> Result<(), BodyFailed> {
        if let Some(signer) = &mut self.chunk_signer
            && let Some(decoder) = &self.decoder
            && decoder.framing().trailer
        {
            let mut canonical = Sha256::new();
            for (name, value) in &trailer.fields {
                canonical.update(name.as_bytes());
                canonical.update(b":");
                canonical.update(value);
                canonical.update(b"\n");
            }
            let expected = signer.sign_trailer(&canonical.finalize().into());
            let Some(claimed) = trailer.signature else { return self.fail(S3Error::new(&code::MALFORMED_TRAILER)) };
            if !bool::from(claimed.ct_eq(&expected)) {
                return self.fail(S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH));
            }
        }
        // Exactly what `x-amz-trailer` has announced.
        match (self.promised.trailer, trailer.fields.as_slice()) {
            (None, []) => Ok(()),
            (Some(algorithm), [(name, value)]) if name == headers::header_name(algorithm) => {
                let Some(checksum) = headers::parse_value(algorithm, value) else {
                    return self.fail(S3Error::invalid_request(format!("Value for {name} trailing header is invalid.")));
                };
                self.promised.checksum = Some(checksum);
                Ok(())
            }
            _ => self.fail(S3Error::new(&code::MALFORMED_TRAILER)),
        }
    }

    fn compare(&mut self, computed: &Computed) -> Result<Digests, BodyFailed> {
        if let (Some(expected), Some(actual)) = (self.payload_sha256, computed.payload_sha256)
            && expected != actual
        {
            let error = S3Error::new(&code::X_AMZ_CONTENT_SHA256_MISMATCH)
                .field("ClientComputedContentSHA256", hexadecimal::to_string(&expected))
                .field("S3ComputedContentSHA256", hexadecimal::to_string(&actual));
            return self.fail(error);
        }
        if let (Some(expected), Some(actual)) = (self.promised.md5, computed.md5)
            && expected != actual
        {
            let error = S3Error::new(&code::BAD_DIGEST)
                // In hexadecimal, and only this one (AWS).
                .field("ExpectedDigest", hexadecimal::to_string(&expected))
                .field("CalculatedDigest", base64::encode(&actual));
            return self.fail(error);
        }
        if let Some(expected) = self.promised.checksum
            && computed.checksum != Some(expected)
        {
            return self.fail(checksum_mismatch(&expected));
        }
        let checksum = match self.kept.take() {
            Some(kept) => kept.finish(),
            None => computed.checksum,
        };
        Ok(Digests { etag: ETag::of_bytes(computed.md5.unwrap_or_default()), checksum })
    }
}

/// A checksum that is not that of the bytes.
#[must_use]
pub fn checksum_mismatch(expected: &Checksum) -> S3Error {
    let name = expected.algorithm().name();
    S3Error::with_message(&code::BAD_DIGEST, format!("The {name} you specified did not match the calculated checksum."))
}

fn chunked_error(error: ChunkedError) -> S3Error {
    match error {
        ChunkedError::Malformed => S3Error::with_message(&code::INCOMPLETE_BODY, "The request body terminated unexpectedly"),
        ChunkedError::WrongLength => S3Error::new(&code::INCOMPLETE_BODY),
        ChunkedError::ChunkTooSmall { number, length } => {
            S3Error::new(&code::INVALID_CHUNK_SIZE).field("Chunk", number.to_string()).field("BadChunkSize", length.to_string())
        }
        ChunkedError::MalformedTrailer => S3Error::new(&code::MALFORMED_TRAILER),
    }
}

impl ObjectBody for VerifiedBody<'_> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        if self.at_end {
            return Poll::Ready(self.failure.is_some().then_some(Err(BodyFailed)));
        }
        if self.decoder.is_some() { self.poll_chunked(context) } else { self.poll_plain(context) }
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<Digests, BodyFailed>> {
        while !self.at_end {
            match ready!(self.poll_next(context)) {
                None => {}
                Some(Err(failed)) => return Poll::Ready(Err(failed)),
                // The store did not take all bytes: what it would commit is not the body.
                Some(Ok(_)) => {
                    let error = S3Error::new(&code::INTERNAL_ERROR).detail("a body was finished before its end");
                    return Poll::Ready(self.fail(error));
                }
            }
        }
        if self.failure.is_some() {
            return Poll::Ready(Err(BodyFailed));
        }
        let Some(hashers) = self.hashers.take() else {
            return Poll::Ready(self.fail(S3Error::new(&code::INTERNAL_ERROR).detail("a body was finished twice")));
        };
        let computed = hashers.finish();
        Poll::Ready(self.compare(&computed))
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn has_exact_length(&self) -> bool {
        self.length_min.is_none()
    }
}

#[cfg(test)]
mod tests;
