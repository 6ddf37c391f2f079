//! The query of a request, decoded once.

use std::borrow::Cow;

use crate::error::{S3Error, S3Result, code};
use crate::text::percent;

/// More parameters than any S3 operation has, the signature's included.
pub const PARAMETERS_MAX: usize = 64;

/// Names and values, decoded, in the order in which they came. A name without `=` has an empty value.
#[derive(Debug, Clone, Default)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads the part of a request target behind `?`.
    pub fn parse(raw: &'a str) -> S3Result<Self> {
        let mut parameters = Vec::new();
        for piece in raw.split('&').filter(|piece| !piece.is_empty()) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(S3Error::with_message(&code::INVALID_URI, "The query has too many parameters."));
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let decode = |text| percent::decode_query(text).map_err(|_| S3Error::new(&code::INVALID_URI));
            parameters.push((decode(name)?, decode(value)?));
        }
        Ok(Self(parameters))
    }

    /// The first value of a name; names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether a name is there, with a value or without.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a name, `None` also where it is empty.
    #[must_use]
    pub fn get_filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| &**value)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}
