//! The targets, by what their bytes are.

mod frames;
mod keys;
mod log;
mod records;
mod requests;
mod rows;
mod segments;

use crate::Target;

/// Every target.
#[must_use]
pub fn all() -> Vec<Target> {
    [records::TARGETS, rows::TARGETS, log::TARGETS, segments::TARGETS, frames::TARGETS, keys::TARGETS, requests::TARGETS].concat()
}
