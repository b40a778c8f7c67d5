//! `cargo +nightly fuzz run config`: see `redirector_tests::outside::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::outside::config(data));
