//! Host and path of a request: no bytes make its parser panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairn_s3::fuzz::fuzz_target(data));
