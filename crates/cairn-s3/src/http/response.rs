//! Answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cairn_store::api::{StoreError, StoreResult};
use futures::stream::BoxStream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::request_id::RequestId;
use crate::error::{S3Error, code};
use crate::observe::RequestRecord;
use crate::text::date;
use crate::xml::writer::XmlWriter;

/// An answer.
pub type S3Response = Response<ResponseBody>;

/// The body of an answer.
pub struct ResponseBody {
    content: Content,
    /// Counts the request as running until its last byte is out, and tells how it ended.
    record: Option<RequestRecord>,
}

enum Content {
    Empty,
    Whole(Bytes),
    Stream { stream: BoxStream<'static, StoreResult<Bytes>>, remaining: u64 },
}

/// A stream of object bytes broke off: the connection is closed, so that the client cannot take what it has for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The store could not give the rest.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store gave more or fewer bytes than it had said.
    #[error("the store gave {0} bytes too few or too many")]
    WrongLength(u64),
}

impl ResponseBody {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self { content: Content::Empty, record: None }
    }

    /// These bytes.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self { content: if bytes.is_empty() { Content::Empty } else { Content::Whole(bytes) }, record: None }
    }

    /// A stream of exactly `length` bytes.
    #[must_use]
    pub fn stream(stream: BoxStream<'static, StoreResult<Bytes>>, length: u64) -> Self {
        Self { content: Content::Stream { stream, remaining: length }, record: None }
    }

    /// Whether sending it may take long for reasons of the store's.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.content, Content::Stream { .. })
    }

    /// Keeps the request's record until the body is out.
    pub(crate) fn hold(&mut self, mut record: RequestRecord) {
        if matches!(self.content, Content::Empty) {
            record.is_whole();
        }
        self.record = Some(record);
    }

    fn sent(&mut self, bytes: usize, is_last: bool) {
        if let Some(record) = &mut self.record {
            record.sent(bytes);
            if is_last {
                record.is_whole();
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Empty;
                self.sent(bytes.len(), true);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Stream { stream, remaining } => {
                let outcome = match ready!(stream.as_mut().poll_next(context)) {
                    Some(Ok(bytes)) if bytes.len() as u64 <= *remaining => {
                        *remaining -= bytes.len() as u64;
                        let is_last = *remaining == 0;
                        self.sent(bytes.len(), is_last);
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    None if *remaining == 0 => None,
                    Some(Ok(_)) | None => Some(Err(BodyError::WrongLength(*remaining))),
                    Some(Err(error)) => Some(Err(error.into())),
                };
                if let Some(Err(error)) = &outcome {
                    tracing::warn!(%error, "an answer broke off");
                }
                self.content = Content::Empty;
                Poll::Ready(outcome)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Empty => 0,
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Stream { remaining, .. } => *remaining,
        })
    }
}

/// An answer without a body.
#[must_use]
pub fn empty(status: StatusCode) -> S3Response {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response
}

/// 200 with XML.
#[must_use]
pub fn xml(writer: XmlWriter) -> S3Response {
    let mut response = Response::new(ResponseBody::whole(writer.finish()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// A header value of bytes that came as one, or of a text that cannot hold anything else; what is none is left out by the caller.
#[must_use]
pub fn header_value(bytes: impl Into<Bytes>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes.into()).ok()
}

/// Sets a header to a text, where it can be one.
pub fn set(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Bytes>) {
    if let Some(value) = header_value(value) {
        headers.insert(name, value);
    }
}

/// Sets `ETag`.
pub fn set_etag(headers: &mut HeaderMap, etag: cairn_types::ETag) {
    set(headers, http::header::ETAG, format!("\"{etag}\""));
}

/// Sets `Last-Modified`.
pub fn set_last_modified(headers: &mut HeaderMap, milliseconds: u64) {
    if let Ok(value) = HeaderValue::from_bytes(&date::http(milliseconds / 1000)) {
        headers.insert(LAST_MODIFIED, value);
    }
}

/// An error as an answer. `resource` is the path as it was asked for.
#[must_use]
pub fn error(error: &S3Error, resource: &str, request_id: &RequestId, host_id: &HeaderValue, is_head: bool) -> S3Response {
    let status = error.code().status;
    let mut response = empty(status);
    let headers = response.headers_mut();
    if let Some(marker) = error.delete_marker() {
        headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
        set(headers, HeaderName::from_static("x-amz-version-id"), marker.version_id.to_string());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            set_last_modified(headers, marker.last_modified_ms);
            headers.insert(http::header::ALLOW, HeaderValue::from_static("DELETE"));
        }
    }
    if *error.code() == code::SLOW_DOWN || *error.code() == code::SERVICE_UNAVAILABLE {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::NOT_MODIFIED {
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if is_head {
        return response;
    }
    let mut writer = XmlWriter::new(512);
    writer.open("Error");
    writer.text("Code", error.code().name);
    writer.text("Message", error.message());
    for (name, value) in error.fields() {
        writer.text(name, value);
    }
    writer.text("Resource", resource);
    writer.text("RequestId", request_id.as_str());
    writer.bytes("HostId", host_id.as_bytes());
    writer.close("Error");
    *response.body_mut() = ResponseBody::whole(writer.finish());
    response
}

/// For a `HEAD`: no body, but the length that a `GET` would have.
pub fn set_content_length(headers: &mut HeaderMap, length: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}
