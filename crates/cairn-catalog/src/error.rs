//! Why the catalog did not do what was asked.

use cairn_types::codec::DecodeError;
use cairn_types::{AccountId, BlobId, VersionId, WallTime};

/// Why an operation was not done. Except for [`CatalogError::OutcomeUnknown`], nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    // -- what S3 clients are told -----------------------------------------------------------------------------------------------
    /// The bucket does not exist (any more).
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The tenant has a bucket of that name.
    #[error("the bucket exists, of account {owner}")]
    BucketExists {
        /// Whose it is.
        owner: AccountId,
    },
    /// The bucket holds versions, delete markers or (where they keep it) open uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The key has no version at all, or none that was asked for by condition.
    #[error("the key does not exist")]
    NoSuchKey,
    /// The key has no such version.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// The version asked for, or the newest one, is a delete marker.
    #[error("the version is a delete marker")]
    IsDeleteMarker {
        /// Its name.
        version_id: VersionId,
        /// When it was made.
        last_modified: WallTime,
    },
    /// The object has no such part.
    #[error("the object has no such part")]
    NoSuchPart,
    /// There is no such open upload.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// The condition does not hold.
    #[error("the condition does not hold")]
    PreconditionFailed,
    /// A part that a completion names is not there.
    #[error("part {0} is not there")]
    InvalidPart(u32),
    /// The numbers in a completion do not rise.
    #[error("the numbers of the parts do not rise")]
    InvalidPartOrder,
    /// A part but the last is too short.
    #[error("part {part_number} of {length} bytes is too short")]
    EntityTooSmall {
        /// Which.
        part_number: u32,
        /// Its bytes.
        length: u64,
    },
    /// The parts together are too long.
    #[error("the object would have {length} bytes, too many")]
    EntityTooLarge {
        /// Its bytes.
        length: u64,
    },

    // -- what the caller settles: read again, try again ---------------------------------------------------------------------------
    /// The source of a copy is no longer there as described: read it again (B5).
    #[error("the source of the copy has changed")]
    SourceChanged,
    /// The source's bytes are in too many pieces to be copied by reference: copy the bytes.
    #[error("the source is in too many pieces to be copied by reference")]
    SourceTooScattered,
    /// A part is not what it was: read them again.
    #[error("part {0} has changed")]
    PartsChanged(u32),
    /// The writer session is closed (S2): open another one and write the bytes again under it.
    #[error("the writer session is closed")]
    SessionClosed,
    /// Fewer zones than the layout's write quorum have a chunk of this blob in their present incarnations (B3): write the bytes again.
    #[error("too few zones hold blob {0:?} in their present incarnations")]
    QuorumLost(BlobId),

    // -- administration -----------------------------------------------------------------------------------------------------------
    /// No tenant, account or access key of that name.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// There is a tenant, account or access key of that name.
    #[error("that {0} exists")]
    Exists(&'static str),
    /// A tenant or account that still holds something.
    #[error("the {0} is in use")]
    InUse(&'static str),
    /// A request that no state of the catalog could satisfy: a bug of the caller, or a limit of [`crate::Limits`].
    #[error("refused: {0}")]
    Refused(String),

    // -- the catalog itself -------------------------------------------------------------------------------------------------------
    /// More to do than it can: try again later.
    #[error("too busy: {0}")]
    Busy(String),
    /// Fewer than two zones, starting, stopping: try again later. The text holds no secrets and no paths.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The change may or may not have been made.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// No zone has room for the metadata.
    #[error("no space left: {0}")]
    OutOfSpace(String),
    /// A row is not what it should be.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl From<DecodeError> for CatalogError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}
