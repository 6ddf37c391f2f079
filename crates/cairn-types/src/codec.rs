//! The binary form of the records that the catalog keeps on disk.
//!
//! Every record begins with the number of its format, one byte; the fields follow in their order, without names. Whole numbers
//! are LEB128 varints, so that small ones take one byte; texts and bytes have their length in front. A change to a record takes
//! the next format number and keeps the older ones readable: fixtures of every released format are opened in the tests for ever
//! (design, invariant 8).
//!
//! Why not a serialisation framework: rows are decoded on every request and by the thousand in listings, which need only the
//! first half of a row ([`crate::records::VersionSummary`]); long values are taken out of the row without a copy; and the format
//! cannot change by an edit to a type that looks harmless.
//!
//! Decoding never panics, whatever the bytes are; what is left over behind a record is an error too. A record has one encoding: what
//! decodes is encoded to the same bytes.

use bytes::{Buf, Bytes};

/// Bytes that are not the record they should be: damage, or a record of a newer version of the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a damaged {record} record: {problem}")]
pub struct DecodeError {
    /// Which record.
    pub record: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// See [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end in the middle of a field.
    #[error("it is cut short")]
    Short,
    /// Bytes follow behind the last field.
    #[error("bytes follow behind its end")]
    Long,
    /// A format number that this program does not know.
    #[error("format {0} is not known to this version of the program")]
    Format(u8),
    /// A field's value is not one that the field can have.
    #[error("the value of {0} is impossible")]
    Value(&'static str),
}

/// A record with a format number, or a field of one.
pub trait Field: Sized {
    /// Appends the field.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the field from the front.
    fn read(from: &mut Bytes) -> Result<Self, Problem>;
}

/// A value that stands alone in a row.
pub trait Record: Sized {
    /// What errors call it.
    const NAME: &'static str;
    /// The format that [`Record::encode`] writes.
    const FORMAT: u8;

    /// Appends the fields, without the format number.
    fn write_fields(&self, out: &mut Vec<u8>);
    /// Takes the fields of a record of this format from the front.
    fn read_fields(format: u8, from: &mut Bytes) -> Result<Self, Problem>;

    /// The record's bytes.
    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.push(Self::FORMAT);
        self.write_fields(&mut out);
        Bytes::from(out)
    }

    /// The inverse of [`Record::encode`], for every format there ever was.
    fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut from = bytes.clone();
        let mut read = || {
            let format = take_byte(&mut from)?;
            let record = Self::read_fields(format, &mut from)?;
            if from.is_empty() { Ok(record) } else { Err(Problem::Long) }
        };
        read().map_err(|problem| DecodeError { record: Self::NAME, problem })
    }
}

/// Makes a struct a [`Field`]: its fields in the order given here, which is the order on disk.
macro_rules! fields {
    ($type:ty { $($field:ident),* $(,)? }) => {
        impl $crate::codec::Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $($crate::codec::Field::write(&self.$field, out);)*
            }

            fn read(from: &mut bytes::Bytes) -> Result<Self, $crate::codec::Problem> {
                Ok(Self { $($field: $crate::codec::Field::read(from)?,)* })
            }
        }
    };
}

/// Makes a [`Field`] a [`Record`] of format 1, the only one so far.
macro_rules! record {
    ($type:ty, $name:literal) => {
        impl $crate::codec::Record for $type {
            const NAME: &'static str = $name;
            const FORMAT: u8 = 1;

            fn write_fields(&self, out: &mut Vec<u8>) {
                $crate::codec::Field::write(self, out);
            }

            fn read_fields(format: u8, from: &mut bytes::Bytes) -> Result<Self, $crate::codec::Problem> {
                match format {
                    1 => $crate::codec::Field::read(from),
                    other => Err($crate::codec::Problem::Format(other)),
                }
            }
        }
    };
}

/// Makes an enum without contents a [`Field`] of one byte.
macro_rules! numbered {
    ($type:ty, $name:literal { $($number:literal => $variant:ident),* $(,)? }) => {
        impl $crate::codec::Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(match self { $(Self::$variant => $number,)* });
            }

            fn read(from: &mut bytes::Bytes) -> Result<Self, $crate::codec::Problem> {
                match $crate::codec::take_byte(from)? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err($crate::codec::Problem::Value($name)),
                }
            }
        }
    };
}

pub(crate) use {fields, numbered, record};

/// One byte from the front.
pub(crate) fn take_byte(from: &mut Bytes) -> Result<u8, Problem> {
    let byte = *from.first().ok_or(Problem::Short)?;
    from.advance(1);
    Ok(byte)
}

/// So many bytes from the front, without a copy.
fn take(from: &mut Bytes, length: usize) -> Result<Bytes, Problem> {
    if length > from.len() { Err(Problem::Short) } else { Ok(from.split_to(length)) }
}

impl Field for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = take_byte(from)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the one bit that is left.
            if shift == 63 && bits > 1 {
                return Err(Problem::Value("a number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte of zero would be a longer form of the same number.
                return if byte == 0 && shift > 0 { Err(Problem::Value("a number")) } else { Ok(value) };
            }
        }
        Err(Problem::Value("a number"))
    }
}

impl Field for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        u32::try_from(u64::read(from)?).map_err(|_| Problem::Value("a number"))
    }
}

impl Field for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        take_byte(from)
    }
}

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        match take_byte(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Problem::Value("a truth value")),
        }
    }
}

impl Field for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let length = usize::try_from(u64::read(from)?).map_err(|_| Problem::Short)?;
        take(from, length)
    }
}

impl Field for String {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let bytes = Bytes::read(from)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| Problem::Value("a text"))
    }
}

impl<const LENGTH: usize> Field for [u8; LENGTH] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let bytes = take(from, LENGTH)?;
        <[u8; LENGTH]>::try_from(bytes.as_ref()).map_err(|_| Problem::Short)
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        for value in self {
            value.write(out);
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let count = usize::try_from(u64::read(from)?).map_err(|_| Problem::Short)?;
        // Every value takes at least a byte: a damaged count cannot make us reserve more than the row is long.
        if count > from.len() {
            return Err(Problem::Short);
        }
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Ok((A::read(from)?, B::read(from)?))
    }
}
