//! `demo --keep`: how to look around in what was left up, as commands to copy.

use std::path::Path;

use anyhow::Result;

use crate::lab::Lab;
use crate::programs;

/// The lines to print.
///
/// # Errors
/// When a program or namespace cannot be named.
pub fn lines(lab: &Lab) -> Result<Vec<String>> {
    let redirector = &lab.redirector;
    let cli =
        format!("{} --api unix:{}", redirector.program().display(), redirector.socket().display());
    let curl = format!("curl --unix-socket {} http://localhost", redirector.socket().display());
    let enter = |host: &str| {
        let namespace = lab.network.host(host)?;
        anyhow::Ok(format!("nsenter --net={}", namespace.path().display()))
    };
    let gateway = enter("gateway")?;
    let mut lines = vec![
        "  the command line:".to_owned(),
        format!("    {cli} status"),
        format!("    {cli} device list"),
        format!("    {cli} server list"),
        format!("    {cli} device move disk-a --to s1"),
        "  the REST API:".to_owned(),
        format!("    {curl}/v1/devices"),
        format!("    {curl}/v1/events"),
        "  on a client:".to_owned(),
    ];
    for device in &lab.plan().devices {
        lines.push(format!("    {} nbdinfo {}", enter("c1")?, device.uri()));
    }
    for server in lab.api()?.servers()?.iter().filter(|server| server.health != "healthy") {
        lines.push(format!(
            "  {} is {}: its links are cut, its programs killed",
            server.name, server.health
        ));
    }
    lines.extend([
        "  on a server, its connections; on the gateway, its interfaces:".to_owned(),
        format!("    {} ss -tn", enter("s1")?),
        format!("    {gateway} ip -details link show clients0"),
        format!("  files and logs: {}", lab.run().dir().display()),
        "  the end of it all:".to_owned(),
        format!("    {} clean", display(&programs::lab()?)),
    ]);
    Ok(lines)
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
