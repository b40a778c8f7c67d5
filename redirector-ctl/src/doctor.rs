//! `redirector doctor`: from a configuration file to what is wrong with the gateway it is for. It
//! needs no daemon, and disturbs none; servers and devices are those of the file.

use std::fmt::Write as _;

use crate::config::{Config, XdpMode};
use crate::core::doctor::{Finding, Verdict, Wanted, examine};
use crate::core::service::{Forwarding, Protocol, Tracking};
use crate::platform::survey::{Site, SurveyError, survey};

/// Looks and judges. Takes some seconds where somebody does not answer.
///
/// # Errors
/// When the kernel does not tell of its interfaces.
pub async fn findings(config: &Config) -> Result<Vec<Finding>, SurveyError> {
    Ok(examine(&survey(&site(config)).await?))
}

fn site(config: &Config) -> Site {
    let wanted = |interface: &crate::config::InterfaceConfig| Wanted {
        native: interface.mode == XdpMode::Native,
        tagged: interface.vlan.is_some(),
        announces: interface.announce,
    };
    let devices = || config.devices.iter().map(|device| &device.device);
    // A port of a device at each server: what answers there is what clients are to reach.
    let port_at = |server: &str| {
        let mut of_tcp = devices().filter(|device| {
            let listed = device.servers.iter().any(|name| &**name == server);
            device.protocol == Protocol::Tcp && listed
        });
        of_tcp.next().map(|device| device.server_port)
    };
    let server = |server: &crate::core::seed::SeedServer| {
        (server.name.to_string(), server.address, port_at(&server.name))
    };
    let interfaces = config.interfaces.iter().map(|each| (each.name.clone(), wanted(each)));
    let services = config.devices.iter().map(|each| (each.name.to_string(), each.device.address));
    Site {
        bpffs_dir: config.redirector.bpffs_dir.clone(),
        interfaces: interfaces.collect(),
        servers: config.servers.iter().map(server).collect(),
        services: services.collect(),
        stateless: devices().any(|device| device.tracking == Tracking::Stateless),
        nat: devices().any(|device| device.forwarding == Forwarding::Nat),
    }
}

/// The findings for people: the bad ones with their remedies, the worst first, and how many were
/// good.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut bad: Vec<&Finding> =
        findings.iter().filter(|finding| finding.verdict != Verdict::Good).collect();
    bad.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let mut text = String::new();
    for Finding { check, subject, verdict, detail, remedy } in &bad {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<8} {check} {subject}: {detail}", verdict.name());
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "         do: {remedy}");
        }
    }
    let faults_len = bad.iter().filter(|finding| finding.verdict == Verdict::Fault).count();
    let good_len = findings.len() - bad.len();
    let _ = writeln!(text, "{} checks: {good_len} good, {faults_len} faults", findings.len());
    text
}
