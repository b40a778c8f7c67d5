//! The corpora of `fuzz/`, replayed, and random changes of what is in them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use redirector_tests::data_path::fuzz;
use redirector_tests::outside;
use redirector_tests::random::Random;

/// Changed inputs made of each one in a corpus.
const CHANGES: usize = 300;

fn replay(name: &str, target: fn(&[u8])) -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut random = Random::new(1);
    let mut inputs_len = 0;
    let listing = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    for entry in listing {
        let data = std::fs::read(entry?.path())?;
        target(&data);
        inputs_len += 1;
        for _ in 0..CHANGES {
            let mut changed = data.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(changed.len());
                changed[at] = random.bits() as u8;
            }
            changed.truncate(1 + random.below(2 * changed.len()));
            target(&changed);
        }
    }
    ensure!(inputs_len > 0, "{} is empty", dir.display());
    Ok(())
}

#[test]
fn any_frame_is_parsed_or_refused() -> Result<()> {
    replay("parse", fuzz::parse)
}

#[test]
fn any_frames_are_decided_and_what_passes_is_untouched() -> Result<()> {
    replay("decide", fuzz::decide)
}

#[test]
fn what_comes_in_right_leaves_right() -> Result<()> {
    replay("rewrite", fuzz::rewrite)
}

#[test]
fn any_configuration_is_read_or_its_mistakes_have_lines() -> Result<()> {
    replay("config", outside::config)
}

#[test]
fn any_body_of_the_api_is_applied_or_refused_with_a_reason() -> Result<()> {
    replay("api_body", outside::api_body)
}

#[test]
fn any_text_of_an_exporter_gives_shares_or_nothing() -> Result<()> {
    replay("metrics_text", outside::metrics_text)
}

#[test]
fn any_line_of_an_agent_is_read_or_quoted_safely() -> Result<()> {
    replay("agent_line", outside::agent_line)
}

#[test]
fn any_answer_to_a_check_is_judged_and_quoted_safely() -> Result<()> {
    replay("probe_reply", outside::probe_reply)
}
