//! The outside world, thin: one file per outside thing. Nothing here makes a choice.

pub mod bpf;
pub mod clock;
pub mod dumps;
pub mod files;
mod frames;
pub mod netlink;
pub mod pcapng;
pub mod privileges;
pub mod probe;
pub mod scrape;
pub mod store;
pub mod supervisor;
pub mod survey;
pub mod tables;
pub mod tickle;
mod whole;
