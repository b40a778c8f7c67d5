//! The screen: a line about the daemon, servers with their load, devices, the last events, keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::model::{Look, Model};
use crate::api::devices::Device;
use crate::api::servers::Server;
use crate::api::wire::Health;
use crate::cli::words;

/// Width of a load bar.
const BAR_LEN: usize = 12;
/// Servers shown at most; the rest is counted.
const SERVERS_SHOWN: usize = 12;
const EVENTS_ROWS: u16 = 8;
/// From this load on a bar is a warning, as `[plan]` has it by default.
const FULL: f64 = 0.8;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let servers_len = model.look.as_ref().map_or(0, |look| look.servers.items.len());
    let rows = servers_len.min(SERVERS_SHOWN) as u16 + 3;
    let areas: [Rect; 5] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(rows),
        Constraint::Min(5),
        Constraint::Length(EVENTS_ROWS),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [head, servers, devices, events, keys] = areas;
    frame.render_widget(Paragraph::new(header(model)), head);
    if let Some(look) = &model.look {
        frame.render_widget(server_table(look), servers);
        let mut marked = TableState::default().with_selected(Some(model.marked));
        frame.render_stateful_widget(device_table(model), devices, &mut marked);
    }
    frame.render_widget(event_list(model), events);
    let filter = if model.writing {
        format!("filter: {}_  (Enter, Esc)", model.filter)
    } else {
        let filter = if model.filter.is_empty() { "none" } else { &model.filter };
        format!(
            "q quit  arrows mark  s sort: {}  / filter by device or server: {filter}",
            model.sort.name()
        )
    };
    frame.render_widget(Paragraph::new(filter), keys);
}

fn header(model: &Model) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(Look { status, .. }) = &model.look {
        lines.push(Line::from(format!(
            "redirector {}  up {}  generation {}  flows {} of {}  devices {}",
            status.version,
            words::duration(status.uptime_ms),
            status.generation,
            status.flows.used,
            status.flows.max,
            status.devices_len
        )));
    }
    let alarm = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    if let Some(why) = &model.lost {
        let old = if model.look.is_some() { " (what is below is old)" } else { "" };
        lines.insert(0, Line::from(Span::styled(format!("UNREACHABLE{old}: {why}"), alarm)));
    } else if let Some(why) = model.look.as_ref().and_then(|look| look.status.frozen.clone()) {
        lines.push(Line::from(Span::styled(format!("decisions are held back: {why}"), alarm)));
    }
    lines
}

fn block(title: String) -> Block<'static> {
    Block::new().borders(Borders::TOP).title(title)
}

fn heading<const N: usize>(titles: [&'static str; N]) -> Row<'static> {
    Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD))
}

fn server_table(look: &Look) -> Table<'static> {
    let all = &look.servers.items;
    let rows = all.iter().take(SERVERS_SHOWN).map(server_row);
    let widths = [
        Constraint::Min(10),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(BAR_LEN as u16 + 14),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    let hidden_len = all.len().saturating_sub(SERVERS_SHOWN);
    let more = if hidden_len > 0 { format!(", {hidden_len} more") } else { String::new() };
    Table::new(rows, widths)
        .header(heading(["SERVER", "STATE", "HEALTH", "LOAD", "FLOWS", "DEVICES"]))
        .block(block(format!("servers{more}")))
}

fn server_row(server: &Server) -> Row<'static> {
    let colour = match server.health {
        Health::Healthy => Color::Green,
        Health::Suspect => Color::Yellow,
        Health::Dead => Color::Red,
        Health::Unknown => Color::Reset,
    };
    let score = server.load.score;
    let full = if score.is_some_and(|score| score >= FULL) { Color::Red } else { Color::Reset };
    Row::new([
        Cell::from(server.name.clone()),
        Cell::from(words::state(server.state)),
        Cell::from(words::health(server.health)).style(Style::new().fg(colour)),
        Cell::from(format!("{} {}", bar(score), words::load(&server.load)))
            .style(Style::new().fg(full)),
        Cell::from(server.flows_len.to_string()),
        Cell::from(server.devices_len.to_string()),
    ])
}

/// A load as a bar; dashes where it is not known.
fn bar(score: Option<f64>) -> String {
    let Some(score) = score else { return "-".repeat(BAR_LEN) };
    let filled = ((score.clamp(0.0, 1.0) * BAR_LEN as f64).round() as usize).min(BAR_LEN);
    format!("{}{}", "#".repeat(filled), ".".repeat(BAR_LEN - filled))
}

fn device_table(model: &Model) -> Table<'static> {
    let shown = model.shown();
    let rows: Vec<Row<'static>> = shown.iter().map(|device| device_row(device)).collect();
    let widths = [
        Constraint::Min(12),
        Constraint::Length(22),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Min(12),
    ];
    let head =
        ["DEVICE", "ADDRESS", "SERVER", "BACKUP", "FLOWS", "TRAFFIC", "REQUESTS", "DRAINING"];
    Table::new(rows, widths)
        .header(heading(head))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(block(format!("devices, {} shown", shown.len())))
}

fn device_row(device: &Device) -> Row<'static> {
    let association = &device.association;
    let drains = association.drains.iter();
    let drains: Vec<String> =
        drains.map(|drain| format!("{} on {}", drain.flows_len, drain.server)).collect();
    Row::new([
        device.name.clone(),
        format!("{}:{}", device.address, device.port),
        association.server.clone(),
        words::or_dash(association.backup.clone()),
        device.flows_len.to_string(),
        words::or_dash(device.traffic.bytes_per_second.map(words::rate)),
        words::or_dash(device.traffic.requests_per_second.map(words::per_second)),
        drains.join(", "),
    ])
}

fn event_list(model: &Model) -> Paragraph<'static> {
    let rows = usize::from(EVENTS_ROWS) - 1;
    let from = model.events.len().saturating_sub(rows);
    let lines = model.events.range(from..).map(|event| {
        let time = event.at.get(11..19).unwrap_or(&event.at);
        Line::from(format!("{time}  {:<14} {}", words::word(&event.kind), event.text))
    });
    Paragraph::new(lines.collect::<Vec<_>>()).block(block("events".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_server_and_dashes_where_nobody_knows() {
        let bars = [None, Some(0.0), Some(0.5), Some(3.0)].map(bar);
        assert_eq!(bars, ["------------", "............", "######......", "############"]);
    }
}
