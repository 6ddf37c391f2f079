//! The authorization header of SigV4: no bytes make its parser panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairn_s3::fuzz::fuzz_authorization_header(data));
