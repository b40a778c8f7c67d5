//! `cargo xtask setup`: makes a fresh machine able to build, test and show the project.
//!
//! Three parts: `machine` looks at what is there and changes nothing, `plan` decides in a pure
//! function what is missing, `apply` does it. The plan is printed before it is applied.

mod apply;
mod machine;
mod plan;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use crate::run;
use machine::Machine;
use plan::{Plan, Step};

/// A compiler must be there before its LLVM is known, and then a linker can follow: two rounds are
/// enough, a third one proves it.
const ROUNDS_MAX: usize = 3;

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only say what is there and what is missing; install nothing and fail if anything is missing
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.check {
        let machine = Machine::survey(&[]);
        print!("{machine}");
        let plan = plan::plan(&machine);
        if plan.is_empty() {
            println!("nothing is missing");
            return Ok(ExitCode::SUCCESS);
        }
        println!("missing; `cargo xtask setup` would:\n{plan}");
        return Ok(ExitCode::FAILURE);
    }
    let machine = complete(&[])?;
    print!("{machine}");
    println!("nothing is missing");
    Ok(ExitCode::SUCCESS)
}

/// Sets up what is missing for another command; says one line when nothing is.
pub(crate) fn ensure_ready() -> Result<()> {
    ensure_ready_with(&[])
}

/// The same for a command that needs programs of its own besides.
pub(crate) fn ensure_ready_with(on_demand: &[&str]) -> Result<()> {
    let machine = complete(on_demand)?;
    eprintln!("setup: nothing is missing ({})", machine.summary());
    Ok(())
}

fn complete(on_demand: &[&str]) -> Result<Machine> {
    let mut package_lists_are_fresh = false;
    for _ in 0..ROUNDS_MAX {
        let machine = Machine::survey(on_demand);
        let plan = plan::plan(&machine);
        if plan.is_empty() {
            return Ok(machine);
        }
        announce(&machine, &plan)?;
        for step in &plan.steps {
            if matches!(step, Step::Packages(_)) && !package_lists_are_fresh {
                apply::refresh_package_lists()?;
                package_lists_are_fresh = true;
            }
            apply::apply(step)?;
        }
    }
    let plan = plan::plan(&Machine::survey(on_demand));
    bail!("still missing after the installation, which reported no error:\n{plan}")
}

/// Says what was found and what will be done, and refuses what cannot be done.
fn announce(machine: &Machine, plan: &Plan) -> Result<()> {
    eprint!("setup: what is here\n{machine}setup: about to install\n{plan}");
    if let Some(obstacle) = &plan.obstacle {
        bail!("{obstacle}");
    }
    ensure!(
        machine.root || !plan.needs_root(),
        "installing packages needs root, for example: sudo -E env \"PATH=$PATH\" cargo xtask setup"
    );
    ensure!(
        run::find_in_path("rustup").is_some(),
        "rustup is not on PATH; it names the compilers this project uses: install it from \
         https://rustup.rs"
    );
    Ok(())
}
