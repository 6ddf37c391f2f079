//! The embedded engine: a replicated log in three zones, whose checkpoint is a key-value store.

// The key-value store joins as `pub mod keyvalue;` once it lands.
pub mod log;
