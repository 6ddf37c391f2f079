//! Validated names, identifiers and versioned records of Cairn.
//!
//! This crate does no I/O and knows no clock and no randomness: everything here is a value. A type that can be constructed has
//! been validated; parsing untrusted bytes returns an error and never panics.

pub mod ids;

pub use ids::{BlobId, BucketId, ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex, ZoneName};
