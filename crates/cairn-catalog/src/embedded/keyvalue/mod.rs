//! The ordered key-value store which holds a checkpoint of a zone's quorum log.
//!
//! The log is what makes a write durable; the store only saves the log from being replayed from its
//! beginning. This shapes what a [`KeyValue`] guarantees:
//!
//! * **Atomic batches.** [`KeyValue::apply`] makes all its writes visible together with the log position
//!   ([`Applied`]) they belong to. No reader ever sees a part of a batch.
//! * **Prefix after a crash.** After a kill or a loss of power the store opens with exactly the batches up
//!   to some position at or after the last one returned by [`KeyValue::persist`], and nothing of any later
//!   batch. The caller replays its log from there. `apply` alone makes nothing durable.
//! * **Consistent views.** A [`Snapshot`] shows the store as it was when the snapshot was taken, while
//!   batches, persists and compactions go on.
//! * **Damage is an error.** A file which fails its checksum is reported as [`KeyValueError::Damaged`]
//!   with the file's path. It is never a panic and never silently wrong data.
//!
//! There are two engines: [`lsm_tree`] on disk, and [`model`], an in-memory map for the simulation which can
//! also play a crash. [`conformance`] checks an engine against the guarantees above.

pub mod conformance;
pub mod lsm_tree;
mod manifest;
pub mod model;

use std::{
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use thiserror::Error;

/// The longest key of a table, in bytes.
pub const MAXIMUM_KEY_LENGTH: usize = 16 * 1024;

/// The longest value, in bytes.
pub const MAXIMUM_VALUE_LENGTH: usize = 16 * 1024 * 1024;

/// A logical table: a key space of its own, ordered apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(u8);

impl Table {
    /// The lowest number a table can have; the one below it belongs to the engines.
    pub const MINIMUM: u8 = 1;
    /// The highest number a table can have; the one above it belongs to the engines.
    pub const MAXIMUM: u8 = 254;

    /// The table with this number.
    ///
    /// # Panics
    /// If `number` is 0 or above [`Table::MAXIMUM`]. In a constant this is an error of the compiler, and tables
    /// are meant to be constants.
    pub const fn new(number: u8) -> Self {
        assert!(number >= Self::MINIMUM && number <= Self::MAXIMUM, "this table number is reserved");
        Self(number)
    }

    /// The table's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The position in the log up to which a store contains the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The index of the last batch contained. Log indexes begin at 1: index 0 says that the store is being
    /// filled from a copy of another one and must not be used (see [`KeyValue::apply`]).
    pub index: u64,
    /// The epoch in which that batch was written to the log.
    pub epoch: u64,
    /// The checksum of the log up to and including that batch, as the log defines it.
    pub checksum: u128,
}

impl Applied {
    /// The length of the encoded form, in bytes.
    pub const ENCODED_LENGTH: usize = 32;

    /// The form in which engines store the position: all fields little-endian, in their order.
    pub fn encode(self) -> [u8; Self::ENCODED_LENGTH] {
        let mut encoded = [0; Self::ENCODED_LENGTH];
        encoded[..8].copy_from_slice(&self.index.to_le_bytes());
        encoded[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        encoded[16..].copy_from_slice(&self.checksum.to_le_bytes());
        encoded
    }

    /// Reads the form written by [`Applied::encode`]; `None` if the length is not right.
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let encoded: &[u8; Self::ENCODED_LENGTH] = encoded.try_into().ok()?;
        Some(Self {
            index: u64::from_le_bytes(encoded[..8].try_into().ok()?),
            epoch: u64::from_le_bytes(encoded[8..16].try_into().ok()?),
            checksum: u128::from_le_bytes(encoded[16..].try_into().ok()?),
        })
    }
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key, whether or not it had one.
    Put {
        /// The table of the key.
        table: Table,
        /// The key; it may be empty.
        key: Bytes,
        /// The value; it may be empty.
        value: Bytes,
    },
    /// Removes a key; no error if it is not there.
    Delete {
        /// The table of the key.
        table: Table,
        /// The key.
        key: Bytes,
    },
}

impl Write {
    /// The table and key which this write changes.
    pub fn target(&self) -> (Table, &Bytes) {
        match self {
            Self::Put { table, key, .. } | Self::Delete { table, key } => (*table, key),
        }
    }
}

/// What a store uses at this moment; for metrics, so values may be a little behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of all live files.
    pub disk_bytes: u64,
    /// Bytes of applied rows which are only in memory.
    pub memory_bytes: u64,
    /// Number of sorted table files.
    pub table_files: u64,
    /// Number of files which hold large values.
    pub blob_files: u64,
    /// Sorted runs a read may have to merge before those of the leveled part; high when compaction is behind.
    pub overlapping_runs: u64,
    /// Rows in files, with those that newer ones hide, and tombstones: no read visits more beside those in memory.
    pub rows: u64,
    /// What deletions have left in files, until compaction is done with it.
    pub tombstones: u64,
    /// Snapshots open now.
    pub snapshots: u64,
}

/// An error of a store.
#[derive(Debug, Error)]
pub enum KeyValueError {
    /// The operating system refused an operation on a file.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what was written to it, or is missing. The store has to be rebuilt from a peer.
    #[error("{} is damaged: {detail}", file.display())]
    Damaged {
        /// The damaged file; the store's directory if the damage could not be pinned to one file.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The directory is open already, here or in another process.
    #[error("{} is in use", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A batch does not come after the one applied last. Nothing of it was applied.
    #[error("batch {offered} does not come after batch {applied}, which is applied already")]
    OutOfOrder {
        /// The index of the batch applied last.
        applied: u64,
        /// The index of the refused batch.
        offered: u64,
    },
    /// A key or value is too long. Nothing of the batch was applied.
    #[error("a {what} of {length} bytes is longer than {maximum}")]
    TooLong {
        /// `"key"` or `"value"`.
        what: &'static str,
        /// Its length, in bytes.
        length: usize,
        /// The longest allowed, in bytes.
        maximum: usize,
    },
    /// Flushing or compaction fails in the background, and there is no room left for more batches in memory.
    #[error("the store cannot take more batches: {detail}")]
    Stalled {
        /// The error which the background work had last.
        detail: String,
    },
}

/// An open store. See the module's documentation for what it guarantees.
pub trait KeyValue: Send + Sync + 'static {
    /// The position of the last batch which readers can see; `None` in a store which never had one.
    fn applied(&self) -> Option<Applied>;

    /// Applies a batch. When this returns, new readers see all of it and `applied`; it is not durable yet.
    ///
    /// Writes act in their order, so of two writes to one key the later counts. Batches come with rising
    /// index, except that index 0 may repeat: a store is filled from a copy by large batches at index 0 and
    /// one last batch with the position of the copy. A store found at index 0 was not filled to its end.
    ///
    /// May wait for the background work when memory or unmerged files are at their limit.
    ///
    /// # Errors
    /// On an error nothing of the batch is visible, except [`KeyValueError::Stalled`] and errors of the
    /// library below, after which the batch may be visible in full.
    fn apply(&self, writes: &[Write], applied: Applied) -> Result<(), KeyValueError>;

    /// Makes durable what is applied when the call begins, and returns the position which is then safe.
    ///
    /// Runs beside `apply` and reads. `None` if nothing was ever applied.
    fn persist(&self) -> Result<Option<Applied>, KeyValueError>;

    /// The value of a key after the last applied batch.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError>;

    /// A consistent view which sees nothing applied later. Cheap to take; an open one keeps the files and the
    /// memory of its time from being released, so it should not be held for longer than one request.
    fn snapshot(&self) -> Box<dyn Snapshot>;

    /// What the store uses now.
    fn statistics(&self) -> Statistics;
}

/// The rows a [`Snapshot::range`] gives: keys without their table, and values.
pub type Rows<'a> = Box<dyn DoubleEndedIterator<Item = Result<(Bytes, Bytes), KeyValueError>> + Send + 'a>;

/// A consistent view of a store.
pub trait Snapshot: Send {
    /// The position of the last batch the view contains.
    fn applied(&self) -> Option<Applied>;

    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, KeyValueError>;

    /// The rows of a table between two bounds, in the order of keys; from the back in the reverse order.
    ///
    /// Bounds which cross give no rows. After an error the iterator ends. A seek is a new range: on disk
    /// it costs 10 to 30 microseconds, as much as reading 20 to 50 rows, so step over few rows rather than seek.
    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Rows<'_>;
}

/// A kind of store which can be opened in a directory.
pub trait KeyValueEngine: Send + Sync {
    /// Opens the store in this directory, or creates an empty one if there is none.
    fn open(&self, directory: &Path) -> Result<Arc<dyn KeyValue>, KeyValueError>;
}

/// Refuses a batch which no engine would take.
fn check_batch(writes: &[Write], before: Option<Applied>, applied: Applied) -> Result<(), KeyValueError> {
    if let Some(before) = before
        && applied.index <= before.index
        && before.index != 0
    {
        return Err(KeyValueError::OutOfOrder { applied: before.index, offered: applied.index });
    }
    for write in writes {
        let length = write.target().1.len();
        if length > MAXIMUM_KEY_LENGTH {
            return Err(KeyValueError::TooLong { what: "key", length, maximum: MAXIMUM_KEY_LENGTH });
        }
        if let Write::Put { value, .. } = write
            && value.len() > MAXIMUM_VALUE_LENGTH
        {
            return Err(KeyValueError::TooLong { what: "value", length: value.len(), maximum: MAXIMUM_VALUE_LENGTH });
        }
    }
    Ok(())
}

/// Whether no key can be between these bounds.
fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
