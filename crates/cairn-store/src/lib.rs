//! Objects over the catalog and the replica layer.

pub mod api;
