//! How the cost of a packet grows with flows and devices: cases, a table and plots.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use redirector_common::verdict::Reason;

use super::cases::{Case, FLOWS_1K, FLOWS_1M, FLOWS_10K, FLOWS_100K, Target, back, out, product};
use super::driver::Traffic;
use super::subject::{NAT, STATELESS, spread_service};
use super::tables::{FLOWS_SPREAD, Table};
use crate::data_path::{TCP, Version};
use crate::report::Report;

/// Numbers of flows.
const FLOWS: [u64; 5] = [1, FLOWS_1K, FLOWS_10K, FLOWS_100K, FLOWS_1M];
/// Numbers of devices.
pub const DEVICES: [u32; 6] = [1, 10, 100, 1000, 10_000, 100_000];

/// A line of a plot: a name, and how many of what.
#[derive(Debug, Clone)]
struct Series {
    title: &'static str,
    /// What the rows' names begin with.
    prefix: &'static str,
    steps: Vec<u64>,
}

fn series() -> (Vec<Series>, Vec<Series>) {
    let flows = |title, prefix| Series { title, prefix, steps: FLOWS.to_vec() };
    let devices = |title, prefix| Series {
        title,
        prefix,
        steps: DEVICES.iter().map(|len| u64::from(*len)).collect(),
    };
    (
        vec![
            flows("lower bound (one kernel hash)", "growth_bound_flows_"),
            flows("to the server, tracked", "growth_tracked_flows_"),
            flows("to the client, tracked", "growth_reverse_flows_"),
            flows("to the server, stateless", "growth_stateless_flows_"),
        ],
        vec![
            devices("tracked, 131,072 flows", "growth_tracked_devices_"),
            devices("stateless, 1,048,576 flows", "growth_stateless_devices_"),
        ],
    )
}

/// The cases of the growth.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for flows in FLOWS {
        let name = |kind: &str| format!("growth_{kind}_flows_{flows}");
        let forth = out(Version::V4, NAT, flows);
        cases.push(Case {
            name: name("bound"),
            target: Target::Own("lower_bound"),
            traffic: forth.clone(),
            reason: None,
        });
        let tracked = product(&name("tracked"), Table::Big, forth, Reason::Established);
        cases.push(tracked);
        cases.push(product(&name("reverse"), Table::Big, back(NAT, flows), Reason::Returned));
        let plain = out(Version::V4, STATELESS, flows);
        cases.push(product(&name("stateless"), Table::Big, plain, Reason::Stateless));
    }
    for devices in DEVICES {
        let name = |kind: &str| format!("growth_{kind}_devices_{devices}");
        let (address, port) = spread_service(0);
        let way = super::frames::Way { far: (address, port).into(), protocol: TCP };
        let over = |flows| Traffic {
            devices: u64::from(devices),
            ..Traffic::new(way.segment(), way.shape(), flows)
        };
        let flows = u64::from(FLOWS_SPREAD);
        let established = Reason::Established;
        cases.push(product(&name("tracked"), Table::TrackedDevices, over(flows), established));
        cases.push(product(&name("stateless"), Table::Devices, over(FLOWS_1M), Reason::Stateless));
    }
    cases
}

/// Writes the plots into a directory.
///
/// # Errors
///
/// When a file cannot be written.
pub fn plot(report: &Report, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let (flows, devices) = series();
    draw(report, &dir.join("growth_flows.svg"), "flows", &flows)?;
    draw(report, &dir.join("growth_devices.svg"), "devices", &devices)
}

fn draw(report: &Report, path: &Path, what: &str, series: &[Series]) -> Result<()> {
    let points = |of: &Series| -> Vec<(f64, f64)> {
        let row = |step: &u64| {
            let name = format!("{}{step}", of.prefix);
            report.rows.iter().find(|row| row.name == name).and_then(|row| row.median)
        };
        of.steps.iter().filter_map(|step| Some((*step as f64, row(step)?))).collect()
    };
    let lines: Vec<_> = series.iter().map(|of| (of.title, points(of))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let right = all().map(|(x, _)| *x).fold(10.0, f64::max);
    let top = all().map(|(_, y)| *y).fold(10.0, f64::max) * 1.1;
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("ns per packet over {what}"), ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..right).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc(what).y_desc("ns per packet, median").draw()?;
    for (index, (title, points)) in lines.iter().enumerate() {
        let color = [RED, BLUE, GREEN, MAGENTA][index % 4];
        let marks = points.iter().map(move |at| Circle::new(*at, 3, color.filled()));
        chart.draw_series(marks)?;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color))?
            .label(*title)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present().map_err(|error| anyhow!("write {}: {error}", path.display()))
}
