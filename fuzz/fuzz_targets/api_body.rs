//! `cargo +nightly fuzz run api_body`: see `redirector_tests::outside::api_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::outside::api_body(data));
