//! `cargo +nightly fuzz run parse`: see `redirector_tests::data_path::fuzz::parse`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::data_path::fuzz::parse(data));
