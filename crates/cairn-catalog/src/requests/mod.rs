//! What [`crate::Catalog`] takes and gives. Plain values; the rules are told at the trait's methods.

mod blobs;
mod directory;
mod listings;
mod objects;
mod uploads;

pub use blobs::*;
pub use directory::*;
pub use listings::*;
pub use objects::*;
pub use uploads::*;
