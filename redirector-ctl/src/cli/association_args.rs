//! `redirector association`: what is said of several devices at once.

use clap::{Args as ClapArgs, Subcommand};

use super::device_args::PolicyArgs;

/// Which associations.
#[derive(Debug, ClapArgs)]
pub struct AssociationPage {
    /// At most so many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: u64,
    /// Go on where an earlier list has ended
    #[arg(long)]
    pub cursor: Option<String>,
}

/// What can be done with associations.
#[derive(Debug, Subcommand)]
pub enum AssociationCommand {
    /// List the associations, by device
    #[command(after_help = "Example:\n  redirector association list --limit 100")]
    List(AssociationPage),
    /// Move several devices in one step: all or none
    #[command(after_help = "Example:\n  redirector association set disk-a=s2 disk-b=s3")]
    Set {
        /// What goes where
        #[arg(required = true, value_name = "DEVICE=SERVER", value_parser = pair)]
        moves: Vec<(String, String)>,
        /// What happens to their open flows
        #[command(flatten)]
        policy: PolicyArgs,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((device, server)) if !device.is_empty() && !server.is_empty() => {
            Ok((device.to_owned(), server.to_owned()))
        }
        _ => Err("write DEVICE=SERVER, such as disk-a=s2".to_owned()),
    }
}
