//! What the loaded program costs the kernel: instructions, as translated and as the verifier walked
//! them, and the memory of its maps.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::maps::MapInfo;

use super::Runner;

/// Figures by name.
pub type Budget = BTreeMap<String, u64>;

/// The figures of a loaded program.
///
/// # Errors
///
/// When the kernel does not tell them.
pub fn measure(runner: &Runner) -> Result<Budget> {
    let info = runner.xdp()?.info()?;
    let verified = info.verified_instruction_count().context("the kernel counts instructions")?;
    let translated = info.size_translated().context("the kernel tells the size")?;
    let mut budget = Budget::new();
    budget.insert("verified_instructions".to_owned(), verified.into());
    budget.insert("translated_bytes".to_owned(), translated.into());
    for id in info.map_ids()?.context("the kernel names a program's maps")? {
        let map = MapInfo::from_id(id)?;
        let name = map.name_as_str().unwrap_or_default().to_owned();
        // Constants of the compiler's own making.
        if name.starts_with('.') {
            continue;
        }
        let entry = u64::from(map.key_size()) + u64::from(map.value_size());
        budget.insert(format!("map {name} entry_bytes"), entry);
    }
    Ok(budget)
}

/// Reads figures, one a line, the number last.
///
/// # Errors
///
/// The line that is none.
pub fn parse(text: &str) -> Result<Budget> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, number) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((name.to_owned(), number.parse().with_context(|| line.to_owned())?))
        })
        .collect()
}
