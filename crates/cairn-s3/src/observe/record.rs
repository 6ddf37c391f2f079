//! One request on its way through: what is noted of it, and that its end is counted and told, however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_store::api::AccessKey;
use http::header::USER_AGENT;
use http::{StatusCode, request::Parts};

use super::access_log::{Begun, End, Entry};
use super::{BucketSlot, OperationLabel, Outcome, Sum};
use crate::error::S3Error;
use crate::http::request_id::RequestId;
use crate::http::service::{RequestPermit, Shared};
use crate::http::target::parse_target;

/// The status that the log tells where the client went away before there was an answer (no such status is ever sent).
const STATUS_ABANDONED: u16 = 499;

/// What is learnt of a request while it is handled.
#[derive(Default)]
pub(crate) struct Notes {
    /// What it asks.
    pub operation: Option<OperationLabel>,
    /// The bucket, where it exists and the sender may use it.
    pub bucket: BucketSlot,
    /// The key that signed it.
    pub key: Option<Arc<AccessKey>>,
}

/// A request that is handled. Dropped before it is answered, it was abandoned.
pub(crate) struct Observed<'a> {
    shared: &'a Arc<Shared>,
    parts: &'a Parts,
    request_id: RequestId,
    peer: Option<SocketAddr>,
    started: Duration,
    pub notes: Notes,
    is_answered: bool,
}

/// A request whose answer is on its way out.
pub(crate) struct RequestRecord {
    shared: Arc<Shared>,
    started: Duration,
    sum: Sum,
    line: Option<Begun>,
    /// Counts it as running.
    _permit: Option<RequestPermit>,
    is_whole: bool,
}

impl<'a> Observed<'a> {
    pub fn begin(shared: &'a Arc<Shared>, parts: &'a Parts, request_id: RequestId, peer: Option<SocketAddr>) -> Self {
        let started = shared.clock.monotonic();
        Self { shared, parts, request_id, peer, started, notes: Notes::default(), is_answered: false }
    }

    /// The answer is known; `is_stream`: sending it may take long.
    pub fn answered(
        mut self,
        status: StatusCode,
        error: Option<&S3Error>,
        received: u64,
        is_stream: bool,
        permit: Option<RequestPermit>,
    ) -> RequestRecord {
        self.is_answered = true;
        let took = self.took();
        let outcome = Outcome::Status(status.as_u16());
        RequestRecord {
            shared: Arc::clone(self.shared),
            started: self.started,
            sum: Sum { label: self.label(), bucket: self.notes.bucket, outcome, took, received, sent: 0 },
            line: self.line(status.as_u16(), error, &End { took, received, sent: 0, how: "" }, is_stream),
            _permit: permit,
            is_whole: false,
        }
    }

    fn took(&self) -> Duration {
        self.shared.clock.monotonic().saturating_sub(self.started)
    }

    fn label(&self) -> OperationLabel {
        self.notes.operation.unwrap_or(OperationLabel::Unknown)
    }

    fn line(&self, status: u16, error: Option<&S3Error>, so_far: &End, is_stream: bool) -> Option<Begun> {
        let log = self.shared.access_log.get()?;
        let is_listed = log.decide(&self.parts.method, status, so_far, is_stream)?;
        let target = parse_target(self.shared.virtual_bucket(self.parts), self.parts.uri.path()).ok();
        // Who claimed to have signed a request that was refused, where the error says it.
        let claimed = || error?.fields().iter().find(|(name, _)| *name == "AWSAccessKeyId").map(|(_, value)| value.as_str());
        let user_agent = self.parts.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let entry = Entry {
            wall: self.shared.clock.wall(),
            request_id: self.request_id.as_str(),
            peer: self.peer,
            operation: self.label().name(),
            method: &self.parts.method,
            bucket: target.as_ref().and_then(|target| target.bucket.as_deref()),
            key: target.as_ref().and_then(|target| target.key.as_ref()).map(cairn_types::ObjectKey::as_str),
            access_key_id: self.notes.key.as_ref().map(|key| &*key.access_key_id).or_else(claimed),
            user_agent: user_agent.as_deref(),
            status,
            error: error.map(|error| error.code().name),
        };
        Some(log.begin(&entry, is_listed))
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let took = self.took();
        let (label, bucket) = (self.label(), self.notes.bucket);
        self.shared.metrics.count(&Sum { label, bucket, outcome: Outcome::Abandoned, took, received: 0, sent: 0 });
        let end = End { took, received: 0, sent: 0, how: "abandoned" };
        if let Some(line) = self.line(STATUS_ABANDONED, None, &end, false)
            && let Some(log) = self.shared.access_log.get()
        {
            log.end(line, &end);
        }
    }
}

impl RequestRecord {
    /// So many bytes of the answer's body went out.
    pub fn sent(&mut self, bytes: usize) {
        self.sum.sent += bytes as u64;
    }

    /// All of the answer's body went out.
    pub fn is_whole(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let took = self.shared.clock.monotonic().saturating_sub(self.started);
        let metrics = &self.shared.metrics;
        metrics.count(&Sum { took, ..self.sum });
        if !self.is_whole {
            metrics.broken_off.add(1);
        }
        if let (Some(line), Some(log)) = (self.line.take(), self.shared.access_log.get()) {
            let how = if self.is_whole { "answered" } else { "broken off" };
            log.end(line, &End { took, received: self.sum.received, sent: self.sum.sent, how });
        }
    }
}
