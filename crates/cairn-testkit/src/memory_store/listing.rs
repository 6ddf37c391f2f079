//! Listings in memory: everything is walked, nothing is clever, so that it is easy to see that it is right.

use cairn_store::api::{
    ListEntry, ListObjects, ListPosition, ListUploads, ListVersions, ObjectPage, ObjectSummary, Page, UploadPage, UploadPosition,
    VersionContent, VersionPage, VersionPosition, VersionSummary,
};
use cairn_types::ObjectKey;

use super::BucketState;

/// Takes entries in order, rolls them up and cuts them off.
struct Roller<'a, T> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    limit: usize,
    page: Page<ListEntry<T>>,
}

impl<'a, T> Roller<'a, T> {
    fn new(prefix: &'a str, delimiter: Option<&'a str>, limit: u32) -> Self {
        Self { prefix, delimiter, limit: limit as usize, page: Page { entries: Vec::new(), is_truncated: false } }
    }

    /// Takes an entry; `false` when the page is full.
    fn take(&mut self, key: &str, item: impl FnOnce() -> T) -> bool {
        let Some(rest) = key.strip_prefix(self.prefix) else { return true };
        let folder =
            self.delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| &key[..self.prefix.len() + at + delimiter.len()]));
        if let (Some(folder), Some(ListEntry::Prefix(last))) = (folder, self.page.entries.last())
            && folder == last
        {
            return true;
        }
        if self.page.entries.len() == self.limit {
            self.page.is_truncated = true;
            return false;
        }
        self.page.entries.push(match folder {
            Some(folder) => ListEntry::Prefix(folder.to_owned()),
            None => ListEntry::Item(item()),
        });
        true
    }
}

fn is_behind(key: &str, position: &ListPosition) -> bool {
    match position {
        ListPosition::Key(after) => key > after.as_str(),
        ListPosition::Prefix(prefix) => key > prefix.as_str() && !key.starts_with(prefix.as_str()),
    }
}

pub(super) fn objects(bucket: &BucketState, request: &ListObjects) -> ObjectPage {
    let mut roller = Roller::new(&request.prefix, request.delimiter.as_deref(), request.limit);
    for (key, versions) in &bucket.objects {
        if request.after.as_ref().is_some_and(|after| !is_behind(key.as_str(), after)) {
            continue;
        }
        let Some(version) = versions.last() else { continue };
        let Some(object) = &version.object else { continue };
        let summary = || ObjectSummary {
            key: key.clone(),
            last_modified_ms: version.last_modified_ms,
            length: object.length,
            etag: object.etag,
            checksum: object.checksum.map(|checksum| (checksum.algorithm(), checksum.checksum_type())),
        };
        if !roller.take(key.as_str(), summary) {
            break;
        }
    }
    roller.page
}

pub(super) fn versions(bucket: &BucketState, request: &ListVersions) -> VersionPage {
    let mut roller = Roller::new(&request.prefix, request.delimiter.as_deref(), request.limit);
    'keys: for (key, versions) in &bucket.objects {
        let mut skip = 0;
        match &request.after {
            None => {}
            Some(VersionPosition::Name(position)) if is_behind(key.as_str(), position) => {}
            Some(VersionPosition::Name(_)) => continue,
            Some(VersionPosition::Version(after, _)) if key > after => {}
            Some(VersionPosition::Version(after, _)) if key < after => continue,
            Some(VersionPosition::Version(_, id)) => {
                skip = versions.iter().rev().position(|version| version.version_id == *id).map_or(versions.len(), |at| at + 1);
            }
        }
        for (place, version) in versions.iter().rev().enumerate().skip(skip) {
            let summary = || VersionSummary {
                key: key.clone(),
                version_id: version.version_id,
                is_latest: place == 0,
                last_modified_ms: version.last_modified_ms,
                object: version.object.as_ref().map(|object| VersionContent {
                    length: object.length,
                    etag: object.etag,
                    checksum: object.checksum.map(|checksum| (checksum.algorithm(), checksum.checksum_type())),
                }),
            };
            if !roller.take(key.as_str(), summary) {
                break 'keys;
            }
        }
    }
    roller.page
}

pub(super) fn uploads(bucket: &BucketState, request: &ListUploads) -> UploadPage {
    let mut roller = Roller::new(&request.prefix, request.delimiter.as_deref(), request.limit);
    let mut all: Vec<_> = bucket.uploads.values().collect();
    all.sort_by(|a, b| (&a.upload.name.key, a.sequence).cmp(&(&b.upload.name.key, b.sequence)));
    let begun = |key: &ObjectKey, id| all.iter().find(|open| open.upload.name.key == *key && open.upload.name.upload_id == id);
    for open in &all {
        let key = &open.upload.name.key;
        let is_behind = match &request.after {
            None => true,
            Some(UploadPosition::Name(position)) => is_behind(key.as_str(), position),
            // An upload that has ended since leaves no trace of its place: the key's others are shown again.
            Some(UploadPosition::Upload(after, id)) => {
                key > after || (key == after && begun(after, *id).is_none_or(|marker| open.sequence > marker.sequence))
            }
        };
        if is_behind && !roller.take(key.as_str(), || open.upload.clone()) {
            break;
        }
    }
    roller.page
}
