//! A million flows remain usable through the API: listed page by page, every one of them, in pages
//! that come at once, without holding up the control loop.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::many_flows::copy_flow;
use redirector_tests::wait;
use reqwest::Method;
use serde_json::Value;

const FLOWS_LEN: u32 = 1_000_000;
/// Of a build without optimisation, on a machine shared with others.
const PAGE_WITHIN: Duration = Duration::from_secs(2);

fn page(api: &Api, query: &str) -> Result<(Value, Duration)> {
    let began = wait::now();
    let page = api.send(Method::GET, &format!("/v1/flows?{query}"), &[], Vec::new())?.accepted()?;
    Ok((page, wait::now().saturating_duration_since(began)))
}

#[test]
fn a_million_flows_are_listed_page_by_page() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let config = fs::read_to_string(lab.redirector.config())?;
    fs::write(lab.redirector.config(), config + "\n[limits]\nflows_max = 1100000\n")?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let api = lab.api()?;
    let flows = Flows::from(lab.client("c1")?)?;
    flows.open(lab.device("echo-a")?.service())?;
    copy_flow(lab.bpffs().dir(), FLOWS_LEN)?;

    let (mut ids, mut pages, mut longest) = (BTreeSet::new(), 0_u32, Duration::ZERO);
    let (mut met, mut cursor, began) = (0_usize, String::new(), wait::now());
    loop {
        let (page, took) = page(&api, &format!("device=echo-a&limit=1000{cursor}"))?;
        (pages, longest) = (pages + 1, longest.max(took));
        for item in page["items"].as_array().context("a list")? {
            met += 1;
            ids.insert(item["id"].as_str().context("an id")?.to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all = wait::now().saturating_duration_since(began);
    eprintln!("{} flows in {pages} pages in {all:?}, the longest in {longest:?}", ids.len());
    ensure!(ids.len() > FLOWS_LEN as usize, "{} of {met} flows were met once or more", ids.len());
    ensure!(longest < PAGE_WITHIN, "a page took {longest:?}");

    // One client among a million takes some pages without anything, none of them long.
    let (mut found, mut empty, mut cursor) = (0, 0, String::new());
    loop {
        let (page, took) = page(&api, &format!("client=172.16.7.7{cursor}"))?;
        ensure!(took < PAGE_WITHIN, "a page of one client took {took:?}");
        let len = page["items"].as_array().map_or(0, Vec::len);
        (found, empty) = (found + len, empty + usize::from(len == 0));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    eprintln!("one client's {found} flows, with {empty} empty pages");
    ensure!(found == 16, "{found} flows of one client");
    Ok(())
}
