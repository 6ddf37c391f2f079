//! Versions of keys, and where their bytes are.

use bytes::Bytes;

use crate::codec::{DecodeError, Field, Problem, Record, fields, numbered, take_byte};
use crate::ids::BlobId;
use crate::object::{Checksum, ChecksumAlgorithm, ChecksumType, ETag, ObjectMetadata, VersionId};
use crate::time::{CatalogTime, WallTime};

/// A body that stands in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InlineId(pub u64);

/// The parts of a completed upload. The same number names the upload's parts before completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(pub u64);

/// A run of an object's or part's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All bytes of an inline body.
    Inline {
        /// Which.
        id: InlineId,
        /// Bytes in it.
        length: u64,
    },
    /// A range of a blob's data.
    Blob {
        /// Which.
        id: BlobId,
        /// Where in the blob's data it starts.
        offset: u64,
        /// Bytes; at least 1.
        length: u64,
    },
}

impl Extent {
    /// Bytes in it.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline { length, .. } | Self::Blob { length, .. } => *length,
        }
    }
}

/// Where a version's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// There are none.
    Empty,
    /// In the catalog.
    Inline(InlineId),
    /// In these runs, one after the other.
    Extents(Vec<Extent>),
    /// In the parts of a completed upload, which copies of the object share.
    Manifest {
        /// Which.
        id: ManifestId,
        /// How many parts.
        part_count: u32,
    },
}

/// S3's storage classes. Kept and shown; all of them are stored alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum StorageClass {
    /// `STANDARD`, which S3 does not show in headers.
    #[default]
    Standard,
    /// `REDUCED_REDUNDANCY`.
    ReducedRedundancy,
    /// `STANDARD_IA`.
    StandardInfrequentAccess,
    /// `ONEZONE_IA`.
    OneZoneInfrequentAccess,
    /// `INTELLIGENT_TIERING`.
    IntelligentTiering,
    /// `GLACIER`.
    Glacier,
    /// `GLACIER_IR`.
    GlacierInstantRetrieval,
    /// `DEEP_ARCHIVE`.
    DeepArchive,
}

numbered!(StorageClass, "a storage class" {
    0 => Standard,
    1 => ReducedRedundancy,
    2 => StandardInfrequentAccess,
    3 => OneZoneInfrequentAccess,
    4 => IntelligentTiering,
    5 => Glacier,
    6 => GlacierInstantRetrieval,
    7 => DeepArchive,
});

impl StorageClass {
    /// All classes.
    pub const ALL: [Self; 8] = [
        Self::Standard,
        Self::ReducedRedundancy,
        Self::StandardInfrequentAccess,
        Self::OneZoneInfrequentAccess,
        Self::IntelligentTiering,
        Self::Glacier,
        Self::GlacierInstantRetrieval,
        Self::DeepArchive,
    ];

    /// S3's name, as in `x-amz-storage-class`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::ReducedRedundancy => "REDUCED_REDUNDANCY",
            Self::StandardInfrequentAccess => "STANDARD_IA",
            Self::OneZoneInfrequentAccess => "ONEZONE_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::Glacier => "GLACIER",
            Self::GlacierInstantRetrieval => "GLACIER_IR",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }
}

/// How strictly a version is retained (Object Lock).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetentionMode {
    /// Whoever has the right to may shorten it.
    Governance,
    /// Nobody may.
    Compliance,
}

numbered!(RetentionMode, "a retention mode" { 1 => Governance, 2 => Compliance });

/// Until when a version cannot be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How strictly.
    pub mode: RetentionMode,
    /// Until then, in catalog time (T1, K3).
    pub until: CatalogTime,
}

/// What Object Lock says of a version. Reserved: nothing sets it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// For how long.
    pub retention: Option<Retention>,
    /// Whether a legal hold is on.
    pub legal_hold: bool,
}

fields!(Retention { mode, until });
fields!(ObjectLock { retention, legal_hold });

/// The part of a version that listings show; a row can be decoded so far and no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionSummary {
    /// The catalog's sequence: orders a key's versions, and tells this content from every other that ever had this key and version id.
    pub sequence: u64,
    /// Its name.
    pub id: VersionId,
    /// When it was written, for clients.
    pub last_modified: WallTime,
    /// When it was written, for retention and lifecycle (T1).
    pub created: CatalogTime,
    /// Bytes.
    pub length: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// Its storage class.
    pub storage_class: StorageClass,
}

/// The part of a version that listings do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionDetails {
    /// Where its bytes are.
    pub body: Body,
    /// The headers it keeps.
    pub metadata: ObjectMetadata,
    /// Its tags in the order of their names.
    pub tags: Vec<(String, String)>,
    /// What Object Lock says of it.
    pub lock: Option<ObjectLock>,
}

/// A version. Its owner is its bucket's owner (S3's "bucket owner enforced").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// What listings show.
    pub summary: VersionSummary,
    /// The rest.
    pub details: VersionDetails,
}

/// A delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerRecord {
    /// The catalog's sequence.
    pub sequence: u64,
    /// Its name.
    pub id: VersionId,
    /// When it was made, for clients.
    pub last_modified: WallTime,
    /// When it was made, for lifecycle (T1).
    pub created: CatalogTime,
}

/// A row of the tables of versions. Both tables hold the same bytes, so that a version moves between them as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionRow<Version = VersionRecord> {
    /// A version.
    Version(Version),
    /// A delete marker.
    Marker(MarkerRecord),
}

impl VersionRow<VersionSummary> {
    /// Decodes only what listings show.
    pub fn decode_summary(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut from = bytes.clone();
        let mut read = || match take_byte(&mut from)? {
            1 => match take_byte(&mut from)? {
                KIND_VERSION => VersionSummary::read(&mut from).map(Self::Version),
                KIND_MARKER => MarkerRecord::read(&mut from).map(Self::Marker),
                _ => Err(Problem::Value("the kind")),
            },
            other => Err(Problem::Format(other)),
        };
        read().map_err(|problem| DecodeError { record: <VersionRow as Record>::NAME, problem })
    }

    /// The catalog's sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Version(version) => version.sequence,
            Self::Marker(marker) => marker.sequence,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> VersionId {
        match self {
            Self::Version(version) => version.id,
            Self::Marker(marker) => marker.id,
        }
    }
}

const KIND_VERSION: u8 = 0;
const KIND_MARKER: u8 = 1;

impl Record for VersionRow {
    const NAME: &'static str = "version";
    const FORMAT: u8 = 1;

    fn write_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Version(version) => {
                out.push(KIND_VERSION);
                version.summary.write(out);
                version.details.write(out);
            }
            Self::Marker(marker) => {
                out.push(KIND_MARKER);
                marker.write(out);
            }
        }
    }

    fn read_fields(format: u8, from: &mut Bytes) -> Result<Self, Problem> {
        if format != 1 {
            return Err(Problem::Format(format));
        }
        match take_byte(from)? {
            KIND_VERSION => Ok(Self::Version(VersionRecord { summary: Field::read(from)?, details: Field::read(from)? })),
            KIND_MARKER => MarkerRecord::read(from).map(Self::Marker),
            _ => Err(Problem::Value("the kind")),
        }
    }
}

fields!(VersionSummary { sequence, id, last_modified, created, length, etag, checksum, storage_class });
fields!(VersionDetails { body, metadata, tags, lock });
fields!(MarkerRecord { sequence, id, last_modified, created });

impl Field for Extent {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inline { id, length } => {
                out.push(0);
                id.0.write(out);
                length.write(out);
            }
            Self::Blob { id, offset, length } => {
                out.push(1);
                id.write(out);
                offset.write(out);
                length.write(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        match take_byte(from)? {
            0 => Ok(Self::Inline { id: InlineId(Field::read(from)?), length: Field::read(from)? }),
            1 => Ok(Self::Blob { id: Field::read(from)?, offset: Field::read(from)?, length: Field::read(from)? }),
            _ => Err(Problem::Value("an extent")),
        }
    }
}

impl Field for Body {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.push(0),
            Self::Inline(id) => {
                out.push(1);
                id.0.write(out);
            }
            Self::Extents(extents) => {
                out.push(2);
                extents.write(out);
            }
            Self::Manifest { id, part_count } => {
                out.push(3);
                id.0.write(out);
                part_count.write(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        match take_byte(from)? {
            0 => Ok(Self::Empty),
            1 => Ok(Self::Inline(InlineId(Field::read(from)?))),
            2 => Ok(Self::Extents(Field::read(from)?)),
            3 => Ok(Self::Manifest { id: ManifestId(Field::read(from)?), part_count: Field::read(from)? }),
            _ => Err(Problem::Value("a body")),
        }
    }
}

impl Field for VersionId {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Id(bytes) => {
                out.push(1);
                bytes.write(out);
            }
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        match take_byte(from)? {
            0 => Ok(Self::Null),
            1 => Field::read(from).map(Self::Id),
            _ => Err(Problem::Value("a version's id")),
        }
    }
}

impl Field for ETag {
    fn write(&self, out: &mut Vec<u8>) {
        self.digest.write(out);
        self.part_count.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Ok(Self { digest: Field::read(from)?, part_count: Field::read(from)? })
    }
}

numbered!(ChecksumAlgorithm, "a checksum's algorithm" {
    1 => Crc32,
    2 => Crc32c,
    3 => Crc64Nvme,
    4 => Sha1,
    5 => Sha256,
});

numbered!(ChecksumType, "a checksum's type" { 1 => FullObject, 2 => Composite });

impl Field for Checksum {
    fn write(&self, out: &mut Vec<u8>) {
        self.algorithm().write(out);
        self.part_count().write(out);
        out.extend_from_slice(self.value());
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let algorithm = ChecksumAlgorithm::read(from)?;
        let part_count = u32::read(from)?;
        let length = algorithm.length();
        if length > from.len() {
            return Err(Problem::Short);
        }
        let value = from.split_to(length);
        let checksum = match part_count {
            0 => Self::full_object(algorithm, &value),
            count => Self::composite(algorithm, &value, count),
        };
        checksum.ok_or(Problem::Value("a checksum"))
    }
}

impl Field for ObjectMetadata {
    fn write(&self, out: &mut Vec<u8>) {
        let headers = self.headers();
        // One byte says which of the headers are there; most objects have one or none.
        out.push(headers.iter().enumerate().filter(|(_, header)| header.is_some()).fold(0, |bits, (place, _)| bits | 1 << place));
        for header in headers.into_iter().flatten() {
            header.write(out);
        }
        self.user.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let bits = take_byte(from)?;
        let mut next = |place: u8| {
            if bits & 1 << place == 0 { Ok(None) } else { Bytes::read(from).map(Some) }
        };
        let mut metadata = Self {
            content_type: next(0)?,
            content_encoding: next(1)?,
            content_disposition: next(2)?,
            content_language: next(3)?,
            cache_control: next(4)?,
            expires: next(5)?,
            website_redirect_location: next(6)?,
            user: Vec::new(),
        };
        if bits & 0x80 != 0 {
            return Err(Problem::Value("the headers"));
        }
        metadata.user = Field::read(from)?;
        Ok(metadata)
    }
}

impl ObjectMetadata {
    /// In the order on disk.
    fn headers(&self) -> [Option<&Bytes>; 7] {
        [
            self.content_type.as_ref(),
            self.content_encoding.as_ref(),
            self.content_disposition.as_ref(),
            self.content_language.as_ref(),
            self.cache_control.as_ref(),
            self.expires.as_ref(),
            self.website_redirect_location.as_ref(),
        ]
    }
}
