//! The harness: network namespaces, real storage programs and the redirector between them, as
//! values that clean up after themselves. Demo, lab scenarios and behaviour tests are made of it.
//!
//! It is no part of the product and decides nothing for it: it talks to the daemon as anybody
//! would, over REST and the command line.

pub mod agent;
pub mod api;
pub mod bench;
pub mod browser;
pub mod capture;
pub mod cleanup;
pub mod data_path;
pub mod demo;
pub mod device;
pub mod door;
pub mod echo;
pub mod end_host;
pub mod fault;
pub mod flows;
pub mod gateway;
pub mod greeters;
pub mod groups;
pub mod io;
pub mod lab;
pub mod leftovers;
pub mod loads;
pub mod many_flows;
pub mod netns;
pub mod outside;
pub mod own_user;
pub mod packets;
pub mod peers;
pub mod process;
pub mod programs;
pub mod random;
pub mod redirector;
pub mod report;
pub mod responder;
pub mod run;
pub mod scenario;
pub mod servers;
pub mod sim;
pub mod storage;
pub mod supervisor;
pub mod systemd;
pub mod talk;
pub mod terminal;
pub mod topology;
pub mod wait;
pub mod xdp_pass;
