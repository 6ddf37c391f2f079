//! A form as it comes from the connection: its fields, and then its file as a body like any other.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::{Inbound, InboundError};
use crate::error::{S3Error, S3Result, code};
use crate::form::multipart::{FileEvent, FormDecoder, FormError, FormHead};

/// A form whose fields were read.
pub struct FormInbound {
    inbound: Inbound,
    decoder: FormDecoder,
}

impl FormInbound {
    /// Reads the fields before the file; each wait for the client is at most so long. On an error the body is left in `inbound`, on
    /// success it is taken out.
    pub async fn read_head(
        inbound: &mut Inbound,
        mut decoder: FormDecoder,
        idle_timeout: Duration,
    ) -> S3Result<(FormHead, Self)> {
        loop {
            let next = std::future::poll_fn(|context| inbound.poll_data(context));
            let next = tokio::time::timeout(idle_timeout, next).await.map_err(|_| S3Error::new(&code::REQUEST_TIMEOUT))?;
            let piece = match next {
                Some(Ok(piece)) => piece,
                Some(Err(InboundError::Form(error))) => return Err(form_error(error)),
                Some(Err(InboundError::Slow)) => return Err(S3Error::new(&code::REQUEST_TIMEOUT)),
                Some(Err(error)) => return Err(S3Error::new(&code::INCOMPLETE_BODY).detail(error.to_string())),
                None => return Err(form_error(FormError::Malformed)),
            };
            if let Some(head) = decoder.head(piece).map_err(form_error)? {
                let inbound = std::mem::replace(inbound, Inbound::from_memory([]));
                return Ok((head, Self { inbound, decoder }));
            }
        }
    }

    /// The file's next bytes.
    pub(super) fn poll_file(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, InboundError>>> {
        loop {
            match self.decoder.file() {
                Ok(FileEvent::Data(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Ok(FileEvent::End) => return Poll::Ready(None),
                Ok(FileEvent::NeedsMore) => match ready!(self.inbound.poll_data(context)) {
                    Some(Ok(piece)) => self.decoder.push(piece),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(Some(Err(FormError::Malformed.into()))),
                },
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// What the form comes from.
    pub(super) fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    /// What is left of the form.
    pub(super) fn into_inbound(self) -> Inbound {
        self.inbound
    }
}

/// What S3 says of a form that is none.
pub(super) fn form_error(error: FormError) -> S3Error {
    S3Error::new(match error {
        FormError::Malformed => &code::MALFORMED_POST_REQUEST,
        FormError::TooLong => &code::MAX_POST_PRE_DATA_LENGTH_EXCEEDED,
        FormError::NoFile => &code::INCORRECT_NUMBER_OF_FILES_IN_POST_REQUEST,
    })
}
