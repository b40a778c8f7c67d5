//! `cargo +nightly fuzz run decide`: see `redirector_tests::data_path::fuzz::decide`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::data_path::fuzz::decide(data));
