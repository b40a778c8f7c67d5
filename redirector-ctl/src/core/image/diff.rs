//! The writes from one content of the tables to another, in an order that is safe after every
//! single one.

use super::super::op::{Op, ServerState};
use super::{Image, ServerLine};

/// The writes that turn `from` into `to`.
///
/// The order: what is dead first; then services whose device goes or changes, so that no new flow
/// meets the change; servers (address, way, state last) and ways back before the associations that
/// use them; associations in one commit; services when all behind them is there; and what nothing
/// refers to any more at the end.
///
/// What both images share is not looked at: that is why a server's death costs the same with any
/// number of devices.
///
/// From an empty image all is written and nothing taken away, so that writing over tables that hold
/// the same content changes nothing for any packet.
#[must_use]
pub fn diff(from: &Image, to: &Image) -> Vec<Op> {
    let mut ops = Vec::new();
    deaths(from, to, &mut ops);
    open_marks(from, to, &mut ops);
    close_services(from, to, &mut ops);
    for (id, line) in &to.servers {
        server(*id, from.servers.get(id), line, &mut ops);
    }
    open_returns(from, to, &mut ops);
    settings(from, to, &mut ops);
    commit(from, to, &mut ops);
    open_services(from, to, &mut ops);
    close_returns(from, to, &mut ops);
    remove_servers(from, to, &mut ops);
    close_marks(from, to, &mut ops);
    ops
}

fn deaths(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    for (id, line) in &to.servers {
        let Some(was) = from.servers.get(id) else { continue };
        let dies = was.state == ServerState::Alive && line.state == ServerState::Dead;
        if dies && was.address == line.address {
            let (state, incarnation) = (line.state, line.incarnation);
            ops.push(Op::SetServerState { id: *id, state, incarnation });
        }
    }
}

fn open_marks(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.marks.is_same(&to.marks) {
        return;
    }
    for (address, marks) in &to.marks {
        let was = from.marks.get(address).copied().unwrap_or_default();
        if marks & !was != 0 {
            ops.push(Op::SetMarks { address: *address, marks: marks | was });
        }
    }
}

fn close_marks(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.marks.is_same(&to.marks) {
        return;
    }
    for (address, was) in &from.marks {
        let marks = to.marks.get(address).copied().unwrap_or_default();
        if was & !marks != 0 {
            ops.push(Op::SetMarks { address: *address, marks });
        }
    }
}

/// A service is closed when it goes, names another device, or its device gets other settings.
fn close_services(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if same_services(from, to) {
        return;
    }
    for (service, device) in &from.services {
        if to.services.get(service) != Some(device) || settings_change(from, to, *device) {
            ops.push(Op::RemoveService { service: *service });
        }
    }
}

/// Whether services and what is behind them are the same without a look at each.
fn same_services(from: &Image, to: &Image) -> bool {
    from.services.is_same(&to.services) && from.devices.is_same(&to.devices)
}

fn settings_change(from: &Image, to: &Image, device: u32) -> bool {
    from.devices.get(&device) != to.devices.get(&device)
}

fn server(id: u16, was: Option<&ServerLine>, line: &ServerLine, ops: &mut Vec<Op>) {
    let ServerLine { address, state, incarnation, next_hop } = *line;
    let moved = was.is_some_and(|was| was.address != address);
    if moved {
        ops.push(Op::SetServerState { id, state: ServerState::Absent, incarnation });
    }
    let was = was.filter(|_| !moved);
    if was.is_none() {
        ops.push(Op::SetServerAddress { id, address });
    }
    if was.map(|was| was.next_hop) != Some(next_hop) {
        ops.push(Op::SetNextHop { id, next_hop });
    }
    let dies = was.is_some_and(|was| was.state == ServerState::Alive && state == ServerState::Dead);
    if !dies && was.map(|was| (was.state, was.incarnation)) != Some((state, incarnation)) {
        ops.push(Op::SetServerState { id, state, incarnation });
    }
}

fn open_returns(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.returns.is_same(&to.returns) {
        return;
    }
    for (endpoint, way) in &to.returns {
        if from.returns.get(endpoint) != Some(way) {
            let (device, server) = *way;
            ops.push(Op::AddReturn { endpoint: *endpoint, device, server });
        }
    }
}

fn settings(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.devices.is_same(&to.devices) {
        return;
    }
    for (id, settings) in &to.devices {
        if settings_change(from, to, *id) {
            ops.push(Op::SetDevice { id: *id, settings: *settings });
        }
    }
}

fn commit(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.words.is_same(&to.words) {
        return;
    }
    let changed = to.words.iter().filter(|(id, word)| from.words.get(id) != Some(word));
    let words: Vec<_> = changed.map(|(id, word)| (*id, *word)).collect();
    if !words.is_empty() {
        ops.push(Op::CommitAssociations { words });
    }
}

fn open_services(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if same_services(from, to) {
        return;
    }
    for (service, device) in &to.services {
        if from.services.get(service) != Some(device) || settings_change(from, to, *device) {
            ops.push(Op::AddService { service: *service, device: *device });
        }
    }
}

fn close_returns(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    if from.returns.is_same(&to.returns) {
        return;
    }
    for endpoint in from.returns.keys().filter(|endpoint| !to.returns.contains_key(endpoint)) {
        ops.push(Op::RemoveReturn { endpoint: *endpoint });
    }
}

fn remove_servers(from: &Image, to: &Image, ops: &mut Vec<Op>) {
    for (id, was) in from.servers.iter().filter(|(id, _)| !to.servers.contains_key(id)) {
        let (state, incarnation) = (ServerState::Absent, was.incarnation);
        ops.push(Op::SetNextHop { id: *id, next_hop: None });
        ops.push(Op::SetServerState { id: *id, state, incarnation });
    }
}
