//! `cargo +nightly fuzz run rewrite`: see `redirector_tests::data_path::fuzz::rewrite`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::data_path::fuzz::rewrite(data));
