//! What is known, and what the user wants to see of it. No terminal here.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::api::device_list::DeviceList;
use crate::api::devices::Device;
use crate::api::events::{Event, EventList};
use crate::api::servers::ServerList;
use crate::api::status::Status;

/// Events kept for showing.
const EVENTS_KEPT: usize = 200;
/// Rows that a page key goes.
const PAGE: usize = 10;

/// What one look at the daemon gave.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) servers: ServerList,
    pub(super) devices: DeviceList,
}

/// In which order devices are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// By name.
    #[default]
    Name,
    /// The busiest first.
    Traffic,
    /// Those with most open flows first.
    Flows,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Traffic => "traffic",
            Self::Flows => "flows",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Name => Self::Traffic,
            Self::Traffic => Self::Flows,
            Self::Flows => Self::Name,
        }
    }
}

/// Whether to go on after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Draw,
    Quit,
}

/// Everything that is drawn.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) look: Option<Look>,
    pub(super) events: VecDeque<Event>,
    /// Why nothing is known any more; None while the daemon answers.
    pub(super) lost: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// The filter is being written.
    pub(super) writing: bool,
    /// The marked device, by its place among the shown ones.
    pub(super) marked: usize,
}

impl Model {
    /// Takes in a look; gives the number of the last event known of this daemon's life.
    pub(super) fn take(&mut self, look: Look) -> u64 {
        let before = self.look.as_ref().map(|look| &look.status.started_at);
        if before.is_some_and(|before| *before != look.status.started_at) {
            // Events of another life have other numbers.
            self.events.clear();
        }
        self.lost = None;
        self.look = Some(look);
        self.marked = self.marked.min(self.shown().len().saturating_sub(1));
        self.events.back().map_or(0, |event| event.id)
    }

    pub(super) fn take_events(&mut self, list: EventList) {
        self.events.extend(list.items);
        let surplus = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..surplus);
    }

    /// The daemon does not answer. What was seen last stays, and is said to be old.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why.lines().next().unwrap_or_default().to_owned());
    }

    /// The devices to show, in their order.
    pub(super) fn shown(&self) -> Vec<&Device> {
        let all = self.look.iter().flat_map(|look| &look.devices.items);
        let mut shown: Vec<&Device> = all
            .filter(|device| {
                device.name.contains(&self.filter) || device.association.server == self.filter
            })
            .collect();
        let traffic = |device: &Device| device.traffic.bytes_per_second.unwrap_or_default();
        match self.sort {
            Sort::Name => {}
            Sort::Traffic => shown.sort_by(|a, b| traffic(b).total_cmp(&traffic(a))),
            Sort::Flows => shown.sort_by_key(|device| std::cmp::Reverse(device.flows_len)),
        }
        shown
    }

    /// Does what a key asks for.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        let last = self.shown().len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Next::Quit;
            }
            KeyCode::Enter if self.writing => self.writing = false,
            KeyCode::Esc if self.writing || !self.filter.is_empty() => {
                self.filter.clear();
                self.writing = false;
            }
            KeyCode::Backspace if self.writing => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.writing => self.filter.push(letter),
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('/') => self.writing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Down | KeyCode::Char('j') => self.marked = (self.marked + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.marked = self.marked.saturating_sub(1),
            KeyCode::PageDown => self.marked = (self.marked + PAGE).min(last),
            KeyCode::PageUp => self.marked = self.marked.saturating_sub(PAGE),
            KeyCode::Home => self.marked = 0,
            KeyCode::End => self.marked = last,
            _ => {}
        }
        Next::Draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(model: &mut Model, code: KeyCode) -> Next {
        model.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn q_quits_but_is_a_letter_while_a_filter_is_written() {
        let mut model = Model::default();
        press(&mut model, KeyCode::Char('/'));
        assert_eq!(press(&mut model, KeyCode::Char('q')), Next::Draw);
        assert_eq!(model.filter, "q");
        press(&mut model, KeyCode::Enter);
        assert_eq!(press(&mut model, KeyCode::Char('q')), Next::Quit);
    }

    #[test]
    fn escape_takes_the_filter_away_first_and_quits_then() {
        let mut model = Model { filter: "disk".to_owned(), ..Model::default() };
        assert_eq!(press(&mut model, KeyCode::Esc), Next::Draw);
        assert_eq!(model.filter, "");
        assert_eq!(press(&mut model, KeyCode::Esc), Next::Quit);
    }

    #[test]
    fn a_key_that_quits_everything_quits_also_while_a_filter_is_written() {
        let mut model = Model { writing: true, ..Model::default() };
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.key(key), Next::Quit);
    }

    #[test]
    fn the_order_goes_round() {
        let mut model = Model::default();
        for expected in ["traffic", "flows", "name"] {
            press(&mut model, KeyCode::Char('s'));
            assert_eq!(model.sort.name(), expected);
        }
    }
}
