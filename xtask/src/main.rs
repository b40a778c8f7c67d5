//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! They start other programs (cargo, apt-get, rustup, the harness) and read files. They import
//! nothing of the product, so that they build and run when the product does not.

mod bench;
mod demo;
mod harness;
mod lab;
mod run;
mod setup;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing on this machine, after saying what that is
    Setup(setup::Arguments),
    /// Set up, build and show the main job on real storage
    Demo(demo::Arguments),
    /// Set up and run every test, ending with a line "N passed, N failed"
    Test(test::Arguments),
    /// Run one scenario of the lab and report its measurements
    Lab(lab::Arguments),
    /// Measure what a packet costs
    Bench(bench::Arguments),
    /// Simulate the planner under synthetic load, beside other strategies
    Sim(sim::Arguments),
    /// Check the house rules: sizes, layers, words, leftovers, documents
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(arguments) => setup::main(&arguments),
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Lab(arguments) => lab::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Sim(arguments) => sim::main(&arguments),
        Command::Tidy(arguments) => tidy::main(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
