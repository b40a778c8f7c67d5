//! `redirector-lab`: the harness's own program. `cargo xtask demo` and `cargo xtask lab` run it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use redirector_tests::scenario::command as lab;
use redirector_tests::{agent, bench, demo, echo, leftovers, sim};

/// Demo and lab of the redirector. All but the simulator needs root.
#[derive(Parser)]
#[command(name = "redirector-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job on real storage, shown step by step.
    Demo(demo::Arguments),
    /// Scenarios, repeated and measured.
    Lab(lab::Arguments),
    /// What a packet costs, beside floors measured in the same run.
    Bench(bench::Arguments),
    /// The planner's decisions under synthetic load, beside what others would do.
    Sim(sim::Arguments),
    /// Removes what labs that have ended left behind; labs that run are left alone.
    Clean,
    /// Serves as an echo server inside a namespace.
    #[command(hide = true)]
    EchoServer {
        /// Name it answers with.
        #[arg(long)]
        name: String,
        /// Ports it listens on.
        #[arg(long = "port", required = true)]
        ports: Vec<u16>,
        /// Memory it keeps for each connection that has asked something.
        #[arg(long, default_value_t = 0)]
        session_bytes: u64,
    },
    /// Says what is in a file to whoever connects, as agents of HAProxy do.
    #[command(hide = true)]
    Agent {
        /// Port it listens on.
        #[arg(long)]
        port: u16,
        /// The file.
        #[arg(long)]
        file: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    let is_good = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments)?,
        Command::Lab(arguments) => lab::run(&arguments)?,
        Command::Bench(arguments) => bench::run(&arguments)?,
        Command::Sim(arguments) => sim::run(&arguments)?,
        Command::Clean => leftovers::clean().map(|()| true)?,
        Command::EchoServer { name, ports, session_bytes } => {
            echo::serve(&name, &ports, session_bytes).map(|()| true)?
        }
        Command::Agent { port, file } => agent::serve(port, &file).map(|()| true)?,
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
