//! Thousands of devices remain usable through API, command line and dashboard: the times of a build
//! without optimisation are printed, and bounded.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::browser::Browser;
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{API, Greeters};
use redirector_tests::wait;
use reqwest::Method;

/// With the one of the site itself. `MANY_DEVICES` says another number, for a build with
/// optimisation; the tables take 131,072 at most.
const DEVICES: usize = 5_000;
/// A page, a list, a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Everything of every device at once, as Prometheus wants it.
const METRICS_WITHIN: Duration = Duration::from_secs(60);
/// From the address to the drawn page.
const PAINT_WITHIN: Duration = Duration::from_secs(60);

/// Devices that the servers' own port serves, and that are checked seldom.
fn settings(devices_len: usize) -> String {
    let mut text = String::new();
    for number in 1..devices_len {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[device]]\nname = \"d{number:05}\"\naddress = \"10.{}.{}.{}\"\nport = 7100\n\
             forwarding = \"dsr\"\nservers = [\"s1\", \"s2\"]\ncheck_interval_ms = 60000\n",
            64 + (number >> 16),
            (number >> 8) & 255,
            number & 255
        );
    }
    text + "\n[limits]\ndevices_max = 131072\n"
}

fn timed(api: &Api, path: &str, within: Duration) -> Result<usize> {
    let began = wait::now();
    let answer = api.send(Method::GET, path, &[], Vec::new())?;
    let took = wait::now().saturating_duration_since(began);
    let len = answer.body.to_string().len();
    println!("GET {path}: {} in {took:.0?}, {len} bytes", answer.status);
    ensure!(answer.status == 200 && took < within, "GET {path}: {took:?}, {}", answer.status);
    Ok(len)
}

#[test]
fn thousands_of_devices_are_shown_listed_found_and_moved_in_time() -> Result<()> {
    let wanted = std::env::var("MANY_DEVICES").ok();
    let devices_len = wanted.map_or(Ok(DEVICES), |text| text.parse())?;
    let began = wait::now();
    let mut site = Greeters::start(Version::V4, &settings(devices_len))?;
    println!("{devices_len} devices up in {:.1?}", wait::now().saturating_duration_since(began));
    let api = site.redirector.api()?;
    for path in [
        "/v1/status",
        "/v1/devices?limit=1000",
        "/v1/devices?limit=1000&cursor=d03000",
        "/v1/devices?limit=500&order=traffic",
        "/v1/devices?limit=500&search=d04",
        "/v1/devices/d03000",
        "/v1/servers?brief=true",
        "/v1/associations?limit=1000",
        "/v1/associations?limit=1000&cursor=d03000",
        "/v1/flows?limit=1000",
        "/v1/plan",
    ] {
        let len = timed(&api, path, ANSWER_WITHIN)?;
        ensure!(len < 2_000_000, "{path} has {len} bytes");
    }
    timed(&api, "/metrics", METRICS_WITHIN)?;
    for words in [&["status"][..], &["device", "list", "--limit", "1000"], &["association", "list"]]
    {
        let began = wait::now();
        let output = site.redirector.cli(words)?;
        let took = wait::now().saturating_duration_since(began);
        println!("redirector {}: {took:.0?}", words.join(" "));
        ensure!(output.status.success() && took < ANSWER_WITHIN, "{words:?}: {took:?}");
    }
    let began = wait::now();
    api.move_device("d03000", "s2")?;
    let took = wait::now().saturating_duration_since(began);
    println!("a move: {took:.0?}");

    let mut browser = Browser::start(&site.gateway, &format!("http://{API}/"))?;
    browser.step("blank")?;
    let began = wait::now();
    browser.step("many")?;
    let took = wait::now().saturating_duration_since(began);
    println!("the dashboard's first picture: {took:.0?}");
    ensure!(took < PAINT_WITHIN, "{took:?}");
    let shown = format!("{},{:03}", devices_len / 1000, devices_len % 1000);
    browser.step_with("find", &shown).context("a device by the filter")?;
    drop(browser);
    site.redirector.stop()
}
