//! Listings. A page is short only because of its limit, or it is an error (R2).

use cairn_types::records::{MarkerRecord, VersionSummary};
use cairn_types::{BucketId, ObjectKey, UploadId, VersionId};

use super::FoundUpload;

/// A piece of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In order.
    pub entries: Vec<T>,
    /// Whether at least one more follows behind the last one.
    pub is_truncated: bool,
}

/// One line of a listing with a delimiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry<T> {
    /// A key, version or upload.
    Item(T),
    /// The keys that start so, rolled up.
    Prefix(String),
}

/// Where a listing goes on. Everything at or before it is left out, rolled-up prefixes included: a listing that goes on inside a folder
/// does not show that folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPosition {
    /// Behind this text (a key or not).
    Key(String),
    /// Behind every key that starts so.
    Prefix(String),
}

/// What all listings of keys have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListScope {
    /// Where.
    pub bucket: BucketId,
    /// Only keys that start so; empty for all.
    pub prefix: String,
    /// Keys that contain this behind the prefix are rolled up to where it ends; `None` or empty for a flat listing.
    pub delimiter: Option<String>,
    /// At most so many entries, items and prefixes together.
    pub limit: u32,
}

/// See [`crate::Catalog::list_objects`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjects {
    /// Of what.
    pub scope: ListScope,
    /// Where to go on.
    pub after: Option<ListPosition>,
}

/// A current version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// What is shown of it.
    pub version: VersionSummary,
}

/// See [`crate::Catalog::list_versions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVersions {
    /// Of what.
    pub scope: ListScope,
    /// Where to go on.
    pub after: Option<VersionPosition>,
}

/// Where a listing of versions goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPosition {
    /// As for objects.
    Name(ListPosition),
    /// Behind this version of this key. Where the version is gone and its place cannot be told from its id (a `null` version), the key's
    /// versions are listed from the newest on: some may be shown twice, none is missed (R2).
    Version(ObjectKey, VersionId),
}

/// A version or delete marker in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// Its key.
    pub key: ObjectKey,
    /// Whether it is the key's newest.
    pub is_latest: bool,
    /// What is shown of it.
    pub row: ListedRow,
}

/// What is shown of a version or delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedRow {
    /// A version.
    Version(VersionSummary),
    /// A delete marker.
    Marker(MarkerRecord),
}

impl ListedRow {
    /// The version's or marker's name.
    #[must_use]
    pub fn version_id(&self) -> VersionId {
        match self {
            Self::Version(version) => version.id,
            Self::Marker(marker) => marker.id,
        }
    }
}

/// See [`crate::Catalog::list_uploads`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListUploads {
    /// Of what.
    pub scope: ListScope,
    /// Where to go on.
    pub after: Option<UploadPosition>,
}

/// Where a listing of uploads goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadPosition {
    /// As for objects.
    Name(ListPosition),
    /// Behind this upload of this key (which may have ended since).
    Upload(ObjectKey, UploadId),
}

/// A page of [`crate::Catalog::list_objects`].
pub type ObjectPage = Page<ListEntry<ListedObject>>;
/// A page of [`crate::Catalog::list_versions`].
pub type VersionPage = Page<ListEntry<ListedVersion>>;
/// A page of [`crate::Catalog::list_uploads`].
pub type UploadPage = Page<ListEntry<FoundUpload>>;
