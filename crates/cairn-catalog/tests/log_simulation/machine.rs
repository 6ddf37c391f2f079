//! Lists of numbers, replicated: the smallest machine on which every lost, doubled or reordered command shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::{KeyValue, KeyValueError, Table, Write};
use cairn_catalog::embedded::log::sequencer::{Context, Machine};
use cairn_types::{Incarnation, ZoneIndex};

pub const LISTS: Table = Table::new(1);
pub const LIVES: Table = Table::new(2);

/// Appends a number to a list; the outcome is the list before.
pub struct Append {
    pub list: u8,
    pub number: u32,
}

pub struct Lists;

pub struct Making {
    state: Arc<dyn KeyValue>,
    changed: BTreeMap<(Table, Bytes), Bytes>,
}

pub fn decode(value: &[u8]) -> Vec<u32> {
    value.chunks_exact(4).map(|number| u32::from_le_bytes(number.try_into().unwrap())).collect()
}

pub fn read(state: &dyn KeyValue, list: u8) -> Result<Vec<u32>, KeyValueError> {
    Ok(state.get(LISTS, &[list])?.map(|value| decode(&value)).unwrap_or_default())
}

impl Machine for Lists {
    type Command = Append;
    type Outcome = Vec<u32>;
    type Batch = Making;

    fn begin(&self, state: Arc<dyn KeyValue>, _context: Context) -> Making {
        Making { state, changed: BTreeMap::new() }
    }

    fn evaluate(&self, batch: &mut Making, command: &Append) -> Result<Vec<u32>, KeyValueError> {
        let key = (LISTS, Bytes::copy_from_slice(&[command.list]));
        let before = match batch.changed.get(&key) {
            Some(value) => value.clone(),
            None => batch.state.get(LISTS, &key.1)?.unwrap_or_default(),
        };
        let mut after = before.to_vec();
        after.extend_from_slice(&command.number.to_le_bytes());
        batch.changed.insert(key, Bytes::from(after));
        Ok(decode(&before))
    }

    fn retire(&self, batch: &mut Making, zone: ZoneIndex, incarnation: Incarnation) -> Result<(), KeyValueError> {
        let value = Bytes::copy_from_slice(&incarnation.0.to_le_bytes());
        batch.changed.insert((LIVES, Bytes::copy_from_slice(&[zone.0])), value);
        Ok(())
    }

    fn size_bytes(&self, batch: &Making) -> usize {
        batch.changed.values().map(Bytes::len).sum()
    }

    fn finish(&self, batch: Making) -> Vec<Write> {
        batch.changed.into_iter().map(|((table, key), value)| Write::Put { table, key, value }).collect()
    }
}
