//! `cargo +nightly fuzz run probe_reply`: see `redirector_tests::outside::probe_reply`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::outside::probe_reply(data));
