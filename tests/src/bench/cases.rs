//! The cases: which packets, over which tables, and under which reason they leave.

use std::net::SocketAddr;

use redirector_common::tcp::ACK;
use redirector_common::verdict::Reason;

use super::driver::{Shape, Traffic};
use super::frames::Way;
use super::subject::{DATAGRAMS, DSR, FULL_NAT, GUE, IPIP, NAT, STATELESS};
use super::tables::Table;
use crate::data_path::{SERVICE_PORT, TCP, Version, device_ip, server_ip, server_port};

/// Flows of a case named `_1k`; the numbers are powers of two.
pub const FLOWS_1K: u64 = 1 << 10;
/// Flows of a case named `_10k`.
pub const FLOWS_10K: u64 = 1 << 14;
/// Flows of a case named `_100k`.
pub const FLOWS_100K: u64 = 1 << 17;
/// Flows of a case named `_1M`.
pub const FLOWS_1M: u64 = 1 << 20;
/// Flows that no case has proven begin here.
const UNSEEN: u64 = 1 << 24;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Case {
    /// The stable name of its row.
    pub name: String,
    /// Whose program it is.
    pub target: Target,
    /// Its packets.
    pub traffic: Traffic,
    /// The reason under which they leave.
    pub reason: Option<Reason>,
}

/// Whose program is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A program of the harness.
    Own(&'static str),
    /// The product's, with these tables.
    Product(Table),
}

/// A case of the product.
pub fn product(name: &str, table: Table, traffic: Traffic, reason: Reason) -> Case {
    Case { name: name.to_owned(), target: Target::Product(table), traffic, reason: Some(reason) }
}

fn own(name: &str, program: &'static str, traffic: Traffic) -> Case {
    Case { name: name.to_owned(), target: Target::Own(program), traffic, reason: None }
}

fn way(version: Version, device: u32) -> Way {
    let far = SocketAddr::new(device_ip(version, device), SERVICE_PORT);
    let protocol = if device == DATAGRAMS { crate::data_path::UDP } else { TCP };
    Way { far, protocol }
}

/// A client's packets of `flows` flows in mid-conversation.
pub fn out(version: Version, device: u32, flows: u64) -> Traffic {
    let way = way(version, device);
    Traffic::new(way.segment(), way.shape(), flows)
}

/// The server's packets of as many.
pub fn back(device: u32, flows: u64) -> Traffic {
    let far = SocketAddr::new(server_ip(Version::V4, 1), server_port(device));
    let way = Way { far, ..way(Version::V4, device) };
    Traffic::new(way.back(ACK, (501, 101)), Shape::V4Back, flows)
}

/// What opens flows that nobody has seen before.
fn new_flows() -> Traffic {
    let way = way(Version::V4, NAT);
    let traffic = Traffic::new(way.opening(), Shape::V4, FLOWS_1M);
    Traffic { first: UNSEEN, ..traffic }
}

fn elsewhere() -> Traffic {
    let far = SocketAddr::from(([192, 0, 2, 1], 443));
    let way = Way { far, protocol: TCP };
    Traffic::new(way.segment(), Shape::V4, FLOWS_1K)
}

fn flood(percent: u64) -> Traffic {
    let strangers = (percent << 16).div_ceil(100);
    Traffic { strangers, ..out(Version::V4, NAT, FLOWS_1K) }
}

fn grown(traffic: Traffic) -> Traffic {
    Traffic { grows: true, ..traffic }
}

/// All cases, in the order of the report.
pub fn all() -> Vec<Case> {
    let v4 = |flows| out(Version::V4, NAT, flows);
    let mut cases = vec![
        own("floor_tx", "floor_tx", elsewhere()),
        own("fib_lookup_v4_1k", "floor_fib", back(NAT, FLOWS_1K)),
        own("lower_bound_hash_1", "lower_bound", v4(1)),
        own("lower_bound_hash_1k", "lower_bound", v4(FLOWS_1K)),
        own("lower_bound_hash_1M", "lower_bound", v4(FLOWS_1M)),
    ];
    cases.extend(tracked());
    cases.extend(others());
    cases
}

fn tracked() -> Vec<Case> {
    use Reason::{Established, Returned};
    use Table::{Big, BigNoFront, Small, SmallNoFront};
    let v4 = |flows| out(Version::V4, NAT, flows);
    let uneven = Traffic { uneven: true, ..v4(FLOWS_1M) };
    vec![
        product("tracked_v4_1", Small, v4(1), Established),
        product("tracked_v4_1k", Small, v4(FLOWS_1K), Established),
        product("tracked_v4_100k", Big, v4(FLOWS_100K), Established),
        product("tracked_v4_1M", Big, v4(FLOWS_1M), Established),
        product("tracked_v4_zipf_1M", Big, uneven.clone(), Established),
        product("reverse_v4_1k", Small, back(NAT, FLOWS_1K), Returned),
        product("reverse_v4_1M", Big, back(NAT, FLOWS_1M), Returned),
        product("tracked_v4_1k_no_front", SmallNoFront, v4(FLOWS_1K), Established),
        product("reverse_v4_1k_no_front", SmallNoFront, back(NAT, FLOWS_1K), Returned),
        product("tracked_v4_1M_no_front", BigNoFront, v4(FLOWS_1M), Established),
        product("tracked_v4_zipf_1M_no_front", BigNoFront, uneven, Established),
        product("reverse_v4_1M_no_front", BigNoFront, back(NAT, FLOWS_1M), Returned),
    ]
}

fn others() -> Vec<Case> {
    use Reason::{Established, NotOurs, Opened, Stateless};
    use Table::{Flood, Small, SmallV6};
    let v4 = |device, flows| out(Version::V4, device, flows);
    vec![
        product("stateless_v4_1k", Small, v4(STATELESS, FLOWS_1K), Stateless),
        product("stateless_v4_1M", Small, v4(STATELESS, FLOWS_1M), Stateless),
        product("udp_v4_1k", Small, v4(DATAGRAMS, FLOWS_1K), Established),
        product("tracked_v6_1k", SmallV6, out(Version::V6, NAT, FLOWS_1K), Established),
        product("dsr_v4_1k", Small, v4(DSR, FLOWS_1K), Established),
        product("ipip_v4_1k", Small, grown(v4(IPIP, FLOWS_1K)), Established),
        product("gue_v4_1k", Small, grown(v4(GUE, FLOWS_1K)), Established),
        product("full_nat_v4_1k", Small, v4(FULL_NAT, FLOWS_1K), Established),
        product("not_ours", Small, elsewhere(), NotOurs),
        product("new_flow_v4", Small, new_flows(), Opened),
        product("syn_flood_v4", Flood, flood(100), Established),
        product("flood_mix_90", Flood, flood(90), Established),
    ]
}
