//! What the kernel program and the daemon share: headers, checksums, address rewriting, the tables'
//! wire types and the packet decision.
//!
//! The crate is compiled twice, into the BPF object and into the host's daemon and tests. It
//! allocates nothing, reads no clock and has no unsafe code; every outside thing is an argument or
//! a method of [`tables::Tables`] or [`frame::Frame`].

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod answer;
pub mod apply;
pub mod checksum;
pub mod decide;
pub mod evidence;
pub mod family;
pub mod flow;
pub mod frame;
pub mod front;
pub mod headers;
pub mod ip_header;
pub mod keys;
pub mod nat;
pub mod order;
pub mod packet;
pub mod parse;
pub mod path;
pub mod record;
pub mod request;
pub mod response;
pub mod short_way;
pub mod tables;
pub mod tcp;
pub mod tunnel;
pub mod verdict;
pub mod wire;
