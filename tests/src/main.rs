//! `redirector-lab`: the harness's own program. `cargo xtask demo` and `cargo xtask lab` run it.

use anyhow::Result;
use clap::{Parser, Subcommand};
use redirector_tests::echo;

/// Demo and lab of the redirector. Needs root.
#[derive(Parser)]
#[command(name = "redirector-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves as an echo server inside a namespace.
    #[command(hide = true)]
    EchoServer {
        /// Name it answers with.
        #[arg(long)]
        name: String,
        /// Ports it listens on.
        #[arg(long = "port", required = true)]
        ports: Vec<u16>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::EchoServer { name, ports } => echo::serve(&name, &ports),
    }
}
