//! What the store says when the layers below it fail.

use cairn_catalog::CatalogError;
use cairn_replica::{ReadError, WriteError};

use crate::api::StoreError;

/// What a catalog's refusal means to whoever asked the store.
pub(crate) fn store_error(error: CatalogError) -> StoreError {
    match error {
        CatalogError::NoSuchBucket => StoreError::NoSuchBucket,
        CatalogError::BucketExists { owner } => StoreError::BucketExists { owner },
        CatalogError::BucketNotEmpty => StoreError::BucketNotEmpty,
        CatalogError::NoSuchKey => StoreError::NoSuchKey,
        CatalogError::NoSuchVersion => StoreError::NoSuchVersion,
        CatalogError::IsDeleteMarker { version_id, last_modified } => {
            StoreError::IsDeleteMarker { version_id, last_modified_ms: last_modified.0 }
        }
        CatalogError::NoSuchPart => StoreError::NoSuchPart,
        CatalogError::NoSuchUpload => StoreError::NoSuchUpload,
        CatalogError::PreconditionFailed => StoreError::PreconditionFailed,
        CatalogError::SourceChanged => StoreError::SourceChanged,
        // A part that was of the revision given when the caller read it, and is not there any more.
        CatalogError::InvalidPart(_) | CatalogError::PartsChanged(_) => StoreError::PartsChanged,
        CatalogError::OutOfSpace(_) => StoreError::OutOfSpace,
        CatalogError::Busy(why) => StoreError::Busy(why),
        CatalogError::Unavailable(why) => StoreError::Unavailable(why),
        CatalogError::OutcomeUnknown(why) => StoreError::OutcomeUnknown(why),
        CatalogError::Damaged(why) => StoreError::Damaged(why),
        // The bytes are to be sent again, under another session or to other lives of the zones.
        CatalogError::SessionClosed | CatalogError::QuorumLost(_) => StoreError::Unavailable(error.to_string()),
        // Callers judge these before they ask, upon the same revisions; or they are handled where they come up.
        CatalogError::InvalidPartOrder
        | CatalogError::EntityTooSmall { .. }
        | CatalogError::EntityTooLarge { .. }
        | CatalogError::SourceTooScattered
        | CatalogError::NotFound(_)
        | CatalogError::Exists(_)
        | CatalogError::InUse(_)
        | CatalogError::Refused(_) => StoreError::Internal(error.to_string()),
    }
}

/// Why a body could not be stored.
pub(crate) fn write_error(error: WriteError) -> StoreError {
    match error {
        WriteError::NoSpace => StoreError::OutOfSpace,
        WriteError::NoSession | WriteError::Unavailable => StoreError::Unavailable(error.to_string()),
    }
}

/// Why bytes could not be read.
#[allow(clippy::needless_pass_by_value, reason = "handed to `map_err`")]
pub(crate) fn read_error(error: ReadError) -> StoreError {
    match error {
        ReadError::Unavailable => StoreError::Unavailable(error.to_string()),
        ReadError::Gone => StoreError::NoSuchVersion,
        ReadError::Lost(_) => StoreError::Damaged(error.to_string()),
        ReadError::Range | ReadError::Record(_) => StoreError::Internal(error.to_string()),
    }
}
