//! Small text codecs: hexadecimal, Base64, percent-encoding and dates. They allocate only what they return, and never panic on any
//! input.

pub mod base64;
pub mod date;
pub mod encoded_word;
pub mod hexadecimal;
pub mod percent;
