//! Validated names, identifiers and versioned records of Cairn.
//!
//! This crate does no I/O and knows no clock and no randomness: everything here is a value. A type that can be constructed has
//! been validated; parsing untrusted bytes returns an error and never panics.

pub mod codec;
pub mod frame;
pub mod ids;
pub mod object;
pub mod records;
pub mod time;

pub use ids::{BlobId, BucketId, ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex, ZoneName};
pub use object::{
    AccountId, BucketName, Checksum, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, ObjectMetadata, TenantId, UploadId,
    VersionId,
};
pub use time::{CatalogTime, Now, WallTime};
