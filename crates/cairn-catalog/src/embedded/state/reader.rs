//! What the state is read from.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use cairn_types::codec::Record;

pub use crate::embedded::keyvalue::{KeyValueError, Rows, Snapshot, Table, Write};
use crate::{CatalogError, CatalogResult};

/// The rows of all tables, as they are at one moment.
pub trait StateReader {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>>;

    /// The rows between two bounds, in the order of their keys.
    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_>;
}

/// Rows on their way.
pub type RowIterator<'a> = Box<dyn Iterator<Item = CatalogResult<(Bytes, Bytes)>> + 'a>;

impl From<KeyValueError> for CatalogError {
    fn from(error: KeyValueError) -> Self {
        match error {
            // The files' names stay in the log: this text reaches clients.
            KeyValueError::Damaged { detail, .. } => Self::Damaged(detail),
            KeyValueError::Io { source, .. } => Self::Unavailable(format!("the catalog's files: {source}")),
            KeyValueError::Stalled { detail } => Self::Busy(detail),
            KeyValueError::TooLong { .. } => Self::Refused(error.to_string()),
            KeyValueError::InUse { .. } | KeyValueError::OutOfOrder { .. } => {
                Self::Unavailable("the catalog's store is not in order".to_owned())
            }
        }
    }
}

impl StateReader for dyn Snapshot + '_ {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        Ok(Snapshot::get(self, table, key)?)
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        Box::new(Snapshot::range(self, table, from, to).map(|row| row.map_err(CatalogError::from)))
    }
}

impl StateReader for Box<dyn Snapshot> {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        StateReader::get(self.as_ref(), table, key)
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        StateReader::range(self.as_ref(), table, from, to)
    }
}

/// A record, decoded.
pub fn record<R: Record>(reader: &(impl StateReader + ?Sized), table: Table, key: &[u8]) -> CatalogResult<Option<R>> {
    reader.get(table, key)?.map(|row| R::decode(&row)).transpose().map_err(CatalogError::from)
}

/// The rows whose keys begin so, in order.
pub fn rows_beginning<'a>(reader: &'a (impl StateReader + ?Sized), table: Table, prefix: &[u8]) -> RowIterator<'a> {
    let behind = super::tables::behind_all(prefix);
    let to = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    reader.range(table, Bound::Included(prefix), to)
}

/// Writes that are not in the reader below yet: of one command, or of batches on their way through the log.
#[derive(Debug, Default)]
pub struct Overlay {
    tables: BTreeMap<Table, BTreeMap<Bytes, OverlayRow>>,
}

/// What an [`Overlay`] knows of a row.
pub(super) struct Known {
    /// `None`: it was removed.
    pub value: Option<Bytes>,
}

#[derive(Debug, Clone)]
struct OverlayRow {
    /// `None`: removed.
    value: Option<Bytes>,
    /// The batch that it went out with.
    batch: u64,
}

impl Overlay {
    /// Lays a batch's writes over everything before. Batches' numbers rise.
    pub fn absorb(&mut self, batch: u64, writes: &[Write]) {
        for write in writes {
            let (table, key, value) = match write {
                Write::Put { table, key, value } => (*table, key, Some(value.clone())),
                Write::Delete { table, key } => (*table, key, None),
            };
            self.set(table, key.clone(), value, batch);
        }
    }

    /// Forgets what the reader below has by now: batches up to and with this one. Later writes to the same rows stay.
    pub fn applied(&mut self, batch: u64) {
        self.tables.retain(|_, rows| {
            rows.retain(|_, row| row.batch > batch);
            !rows.is_empty()
        });
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(super) fn set(&mut self, table: Table, key: Bytes, value: Option<Bytes>, batch: u64) {
        self.tables.entry(table).or_default().insert(key, OverlayRow { value, batch });
    }

    /// `None`: nothing is known of this row here.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Known> {
        self.tables.get(&table)?.get(key).map(|row| Known { value: row.value.clone() })
    }

    pub(super) fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> OverlayIterator<'_> {
        match self.tables.get(&table) {
            Some(rows) if !crosses(from, to) => {
                Box::new(rows.range::<[u8], _>((from, to)).map(|(key, row)| (key.clone(), row.value.clone())))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    pub(crate) fn into_writes(self) -> Vec<Write> {
        let mut writes = Vec::new();
        for (table, rows) in self.tables {
            for (key, row) in rows {
                writes.push(match row.value {
                    Some(value) => Write::Put { table, key, value },
                    None => Write::Delete { table, key },
                });
            }
        }
        writes
    }
}

/// Rows of an [`Overlay`]: `None` for removed ones.
pub(super) type OverlayIterator<'a> = Box<dyn Iterator<Item = (Bytes, Option<Bytes>)> + 'a>;

/// Whether no key can be between these bounds; a `BTreeMap` panics at some of those.
fn crosses(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
