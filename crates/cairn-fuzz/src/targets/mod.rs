//! The targets, by what their bytes are.

mod administration;
mod frames;
mod log;
mod log_directory;
mod records;
mod requests;
mod rows;
mod secrets;
mod segment_directory;
mod segments;
mod service;

use crate::Target;

/// Every target.
#[must_use]
pub fn all() -> Vec<Target> {
    let of_disk = [records::TARGET, rows::TARGET, log::TARGET, segments::TARGET, frames::TARGET, secrets::TARGET];
    [
        &of_disk[..],
        &[segment_directory::TARGET, log_directory::TARGET, service::TARGET, administration::TARGET],
        requests::TARGETS,
    ]
    .concat()
}
