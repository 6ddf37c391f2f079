//! Bodies on their way in: verified, stored, committed, in this order.
//!
//! - A short body rides inside the commit; a longer one is cut and stored by the replica layer while it comes in, within the memory that all
//!   bodies share, and the commit names its blobs.
//! - Nothing is committed before the body has confirmed all that was promised of it ([`ObjectBodyExt::finish`]).
//! - A commit that was refused leaves nothing: what was stored is deleted. One whose outcome is unknown, or whose future is dropped, leaves
//!   the chunks alone: the commit may name them, and if it does not, the collector finds them (S2).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use cairn_catalog::{Catalog, CatalogError, CatalogFuture, CatalogResult, NewBlob, NewContent};
use cairn_replica::{BlobWriter, FinishedWrite};
use cairn_types::SessionId;
use futures::stream::{BoxStream, StreamExt};

use crate::api::{Digests, ObjectBody, ObjectBodyExt, StoreError, StoreResult};
use crate::core::Core;
use crate::error::write_error;

/// Where bytes come from.
pub(crate) enum Source<'a> {
    /// A client.
    Client(&'a mut dyn ObjectBody),
    /// A client, after these bytes of it.
    Begun(VecDeque<Bytes>, &'a mut dyn ObjectBody),
    /// Another version, whose bytes cannot be shared.
    Version(BoxStream<'static, StoreResult<Bytes>>),
}

impl Source<'_> {
    async fn next(&mut self) -> Option<StoreResult<Bytes>> {
        match self {
            Self::Client(body) => body.next().await.map(|bytes| bytes.map_err(StoreError::from)),
            Self::Begun(held, body) => match held.pop_front() {
                Some(bytes) => Some(Ok(bytes)),
                None => body.next().await.map(|bytes| bytes.map_err(StoreError::from)),
            },
            Self::Version(stream) => stream.next().await,
        }
    }
}

/// Bytes that are where the commit wants them.
pub(crate) enum StoredBody {
    /// In memory: they ride inside the commit.
    Inline(Bytes),
    /// In two zones at least.
    Blobs(FinishedWrite),
}

/// Counts what a source gave against what it promised: a record must never say more or less than the chunks hold.
struct Count {
    expected: u64,
    /// Whether fewer are wrong as well.
    is_exact: bool,
    seen: u64,
}

impl Count {
    fn add(&mut self, bytes: &Bytes) -> StoreResult<()> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.seen > self.expected { Err(self.wrong()) } else { Ok(()) }
    }

    fn end(&self) -> StoreResult<()> {
        if self.seen == self.expected || !self.is_exact { Ok(()) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> StoreError {
        StoreError::Internal(format!("a body of {} bytes gave {}", self.expected, self.seen))
    }
}

impl Core {
    /// Takes a client's body in and verifies it.
    pub(crate) async fn take_body(&self, body: &mut dyn ObjectBody) -> StoreResult<(StoredBody, Digests)> {
        let length = body.length();
        if !body.has_exact_length() {
            return self.take_open_body(body).await;
        }
        if self.is_inline(length) {
            let bytes = collect(Source::Client(&mut *body), length).await?;
            let digests = body.finish().await?;
            return Ok((StoredBody::Inline(bytes), digests));
        }
        // Dropped on any failure, and when the request is: that discards what was stored.
        let writer = self.fill(Source::Client(&mut *body), length, true).await?;
        let digests = body.finish().await?;
        Ok((StoredBody::Blobs(writer.finish().await.map_err(write_error)?), digests))
    }

    /// As [`Core::take_body`], for a body whose end is not known: as much of it is held as may ride inside the commit.
    async fn take_open_body(&self, body: &mut dyn ObjectBody) -> StoreResult<(StoredBody, Digests)> {
        let mut held = VecDeque::new();
        let mut size = 0;
        while self.is_inline(size) {
            let Some(bytes) = body.next().await.transpose()? else {
                let bytes = collect(Source::Begun(held, &mut *body), size).await?;
                let digests = body.finish().await?;
                return Ok((StoredBody::Inline(bytes), digests));
            };
            size = size.saturating_add(bytes.len() as u64);
            held.push_back(bytes);
        }
        let length = body.length();
        let writer = self.fill(Source::Begun(held, &mut *body), length, false).await?;
        let digests = body.finish().await?;
        Ok((StoredBody::Blobs(writer.finish().await.map_err(write_error)?), digests))
    }

    /// Stores bytes that need no verification beyond their length.
    pub(crate) async fn take_stream(
        &self,
        stream: BoxStream<'static, StoreResult<Bytes>>,
        length: u64,
    ) -> StoreResult<StoredBody> {
        let source = Source::Version(stream);
        if self.is_inline(length) {
            return collect(source, length).await.map(StoredBody::Inline);
        }
        let writer = self.fill(source, length, true).await?;
        Ok(StoredBody::Blobs(writer.finish().await.map_err(write_error)?))
    }

    fn is_inline(&self, length: u64) -> bool {
        usize::try_from(length).is_ok_and(|length| length <= self.catalog.limits().inline_length_max)
    }

    /// Stores all of a source's bytes, so many or at most so many; the last of them may still be on their way.
    async fn fill(&self, mut source: Source<'_>, length: u64, is_exact: bool) -> StoreResult<BlobWriter> {
        let mut patience = self.patience();
        self.two_zones(&mut patience).await?;
        drop(self.session(&mut patience).await?);
        let mut writer = self.replicator.writer(Some(length)).map_err(write_error)?;
        let mut count = Count { expected: length, is_exact, seen: 0 };
        loop {
            let next = tokio::select! {
                biased;
                next = source.next() => next,
                // Others wait for memory while this body waits for its client: what it holds goes out.
                () = writer.pressed() => {
                    writer.flush().map_err(write_error)?;
                    continue;
                }
            };
            let Some(bytes) = next.transpose()? else { break };
            count.add(&bytes)?;
            writer.push(bytes).await.map_err(write_error)?;
        }
        count.end()?;
        writer.flush().map_err(write_error)?;
        Ok(writer)
    }

    /// Commits a stored body.
    pub(crate) async fn commit_body<'a, T>(
        &'a self,
        body: StoredBody,
        commit: impl Fn(&'a dyn Catalog, SessionId, NewContent) -> CatalogFuture<'a, T>,
    ) -> CatalogResult<T> {
        match body {
            StoredBody::Inline(bytes) => {
                self.commit(|catalog, session| commit(catalog, session, NewContent::Inline(bytes.clone()))).await
            }
            StoredBody::Blobs(stored) => {
                // Under the session that the chunks were written under, which `stored` holds (S1, S2).
                let session = stored.session();
                let blobs: Vec<NewBlob> =
                    stored.contents().iter().map(|(id, content)| NewBlob { id: *id, content: content.clone() }).collect();
                let answer = self.insist(|catalog| commit(catalog, session, NewContent::Blobs(blobs.clone()))).await;
                match &answer {
                    Ok(_) => stored.committed(),
                    // Dropped, not discarded: the commit may name them.
                    Err(CatalogError::OutcomeUnknown(_)) => drop(stored),
                    Err(_) => stored.discard(),
                }
                answer
            }
        }
    }
}

async fn collect(mut source: Source<'_>, length: u64) -> StoreResult<Bytes> {
    let mut count = Count { expected: length, is_exact: true, seen: 0 };
    // Nothing is copied when the body comes in one piece, as short ones do.
    let mut first = Bytes::new();
    let mut all: Option<BytesMut> = None;
    while let Some(bytes) = source.next().await.transpose()? {
        count.add(&bytes)?;
        if first.is_empty() {
            first = bytes;
        } else {
            all.get_or_insert_with(|| BytesMut::from(first.as_ref())).extend_from_slice(&bytes);
        }
    }
    count.end()?;
    Ok(all.map_or(first, BytesMut::freeze))
}
