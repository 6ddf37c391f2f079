//! The embedded engine: a replicated log in three zones, whose checkpoint is a key-value store.

pub mod keyvalue;
pub mod log;
pub mod machine;
pub mod state;
