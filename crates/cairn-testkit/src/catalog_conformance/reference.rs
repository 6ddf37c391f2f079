//! S3's versioned buckets, as simply as they can be said: per key a list of versions, oldest first. Obviously right, and slow.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_catalog::{CatalogError, CatalogResult, ListPosition, ListScope, UploadPosition, VersionPosition, WriteCondition};
use cairn_types::records::{UsageRecord, Versioning};
use cairn_types::{BlobId, ETag, UploadId, VersionId};

/// A run of a body's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes, which the catalog keeps itself.
    Bytes(Vec<u8>),
    /// A range of a blob's data.
    Blob {
        /// Which blob.
        id: BlobId,
        /// Where in it.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// A body: runs one after the other, none empty, no two of bytes side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content(Vec<Piece>);

impl Content {
    /// A body of these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.push(Piece::Bytes(bytes.to_vec()));
        content
    }

    /// Appends a run.
    pub fn push(&mut self, piece: Piece) {
        match (self.0.last_mut(), piece) {
            (_, Piece::Bytes(bytes)) if bytes.is_empty() => {}
            (Some(Piece::Bytes(last)), Piece::Bytes(bytes)) => last.extend(bytes),
            (_, piece) => self.0.push(piece),
        }
    }

    /// Appends another body.
    pub fn append(&mut self, other: Self) {
        for piece in other.0 {
            self.push(piece);
        }
    }

    /// Bytes in it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.len() as u64,
                Piece::Blob { length, .. } => *length,
            })
            .sum()
    }

    /// Some of its bytes.
    #[must_use]
    pub fn range(&self, range: std::ops::Range<u64>) -> Self {
        let mut content = Self::default();
        let mut start = 0;
        for piece in &self.0 {
            let length = match piece {
                Piece::Bytes(bytes) => bytes.len() as u64,
                Piece::Blob { length, .. } => *length,
            };
            let from = range.start.clamp(start, start + length) - start;
            let to = range.end.clamp(start, start + length) - start;
            if from < to {
                content.push(match piece {
                    Piece::Bytes(bytes) => Piece::Bytes(bytes[from as usize..to as usize].to_vec()),
                    Piece::Blob { id, offset, .. } => Piece::Blob { id: *id, offset: offset + from, length: to - from },
                });
            }
            start += length;
        }
        content
    }

    /// The blobs that it names, each as often as it does.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Blob { id, .. } => Some(*id),
            Piece::Bytes(_) => None,
        })
    }
}

/// A version or delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its name.
    pub id: VersionId,
    /// Rises with every version and marker made in the bucket.
    pub order: usize,
    /// `None`: a delete marker.
    pub object: Option<Object>,
}

/// What a version has and a delete marker has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The entity tag.
    pub etag: ETag,
    /// The bytes.
    pub content: Content,
    /// One mark, kept as the content type.
    pub content_type: Option<Bytes>,
    /// Which completed upload it is, or was copied from: the copies refer to that upload's parts together, and those to the blobs.
    pub completion: Option<UploadId>,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its key.
    pub key: String,
    /// Its name.
    pub id: UploadId,
    /// Its parts.
    pub parts: BTreeMap<u32, Object>,
}

/// A line of a listing: what it is called, and which of its key's rows it is, the newest 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A key's row.
    Item(String, usize),
    /// A folder.
    Prefix(String),
}

impl Line {
    fn name(&self) -> &str {
        match self {
            Self::Item(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// A bucket.
#[derive(Debug, Clone, Default)]
pub struct ReferenceBucket {
    /// Its versioning.
    pub versioning: Versioning,
    /// The versions of each key, the newest last. No list is empty.
    pub keys: BTreeMap<String, Vec<Version>>,
    /// The open uploads, in the order of their beginning.
    pub uploads: Vec<Upload>,
    /// The order of every version and marker that ever had an id of its own.
    pub made: BTreeMap<VersionId, usize>,
    /// How many versions and markers were made.
    pub count: usize,
}

impl ReferenceBucket {
    /// The key's versions, the newest last.
    #[must_use]
    pub fn versions(&self, key: &str) -> &[Version] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// The key's current version, if it has one that is not a delete marker.
    #[must_use]
    pub fn current(&self, key: &str) -> Option<&Object> {
        self.versions(key).last()?.object.as_ref()
    }

    /// The version of this id.
    #[must_use]
    pub fn find(&self, key: &str, id: VersionId) -> Option<&Version> {
        self.versions(key).iter().find(|version| version.id == id)
    }

    /// Judges a condition.
    pub fn check(&self, key: &str, condition: &WriteCondition) -> CatalogResult<()> {
        match (condition, self.current(key)) {
            (WriteCondition::None, _) | (WriteCondition::Absent, None) | (WriteCondition::Present, Some(_)) => Ok(()),
            (WriteCondition::Absent, Some(_)) => Err(CatalogError::PreconditionFailed),
            (WriteCondition::Present | WriteCondition::Matches(_), None) => Err(CatalogError::NoSuchKey),
            (WriteCondition::Matches(etags), Some(object)) => {
                if etags.contains(&object.etag) {
                    Ok(())
                } else {
                    Err(CatalogError::PreconditionFailed)
                }
            }
        }
    }

    fn push(&mut self, key: &str, id: VersionId, object: Option<Object>) {
        let versions = self.keys.entry(key.to_owned()).or_default();
        self.count += 1;
        if id == VersionId::Null {
            versions.retain(|version| version.id != VersionId::Null);
        } else {
            let before = self.made.insert(id, self.count);
            assert_eq!(before, None, "a new version has a new id");
        }
        versions.push(Version { id, order: self.count, object });
    }

    /// A version was written; `id` is what the catalog called it. The condition was judged.
    pub fn put(&mut self, key: &str, id: VersionId, object: Object) {
        match self.versioning {
            Versioning::Enabled => assert_ne!(id, VersionId::Null),
            Versioning::Suspended | Versioning::Unversioned => assert_eq!(id, VersionId::Null),
        }
        self.push(key, id, Some(object));
    }

    /// A key was deleted without naming a version; `id` is what the catalog answered.
    pub fn delete(&mut self, key: &str, id: Option<VersionId>) {
        match self.versioning {
            Versioning::Unversioned => {
                assert_eq!(id, None);
                self.keys.remove(key);
            }
            Versioning::Enabled => {
                let id = id.expect("a delete marker has an id");
                assert_ne!(id, VersionId::Null);
                self.push(key, id, None);
            }
            Versioning::Suspended => {
                assert_eq!(id, Some(VersionId::Null));
                self.push(key, VersionId::Null, None);
            }
        }
    }

    /// A version was deleted for good. Gives it, if there was one.
    pub fn delete_version(&mut self, key: &str, id: VersionId) -> Option<Version> {
        let versions = self.keys.get_mut(key)?;
        let place = versions.iter().position(|version| version.id == id)?;
        let version = versions.remove(place);
        if versions.is_empty() {
            self.keys.remove(key);
        }
        Some(version)
    }

    /// What the bucket holds.
    #[must_use]
    pub fn usage(&self) -> UsageRecord {
        let mut usage = UsageRecord::default();
        for versions in self.keys.values() {
            for (place, version) in versions.iter().enumerate() {
                match &version.object {
                    None => usage.delete_markers += 1,
                    Some(object) if place + 1 == versions.len() => {
                        usage.objects += 1;
                        usage.object_bytes += object.content.length();
                    }
                    Some(object) => {
                        usage.noncurrent_versions += 1;
                        usage.noncurrent_bytes += object.content.length();
                    }
                }
            }
        }
        for upload in &self.uploads {
            usage.uploads += 1;
            usage.parts += upload.parts.len() as u64;
            usage.part_bytes += upload.parts.values().map(|part| part.content.length()).sum::<u64>();
        }
        usage
    }

    /// Every reference to a blob that versions and parts have. The parts of a completed upload have theirs once, however often it was copied.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let mut completions = BTreeSet::new();
        let own = move |object: &&Object| object.completion.is_none_or(|upload| completions.insert(upload.0));
        let versions = self.keys.values().flatten().filter_map(|version| version.object.as_ref()).filter(own);
        let parts = self.uploads.iter().flat_map(|upload| upload.parts.values());
        versions.chain(parts).flat_map(|object| object.content.blobs())
    }

    /// All lines of a listing, from the names in order, each with how many rows it has.
    fn lines<'a>(scope: &ListScope, names: impl Iterator<Item = (&'a String, usize)>) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (name, rows) in names {
            let Some(rest) = name.strip_prefix(scope.prefix.as_str()) else { continue };
            let delimiter = scope.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
            match delimiter.and_then(|delimiter| rest.find(delimiter).map(|place| place + delimiter.len())) {
                Some(end) => {
                    let folder = Line::Prefix(name[..scope.prefix.len() + end].to_owned());
                    if !lines.contains(&folder) {
                        lines.push(folder);
                    }
                }
                None => lines.extend((0..rows).map(|row| Line::Item(name.clone(), row))),
            }
        }
        lines
    }

    fn is_behind(line: &Line, position: &ListPosition) -> bool {
        match position {
            ListPosition::Key(key) => line.name() > key.as_str(),
            ListPosition::Prefix(prefix) => line.name() > prefix.as_str() && !line.name().starts_with(prefix.as_str()),
        }
    }

    /// A page: its lines, and whether more follow.
    fn page(scope: &ListScope, lines: Vec<Line>, is_behind: impl Fn(&Line) -> bool) -> (Vec<Line>, bool) {
        let behind: Vec<Line> = lines.into_iter().filter(is_behind).collect();
        let limit = scope.limit as usize;
        let is_truncated = limit > 0 && behind.len() > limit;
        (behind.into_iter().take(limit).collect(), is_truncated)
    }

    /// What a listing of objects shows.
    #[must_use]
    pub fn list_objects(&self, scope: &ListScope, after: Option<&ListPosition>) -> (Vec<Line>, bool) {
        let lines = Self::lines(scope, self.keys.keys().filter(|key| self.current(key).is_some()).map(|key| (key, 1)));
        Self::page(scope, lines, |line| after.is_none_or(|after| Self::is_behind(line, after)))
    }

    /// What a listing of versions shows.
    #[must_use]
    pub fn list_versions(&self, scope: &ListScope, after: Option<&VersionPosition>) -> (Vec<Line>, bool) {
        let lines = Self::lines(scope, self.keys.iter().map(|(key, versions)| (key, versions.len())));
        Self::page(scope, lines, |line| match after {
            None => true,
            Some(VersionPosition::Name(name)) => Self::is_behind(line, name),
            Some(VersionPosition::Version(key, id)) => match line {
                Line::Item(name, row) if name == key.as_str() => {
                    let Some(version) = self.versions(name).iter().rev().nth(*row) else { return false };
                    let order = match id {
                        VersionId::Null => self.find(name, *id).map(|version| version.order),
                        VersionId::Id(_) => self.made.get(id).copied(),
                    };
                    // A null version that is gone tells no place: then all of them are shown.
                    order.is_none_or(|order| version.order < order)
                }
                line => Self::is_behind(line, &ListPosition::Key(key.as_str().to_owned())),
            },
        })
    }

    /// What a listing of uploads shows: [`Line::Item`]'s number is the place among the key's uploads, the oldest 0.
    #[must_use]
    pub fn list_uploads(&self, scope: &ListScope, after: Option<&UploadPosition>) -> (Vec<Line>, bool) {
        let mut names: BTreeMap<&String, usize> = BTreeMap::new();
        for upload in &self.uploads {
            *names.entry(&upload.key).or_default() += 1;
        }
        let lines = Self::lines(scope, names.into_iter());
        Self::page(scope, lines, |line| match after {
            None => true,
            Some(UploadPosition::Name(name)) => Self::is_behind(line, name),
            Some(UploadPosition::Upload(key, id)) => match line {
                Line::Item(name, row) if name == key.as_str() => {
                    let place = self.uploads_of(name).position(|upload| upload.id == *id);
                    place.is_some_and(|place| *row > place)
                }
                line => Self::is_behind(line, &ListPosition::Key(key.as_str().to_owned())),
            },
        })
    }

    /// The key's uploads, the oldest first.
    pub fn uploads_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Upload> {
        self.uploads.iter().filter(move |upload| upload.key == key)
    }
}
