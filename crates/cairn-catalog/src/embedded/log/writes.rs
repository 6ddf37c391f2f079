//! How the writes of a batch lie in its payload: table, kind, lengths, key, value; one after the other.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::embedded::keyvalue::{Table, Write};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEADER_LENGTH: usize = 10;

/// A payload that this build cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch's payload cannot be read")]
pub struct InvalidPayload;

/// Bytes that a write takes in a payload.
#[must_use]
pub fn encoded_length(write: &Write) -> usize {
    HEADER_LENGTH
        + match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key, .. } => key.len(),
        }
}

/// The payload of these writes.
#[must_use]
pub fn encode(writes: &[Write]) -> Bytes {
    let mut out = BytesMut::with_capacity(writes.iter().map(encoded_length).sum());
    for write in writes {
        let (table, key) = write.target();
        out.put_u8(table.number());
        let value: &[u8] = match write {
            Write::Put { value, .. } => {
                out.put_u8(PUT);
                value
            }
            Write::Delete { .. } => {
                out.put_u8(DELETE);
                &[]
            }
        };
        out.put_u32_le(key.len() as u32);
        out.put_u32_le(value.len() as u32);
        out.put_slice(key);
        out.put_slice(value);
    }
    out.freeze()
}

/// The writes of a payload; keys and values share its memory.
pub fn decode(mut payload: Bytes) -> Result<Vec<Write>, InvalidPayload> {
    let mut writes = Vec::new();
    while payload.has_remaining() {
        if payload.remaining() < HEADER_LENGTH {
            return Err(InvalidPayload);
        }
        let number = payload.get_u8();
        if !(Table::MINIMUM..=Table::MAXIMUM).contains(&number) {
            return Err(InvalidPayload);
        }
        let (table, kind) = (Table::new(number), payload.get_u8());
        let (key_length, value_length) = (payload.get_u32_le() as usize, payload.get_u32_le() as usize);
        if payload.remaining() < key_length.saturating_add(value_length) {
            return Err(InvalidPayload);
        }
        let key = payload.split_to(key_length);
        let value = payload.split_to(value_length);
        writes.push(match kind {
            PUT => Write::Put { table, key, value },
            DELETE if value.is_empty() => Write::Delete { table, key },
            _ => return Err(InvalidPayload),
        });
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_come_back_and_cut_payloads_are_refused() {
        let table = Table::new(3);
        let writes = vec![
            Write::Put { table, key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value") },
            Write::Delete { table: Table::new(254), key: Bytes::new() },
            Write::Put { table, key: Bytes::new(), value: Bytes::new() },
        ];
        let payload = encode(&writes);
        assert_eq!(decode(payload.clone()), Ok(writes));
        let boundaries = [0, HEADER_LENGTH + 8, 2 * HEADER_LENGTH + 8, payload.len()];
        for length in 0..payload.len() {
            assert_eq!(decode(payload.slice(..length)).is_ok(), boundaries.contains(&length), "{length}");
        }
    }
}
