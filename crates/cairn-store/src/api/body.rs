//! Bodies on their way in: pulled by the store, verified by whoever gives them.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use bytes::Bytes;
use cairn_types::{Checksum, ETag};

/// An object's bytes on their way in, hashed as they are pulled. Nothing is pulled ahead: a store that is slow slows the client.
pub trait ObjectBody: Send {
    /// The next bytes, never empty; `None` at the end. The bytes of one body are [`ObjectBody::length`] in number (or fewer, where
    /// that is not exact), or it fails.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>>;

    /// After the end, once: compares all that was promised (length, digests, signatures, trailer) and gives what was computed. To be
    /// called before the commit; without its `Ok` nothing may become visible.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<Digests, BodyFailed>>;

    /// How many bytes there will be: exactly, or at most where [`ObjectBody::has_exact_length`] says so.
    fn length(&self) -> u64;

    /// Whether [`ObjectBody::length`] is exact. The file of a form ends where it ends; only the form's length is known before.
    fn has_exact_length(&self) -> bool {
        true
    }
}

/// [`ObjectBody`] for `async` code.
pub trait ObjectBodyExt: ObjectBody {
    /// See [`ObjectBody::poll_next`].
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, BodyFailed>>> + Send {
        poll_fn(move |context| self.poll_next(context))
    }

    /// See [`ObjectBody::poll_finish`].
    fn finish(&mut self) -> impl Future<Output = Result<Digests, BodyFailed>> + Send {
        poll_fn(move |context| self.poll_finish(context))
    }
}

impl<B: ObjectBody + ?Sized> ObjectBodyExt for B {}

/// A body could not be read to its end, or is not what was promised. Its owner knows why, and tells the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body failed")]
pub struct BodyFailed;

/// What was computed over a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// The entity tag.
    pub etag: ETag,
    /// The checksum that the object or part keeps, if any.
    pub checksum: Option<Checksum>,
}
