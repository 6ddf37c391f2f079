//! The catalog's values as the front sees them, and back.

use std::sync::Arc;

use cairn_catalog as catalog;
use cairn_types::records::{self, UploadAttributes, VersionSummary as StoredSummary};

use crate::api;

pub(crate) fn versioning(versioning: records::Versioning) -> api::Versioning {
    match versioning {
        records::Versioning::Unversioned => api::Versioning::Unversioned,
        records::Versioning::Enabled => api::Versioning::Enabled,
        records::Versioning::Suspended => api::Versioning::Suspended,
    }
}

pub(crate) fn stored_versioning(versioning: api::Versioning) -> records::Versioning {
    match versioning {
        api::Versioning::Unversioned => records::Versioning::Unversioned,
        api::Versioning::Enabled => records::Versioning::Enabled,
        api::Versioning::Suspended => records::Versioning::Suspended,
    }
}

pub(crate) fn bucket(found: catalog::FoundBucket) -> Arc<api::Bucket> {
    let catalog::FoundBucket { id, record, cors, owner_name } = found;
    Arc::new(api::Bucket {
        id,
        tenant: record.tenant,
        name: record.name,
        owner: record.owner,
        owner_name: owner_name.into(),
        created_ms: record.created.wall.0,
        versioning: versioning(record.versioning),
        cors,
        public_access_block: record.public_access_block,
        has_ownership_controls: record.has_ownership_controls,
    })
}

pub(crate) fn grant(grant: &records::Grant) -> api::Grant {
    let scope = match grant.scope {
        // To the front, which knows a key's own tenant only. The rest of it is for the administration.
        records::GrantScope::Store | records::GrantScope::Tenant => api::GrantScope::Tenant,
        records::GrantScope::Bucket(bucket) => api::GrantScope::Bucket(bucket),
    };
    let access = match grant.access {
        records::Access::Read => api::Access::Read,
        records::Access::Write => api::Access::Write,
        records::Access::Administer => api::Access::Administer,
    };
    api::Grant { scope, access }
}

pub(crate) fn condition(condition: api::WriteCondition) -> catalog::WriteCondition {
    match condition {
        api::WriteCondition::None => catalog::WriteCondition::None,
        api::WriteCondition::Absent => catalog::WriteCondition::Absent,
        api::WriteCondition::Present => catalog::WriteCondition::Present,
        api::WriteCondition::Matches(etags) => catalog::WriteCondition::Matches(etags),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "handed to `map`, and has no more use")]
pub(crate) fn written(written: catalog::Written) -> api::Written {
    api::Written {
        version_id: written.version_id,
        versioning: versioning(written.versioning),
        last_modified_ms: written.last_modified.0,
        etag: written.etag,
        checksum: written.checksum,
    }
}

pub(crate) fn source(source: api::SourceVersion) -> catalog::SourceVersion {
    let api::SourceVersion { bucket, key, version_id, revision } = source;
    catalog::SourceVersion { bucket, key, version_id, sequence: revision }
}

pub(crate) fn head(found: catalog::FoundVersion) -> (api::ObjectHead, Option<catalog::FoundContent>) {
    let catalog::FoundVersion { version, versioning: bucket_versioning, part, content } = found;
    let records::VersionRecord { summary, details } = version;
    let head = api::ObjectHead {
        version_id: summary.id,
        versioning: versioning(bucket_versioning),
        revision: summary.sequence,
        last_modified_ms: summary.last_modified.0,
        length: summary.length,
        etag: summary.etag,
        checksum: summary.checksum,
        metadata: details.metadata,
        tags: details.tags,
        part: part.as_ref().map(part_extent),
    };
    (head, content)
}

fn part_extent(part: &catalog::FoundPart) -> api::PartExtent {
    let span = part.span;
    let range = span.offset..span.offset.saturating_add(span.length);
    api::PartExtent { range, part_count: part.part_count, checksum: part.checksum }
}

/// Parts without their content.
pub(crate) fn object_parts(page: catalog::ManifestPage) -> api::Page<api::ObjectPart> {
    let entry = |part: catalog::ManifestPart| api::ObjectPart {
        part_number: part.span.ordinal.saturating_add(1),
        length: part.span.length,
        checksum: part.checksum,
    };
    api::Page { entries: page.parts.into_iter().map(entry).collect(), is_truncated: page.is_truncated }
}

pub(crate) fn delete_target(target: api::DeleteTarget) -> catalog::DeleteTarget {
    let api::DeleteTarget { key, version_id, condition: written_if } = target;
    catalog::DeleteTarget { key, version_id, condition: condition(written_if) }
}

pub(crate) fn deleted(deleted: &catalog::Deleted) -> api::Deleted {
    api::Deleted { version_id: deleted.version_id, is_delete_marker: deleted.is_delete_marker }
}

// -- listings -------------------------------------------------------------------------------------------------------------------------

pub(crate) fn page<T, U>(page: catalog::Page<T>, entry: impl Fn(T) -> U) -> api::Page<U> {
    api::Page { entries: page.entries.into_iter().map(entry).collect(), is_truncated: page.is_truncated }
}

pub(crate) fn entries<T, U>(
    entries: catalog::Page<catalog::ListEntry<T>>,
    item: impl Fn(T) -> U,
) -> api::Page<api::ListEntry<U>> {
    page(entries, |entry| match entry {
        catalog::ListEntry::Item(listed) => api::ListEntry::Item(item(listed)),
        catalog::ListEntry::Prefix(prefix) => api::ListEntry::Prefix(prefix),
    })
}

pub(crate) fn position(position: api::ListPosition) -> catalog::ListPosition {
    match position {
        api::ListPosition::Key(key) => catalog::ListPosition::Key(key),
        api::ListPosition::Prefix(prefix) => catalog::ListPosition::Prefix(prefix),
    }
}

pub(crate) fn version_position(place: api::VersionPosition) -> catalog::VersionPosition {
    match place {
        api::VersionPosition::Name(name) => catalog::VersionPosition::Name(position(name)),
        api::VersionPosition::Version(key, version) => catalog::VersionPosition::Version(key, version),
    }
}

pub(crate) fn upload_position(place: api::UploadPosition) -> catalog::UploadPosition {
    match place {
        api::UploadPosition::Name(name) => catalog::UploadPosition::Name(position(name)),
        api::UploadPosition::Upload(key, upload) => catalog::UploadPosition::Upload(key, upload),
    }
}

pub(crate) fn listed_object(listed: catalog::ListedObject) -> api::ObjectSummary {
    let catalog::ListedObject { key, version } = listed;
    api::ObjectSummary {
        key,
        last_modified_ms: version.last_modified.0,
        length: version.length,
        etag: version.etag,
        checksum: checksum_kind(&version),
    }
}

fn checksum_kind(version: &StoredSummary) -> Option<(cairn_types::ChecksumAlgorithm, cairn_types::ChecksumType)> {
    version.checksum.map(|checksum| (checksum.algorithm(), checksum.checksum_type()))
}

pub(crate) fn listed_version(listed: catalog::ListedVersion) -> api::VersionSummary {
    let catalog::ListedVersion { key, is_latest, row } = listed;
    let (version_id, last_modified_ms, object) = match row {
        catalog::ListedRow::Version(version) => {
            let content = api::VersionContent { length: version.length, etag: version.etag, checksum: checksum_kind(&version) };
            (version.id, version.last_modified.0, Some(content))
        }
        catalog::ListedRow::Marker(marker) => (marker.id, marker.last_modified.0, None),
    };
    api::VersionSummary { key, version_id, is_latest, last_modified_ms, object }
}

// -- uploads --------------------------------------------------------------------------------------------------------------------------

pub(crate) fn upload_name(name: api::UploadName) -> catalog::UploadName {
    let api::UploadName { bucket, key, upload_id } = name;
    catalog::UploadName { bucket, key, upload_id }
}

pub(crate) fn upload(found: catalog::FoundUpload) -> Arc<api::Upload> {
    let catalog::FoundUpload { name, initiator, initiated, attributes } = found;
    let catalog::UploadName { bucket, key, upload_id } = name;
    let UploadAttributes { metadata, checksum, .. } = attributes;
    Arc::new(api::Upload {
        name: api::UploadName { bucket, key, upload_id },
        metadata,
        checksum,
        initiator,
        initiated_ms: initiated.wall.0,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "handed to `map`, and has no more use")]
pub(crate) fn part(part: catalog::FoundUploadPart) -> api::Part {
    let catalog::FoundUploadPart { part_number, sequence, length, etag, checksum, last_modified } = part;
    api::Part { part_number, revision: sequence, length, etag, checksum, last_modified_ms: last_modified.0 }
}
