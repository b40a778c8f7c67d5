//! G2, G3 and G10 over random histories, by an oracle that shares nothing with the decision.

use anyhow::{Result, ensure};
use redirector_tests::data_path::oracle;

#[test]
fn no_history_moves_a_flow_captures_a_syn_or_wakes_an_earlier_life() -> Result<()> {
    for seed in 1..=2 {
        let seen = oracle::run(30_000, seed)?;
        eprintln!("seed {seed}: {} packets", seen.packets);
        ensure!(
            seen.violations.is_empty(),
            "seed {seed}, {} violations:\n{}",
            seen.violations.len(),
            seen.violations.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
        );
        let met = [seen.kept, seen.opened, seen.over];
        ensure!(met.iter().all(|count| *count > 1000), "the history met too little: {met:?}");
    }
    Ok(())
}
