//! One command's view of the state: what is applied, what is sequenced but not applied, and what the command has written itself.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use cairn_types::CatalogTime;
use cairn_types::Now;
use cairn_types::codec::Record;

use super::reader::{Overlay, OverlayIterator, RowIterator, StateReader, Table, Write};
use super::tables::{META, META_EPOCH, META_SEQUENCE, META_TIME, number_value, read_number};
use crate::{CatalogResult, Limits};

/// See the module's documentation. Commands are evaluated one at a time, each on a transaction of its own; a command that fails has written
/// nothing, because its transaction is dropped.
pub struct Transaction<'a> {
    reader: &'a dyn StateReader,
    pending: &'a Overlay,
    own: Overlay,
    own_bytes: usize,
    limits: &'a Limits,
    now: Now,
}

impl<'a> Transaction<'a> {
    /// A transaction at this time. `reader` shows at least every batch that `pending` has forgotten.
    pub fn new(reader: &'a dyn StateReader, pending: &'a Overlay, limits: &'a Limits, now: Now) -> CatalogResult<Self> {
        let floor = match pending.get(META, META_TIME) {
            Some(known) => known.value,
            None => reader.get(META, META_TIME)?,
        };
        let floor = floor.map_or(Ok(0), |row| read_number(&row))?;
        // Catalog time never goes back, whoever serves now (T1).
        let now = Now { catalog: now.catalog.max(CatalogTime(floor)), ..now };
        Ok(Self { reader, pending, own: Overlay::default(), own_bytes: 0, limits, now })
    }

    /// The time of this commit.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The bounds to work within.
    #[must_use]
    pub fn limits(&self) -> &'a Limits {
        self.limits
    }

    /// Bytes written so far.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Sets a row.
    pub fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.own_bytes += key.len() + value.len();
        self.own.set(table, key, Some(value), 0);
    }

    /// Sets a row to a record.
    pub fn put_record(&mut self, table: Table, key: Bytes, record: &impl Record) {
        self.put(table, key, record.encode());
    }

    /// Removes a row.
    pub fn delete(&mut self, table: Table, key: Bytes) {
        self.own_bytes += key.len();
        self.own.set(table, key, None, 0);
    }

    /// A number of [`META`]; 0 before it was ever set.
    pub fn meta(&self, name: &[u8]) -> CatalogResult<u64> {
        meta(self, name)
    }

    /// Sets a number of [`META`].
    pub fn set_meta(&mut self, name: &'static [u8], number: u64) {
        self.put(META, Bytes::from_static(name), number_value(number));
    }

    /// A number that was never given before and is above all that were.
    pub fn next_sequence(&mut self) -> CatalogResult<u64> {
        let next = self.meta(META_SEQUENCE)? + 1;
        self.set_meta(META_SEQUENCE, next);
        Ok(next)
    }

    /// Says that a setting changed (R3).
    pub fn settings_changed(&mut self) -> CatalogResult<()> {
        let epoch = self.meta(META_EPOCH)? + 1;
        self.set_meta(META_EPOCH, epoch);
        Ok(())
    }

    /// What the command has written, each row once.
    #[must_use]
    pub fn into_writes(mut self) -> Vec<Write> {
        if !self.own.is_empty() {
            // So that the next one to serve does not go back behind a time that a commit was made at (T1).
            let time = self.now.catalog.0;
            self.set_meta(META_TIME, time);
        }
        self.own.into_writes()
    }
}

/// A number of [`META`]; 0 before it was ever set.
pub fn meta(reader: &(impl StateReader + ?Sized), name: &[u8]) -> CatalogResult<u64> {
    reader.get(META, name)?.map_or(Ok(0), |row| read_number(&row))
}

impl StateReader for Transaction<'_> {
    fn get(&self, table: Table, key: &[u8]) -> CatalogResult<Option<Bytes>> {
        match self.own.get(table, key).or_else(|| self.pending.get(table, key)) {
            Some(known) => Ok(known.value),
            None => self.reader.get(table, key),
        }
    }

    fn range(&self, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> RowIterator<'_> {
        Box::new(Merged {
            own: self.own.range(table, from, to).peekable(),
            pending: self.pending.range(table, from, to).peekable(),
            below: self.reader.range(table, from, to).peekable(),
        })
    }
}

/// Three layers of rows as one: of rows with the same key the uppermost counts.
struct Merged<'a> {
    own: Peekable<OverlayIterator<'a>>,
    pending: Peekable<OverlayIterator<'a>>,
    below: Peekable<RowIterator<'a>>,
}

impl Iterator for Merged<'_> {
    type Item = CatalogResult<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Err(_)) = self.below.peek() {
                return self.below.next();
            }
            let below = self.below.peek().and_then(|row| row.as_ref().ok()).map(|(key, _)| key);
            let smallest = [self.own.peek().map(|(key, _)| key), self.pending.peek().map(|(key, _)| key), below]
                .into_iter()
                .flatten()
                .min()?
                .clone();
            let own = self.own.next_if(|(key, _)| *key == smallest);
            let pending = self.pending.next_if(|(key, _)| *key == smallest);
            let below = self.below.next_if(|row| row.as_ref().is_ok_and(|(key, _)| *key == smallest));
            let value = match own.or(pending) {
                Some((_, value)) => value,
                None => below.and_then(Result::ok).map(|(_, value)| value),
            };
            if let Some(value) = value {
                return Some(Ok((smallest, value)));
            }
        }
    }
}
