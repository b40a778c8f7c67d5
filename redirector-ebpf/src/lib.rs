//! Empty on purpose: a library target lets `redirector-ctl` depend on this crate at build time,
//! which makes cargo rebuild the BPF object whenever this crate or `redirector-common` changes.

#![no_std]
