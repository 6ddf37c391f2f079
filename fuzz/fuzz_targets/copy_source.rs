//! The copy source header: no bytes make its parser panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairn_s3::fuzz::fuzz_copy_source(data));
