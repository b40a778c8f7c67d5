//! Remembered paths, as one CPU of the program has them.

use std::rc::Rc;

use redirector_common::path::Path;

use super::family::Line;
use super::{Host, HostFamily};

impl Host {
    /// The path of packets like this, where the front is of use.
    pub(super) fn look<F: HostFamily>(&self, packet: &F::Tuple) -> Option<Rc<Path<F>>> {
        let line = self.line::<F>(packet)?;
        let mut front_use = self.front_use.get();
        if !front_use.opens(line) {
            self.front_use.set(front_use);
            return None;
        }
        let front = F::of(self).front.borrow();
        let found = front.get(&line).filter(|(tuple, _)| tuple == packet);
        front_use.note(line, found.is_some());
        self.front_use.set(front_use);
        found.map(|(_, path)| path.clone())
    }

    /// Remembers a path, where the front is of use and no other path of this unit of the clock is.
    pub(super) fn put<F: HostFamily>(&self, packet: &F::Tuple, path: &Path<F>) {
        if self.trying.get() {
            return;
        }
        if let Some(line) = self.line::<F>(packet).filter(|at| self.front_use.get().is_open(*at)) {
            let mut front = F::of(self).front.borrow_mut();
            let taken = |(of, by): &Line<F>| by.learnt == path.learnt && of != packet;
            if !front.get(&line).is_some_and(taken) {
                front.insert(line, (*packet, Rc::new(*path)));
            }
        }
    }

    /// Forgets the path of packets like this; its line stays theirs.
    pub(super) fn close<F: HostFamily>(&self, packet: &F::Tuple) {
        let mut front = F::of(self).front.borrow_mut();
        if let Some((_, path)) = self.line::<F>(packet).and_then(|line| front.get_mut(&line)) {
            *path = Rc::new(Path { learnt: 0, ..**path });
        }
    }

    fn line<F: HostFamily>(&self, packet: &F::Tuple) -> Option<u32> {
        (self.paths_max != 0).then(|| F::hash(packet) & (self.paths_max - 1))
    }
}
