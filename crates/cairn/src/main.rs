//! The binary of Cairn.

fn main() {}
