//! The records that the catalog keeps, with their binary forms ([`crate::codec`]).

mod blob;
mod bucket_settings;
mod directory;
mod upload;
mod version;

pub use blob::{
    BlobContent, BlobRecord, ChunkRecord, Condemned, Layout, LeaseRecord, RebuildCursor, Replica, SessionRecord, ZoneRecord,
    ZoneSet,
};
pub use bucket_settings::{BucketTagsRecord, CorsMethod, CorsRecord, CorsRule, Tags};
pub use directory::{
    Access, AccessKeyRecord, AccountRecord, BucketRecord, Grant, GrantScope, InvalidTenantName, LockConfiguration,
    PublicAccessBlock, TenantName, TenantRecord, UsageRecord, Versioning,
};
pub use upload::{
    AbandonedRecord, CompletedRecord, ManifestRecord, PartRecord, PartRun, PartSpan, UploadAttributes, UploadRecord,
};
pub use version::{
    Body, Extent, InlineId, ManifestId, MarkerRecord, ObjectLock, Retention, RetentionMode, StorageClass, VersionDetails,
    VersionRecord, VersionRow, VersionSummary,
};

#[cfg(test)]
mod tests;
