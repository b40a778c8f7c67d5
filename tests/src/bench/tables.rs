//! Which programs the cases need, each loaded once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use redirector_common::verdict::Reason;
use redirector_ctl::platform::bpf::TableLimits;

use super::cases::{Case, FLOWS_1K, FLOWS_1M, Target};
use super::driver::{Bound, Driver, Shape};
use super::frames::client;
use super::subject::{
    DATAGRAMS, DEVICES_MAX, DSR, FULL_NAT, GUE, IPIP, NAT, Subject, many_devices, put_client,
};
use crate::data_path::{
    GATEWAY_MAC, SERVICE_PORT, Version, device_address, server_address, server_mac, server_port,
};

/// New flows that a default configuration records in a second.
const NEW_FLOWS_PER_SECOND_MAX: u64 = 20_000;
/// A client of whom no case has flows.
const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), 9);
/// Flows spread over many devices.
pub const FLOWS_SPREAD: u32 = 1 << 17;

/// A program and what is in its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Sizes of a default configuration, 1,024 flows of each device.
    Small,
    /// The same for IPv6.
    SmallV6,
    /// The same, no path remembered but the last.
    SmallNoFront,
    /// Room for 2^21 flows, 2^20 there.
    Big,
    /// The same, no path remembered but the last.
    BigNoFront,
    /// As `Small`, and new flows are limited as by default.
    Flood,
    /// 100,000 devices without entries.
    Devices,
    /// 100,000 devices; 2^17 flows over each number of them.
    TrackedDevices,
}

/// The sizes of a daemon's default configuration.
pub fn limits() -> TableLimits {
    TableLimits::default()
}

/// The loaded programs.
pub struct Subjects(BTreeMap<Table, Subject>);

impl Subjects {
    /// Loads what these cases need, and checks that each case meets the reason it is named for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses or a packet leaves under another reason.
    pub fn for_cases(driver: &mut Driver, cases: &[Case]) -> Result<Self> {
        let mut subjects = Self(BTreeMap::new());
        for case in cases {
            let Target::Product(table) = case.target else { continue };
            if let Entry::Vacant(place) = subjects.0.entry(table) {
                eprintln!("load {table:?}");
                place.insert(load(driver, table)?);
            }
            let Some(expected) = case.reason else { continue };
            let subject = subjects.get(table)?;
            // Whoever has been idle since the tables' clock moved is heard anew, by one packet.
            let mut frame = case.traffic.frame.clone();
            if expected == Reason::Opened {
                // The first client's opening would challenge its flow, which others measure.
                put_client(&mut frame, STRANGER);
            }
            let (_, met) = subject.program.explain(&frame)?;
            ensure!(met == expected, "{} leaves under {}", case.name, met.name());
        }
        Ok(subjects)
    }

    /// A program.
    ///
    /// # Errors
    ///
    /// When no case has asked for it.
    pub fn get(&self, table: Table) -> Result<&Subject> {
        self.0.get(&table).with_context(|| format!("{table:?} is not loaded"))
    }
}

fn load(driver: &mut Driver, table: Table) -> Result<Subject> {
    let big = TableLimits { flows_max: 1 << 21, ..limits() };
    let no_front = |limits| TableLimits { paths_max: 1, ..limits };
    match table {
        Table::Small | Table::Flood => {
            let mut subject = Subject::new(Version::V4, &limits())?;
            for device in [NAT, DATAGRAMS, DSR, IPIP, GUE, FULL_NAT] {
                subject.prove(driver, device, FLOWS_1K)?;
            }
            if table == Table::Flood {
                subject.limit(NEW_FLOWS_PER_SECOND_MAX)?;
            }
            Ok(subject)
        }
        Table::SmallV6 => proven(driver, Subject::new(Version::V6, &limits())?, FLOWS_1K),
        Table::SmallNoFront => {
            proven(driver, Subject::new(Version::V4, &no_front(limits()))?, FLOWS_1K)
        }
        Table::Big => proven(driver, Subject::new(Version::V4, &big)?, FLOWS_1M),
        Table::BigNoFront => proven(driver, Subject::new(Version::V4, &no_front(big))?, FLOWS_1M),
        Table::Devices => many_devices(false),
        Table::TrackedDevices => {
            let subject = many_devices(true)?;
            for devices in super::growth::DEVICES {
                subject.enter_spread(FLOWS_SPREAD, devices.min(DEVICES_MAX))?;
            }
            Ok(subject)
        }
    }
}

fn proven(driver: &mut Driver, subject: Subject, flows: u64) -> Result<Subject> {
    subject.prove(driver, NAT, flows)?;
    Ok(subject)
}

/// The flows of the lower bound.
///
/// # Errors
///
/// When the kernel refuses.
pub fn enter_bound(driver: &mut Driver, flows: u64) -> Result<()> {
    let service = (device_address(NAT), SERVICE_PORT);
    let server = (server_address(1), server_port(NAT));
    let mut ethernet = [0; 12];
    ethernet[..6].copy_from_slice(&server_mac(1));
    ethernet[6..].copy_from_slice(&GATEWAY_MAC);
    let mut entries = (0..flows).filter_map(|flow| {
        let SocketAddr::V4(near) = client(Shape::V4, flow) else { return None };
        let near = (*near.ip(), near.port());
        Some(Bound::new(near, service, server, &ethernet))
    });
    driver.enter_bound(&mut entries)
}
