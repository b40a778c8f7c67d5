//! What stands between clients and servers while a server dies: the redirector, or a peer of it in
//! its place. A death is the same for both.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::failover::DEVICE;
use crate::lab::Lab;
use crate::wait::{self, Look};

/// From repair to a server that may take devices again.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);

/// What a death needs to know of it.
pub trait Gate {
    /// The server that new flows of [`DEVICE`] go to, which is the one to die.
    ///
    /// # Errors
    /// When it does not say.
    fn server(&self, lab: &Lab) -> Result<String>;

    /// Waits, without any traffic of its own, until it says that new flows go elsewhere.
    ///
    /// # Errors
    /// When it does not say so in time.
    fn wait_until_away_from(&self, lab: &Lab, victim: &str, within: Duration) -> Result<()>;

    /// Checks that it says what a client saw: this survivor serves.
    ///
    /// # Errors
    /// When it says something else.
    fn confirm(&self, lab: &Lab, survivor: &str) -> Result<()>;

    /// Waits until a server that was repaired may take devices again.
    ///
    /// # Errors
    /// When that takes too long.
    fn wait_until_well(&self, lab: &Lab, server: &str) -> Result<()>;

    /// Whether it promises that clients of open flows learn of the death.
    fn tells_clients(&self) -> bool;
}

/// The redirector.
pub struct Redirecting;

impl Gate for Redirecting {
    fn server(&self, lab: &Lab) -> Result<String> {
        Ok(lab.api()?.device(DEVICE)?.association.server)
    }

    fn wait_until_away_from(&self, lab: &Lab, victim: &str, within: Duration) -> Result<()> {
        let api = lab.api()?;
        wait::until(&format!("{DEVICE} to leave {victim}"), within, || {
            let server = api.device(DEVICE)?.association.server;
            Ok(if server == victim { Look::NotYet("not yet".to_owned()) } else { Look::Done(()) })
        })
    }

    fn confirm(&self, lab: &Lab, survivor: &str) -> Result<()> {
        let view = lab.api()?.device(DEVICE)?.association;
        ensure!(view.server == survivor, "{survivor} serves, the API says {}", view.server);
        ensure!(view.cause == "failure", "the cause is {}", view.cause);
        Ok(())
    }

    fn wait_until_well(&self, lab: &Lab, server: &str) -> Result<()> {
        let api = lab.api()?;
        wait::until(&format!("{server} to be healthy again"), HEALTHY_WITHIN, || {
            let servers = api.servers()?;
            let view = servers.into_iter().find(|view| view.name == server);
            let view = view.with_context(|| format!("the daemon does not know {server}"))?;
            Ok(match view.health == "healthy" && view.next_hop.is_some() {
                true => Look::Done(()),
                false => Look::NotYet(format!("{view:?}")),
            })
        })
    }

    fn tells_clients(&self) -> bool {
        true
    }
}
