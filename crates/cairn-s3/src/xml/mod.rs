//! XML: the only place in Cairn that knows it.

pub mod reader;
pub mod writer;
