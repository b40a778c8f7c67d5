//! What the program costs the kernel's verifier stays what `fixtures/verifier_budget.txt` says.

use std::path::Path;

use anyhow::{Context, Result};
use redirector_tests::data_path::Program;
use redirector_tests::data_path::budget::{measure, parse};
use redirector_tests::data_path::program::SMALL;

/// Another kernel's verifier walks other ways: a figure may differ by so much, in per cent.
const TOLERANCE_PERCENT: u64 = 10;
/// The verifier's limit (`BPF_COMPLEXITY_LIMIT_INSNS`).
const VERIFIED_MAX: u64 = 1_000_000;
/// The kernel's BPF_OBJ_NAME_LEN is 16 with the final zero.
const MAP_NAME_BYTES_MAX: usize = 15;

#[test]
fn the_program_costs_the_verifier_what_is_written_down() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/verifier_budget.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let budget = parse(&text)?;
    let program = Program::load(&SMALL)?;
    let measured = measure(program.runner())?;
    let lines: Vec<String> = measured.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let told = format!(
        "growth needs a reason, stated in the commit that changes {}. Measured:\n{}",
        path.display(),
        lines.join("\n")
    );
    let names = |of: &std::collections::BTreeMap<String, u64>| -> Vec<String> {
        of.keys().cloned().collect()
    };
    assert_eq!(names(&budget), names(&measured), "{told}");
    for (name, allowed) in &budget {
        let met = measured[name];
        let slack = if name.starts_with("map ") { 0 } else { allowed * TOLERANCE_PERCENT / 100 };
        assert!(met.abs_diff(*allowed) <= slack, "{name} is {met}, not {allowed}: {told}");
    }
    assert!(measured["verified_instructions"] < VERIFIED_MAX);
    Ok(())
}

#[test]
fn the_kernel_keeps_every_map_name_whole() -> Result<()> {
    let program = Program::load(&SMALL)?;
    for name in measure(program.runner())?.keys() {
        let Some(map) = name.strip_prefix("map ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        // A name of 15 bytes is whole or cut: none comes so near.
        assert!(map.0.len() < MAP_NAME_BYTES_MAX, "{} has {} bytes", map.0, map.0.len());
    }
    Ok(())
}
