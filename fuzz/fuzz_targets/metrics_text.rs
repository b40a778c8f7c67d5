//! `cargo +nightly fuzz run metrics_text`: see `redirector_tests::outside::metrics_text`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::outside::metrics_text(data));
