//! The part that thinks: pure values and functions. No async, no clock, no I/O, no randomness.
//!
//! [`spec`] is intent, [`observed`] measurement, [`plan`] decision, [`op`] effect. Intent changes
//! only through [`Spec::apply`](spec::Spec::apply) in [`change`]; [`image`] says what the kernel's
//! tables should hold. [`load`] says how loaded a server is, [`forecast`] what a device will need,
//! [`outlook`] is all of that together, and [`balance`] says which devices to move for it.
//! [`doctor`] judges the gateway itself.

pub mod answer_time;
pub mod apply;
pub mod balance;
pub mod change;
pub mod check;
pub mod delta;
pub mod differing;
pub mod doctor;
pub mod drained;
pub mod filling;
pub mod fitness;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod forecast;
pub mod health;
pub mod hold_down;
pub mod image;
#[cfg(test)]
mod laws;
pub mod load;
pub mod observed;
pub mod op;
mod op_text;
pub mod outlook;
pub mod paths;
pub mod pieces;
pub mod plan;
pub mod ports;
pub mod refusals;
mod resume;
pub mod seed;
pub mod service;
pub mod shared;
pub mod spec;
pub mod suspicion;
mod validate;
pub mod whatif;
