//! What the administration API answers when it does not do what was asked.

use cairn_store::administration::AdministrationError;
use cairn_store::api::StoreError;
use http::StatusCode;

use super::api::{Failure, FailureCode};

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// What the API answers.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(super) fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Invalid, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureCode::NotFound, message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unavailable, message)
    }

    /// The status that goes with the code.
    pub fn status(&self) -> StatusCode {
        match self.code {
            FailureCode::Invalid => StatusCode::BAD_REQUEST,
            FailureCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            FailureCode::Forbidden => StatusCode::FORBIDDEN,
            FailureCode::NotFound | FailureCode::UnknownPath => StatusCode::NOT_FOUND,
            FailureCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            FailureCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            FailureCode::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            FailureCode::Exists | FailureCode::InUse => StatusCode::CONFLICT,
            FailureCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FailureCode::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            FailureCode::Internal | FailureCode::Other => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body that goes with it.
    pub fn failure(&self) -> Failure {
        Failure { code: self.code, message: self.message.clone() }
    }
}

impl From<AdministrationError> for ApiError {
    fn from(error: AdministrationError) -> Self {
        match error {
            AdministrationError::NotFound(what) => Self::not_found(format!("there is no such {what}")),
            AdministrationError::Exists(what) => Self::new(FailureCode::Exists, format!("that {what} exists already")),
            AdministrationError::InUse(what) => Self::new(FailureCode::InUse, format!("the {what} is still in use")),
            AdministrationError::Invalid(why) => Self::invalid(why),
            AdministrationError::Secret(error) => Self::new(FailureCode::Internal, error.to_string()),
            AdministrationError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchBucket => Self::not_found("there is no such bucket"),
            StoreError::Busy(_) | StoreError::Unavailable(_) => {
                Self::unavailable(format!("not now: {error}. Nothing was changed."))
            }
            StoreError::OutcomeUnknown(why) => Self::new(
                FailureCode::OutcomeUnknown,
                format!("It may or may not have been done ({why}). Look before you repeat it."),
            ),
            other => Self::new(FailureCode::Internal, other.to_string()),
        }
    }
}
