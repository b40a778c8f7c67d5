//! `cargo +nightly fuzz run agent_line`: see `redirector_tests::outside::agent_line`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redirector_tests::outside::agent_line(data));
