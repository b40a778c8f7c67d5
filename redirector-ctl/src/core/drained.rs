//! What draining flows have carried at most. Pure.
//!
//! The packet path counts the bytes of each device and of each server, not those of a device at one
//! server: that would be a table of all pairs, or one more look at the association for each packet.
//! Flows of a device that drain on a server are part of what the device carried, and of what that
//! server carried, since the drain began; so the smaller of the two is a bound, and nothing where
//! either stands still. It is exact where the device has no other flows, or the server no other
//! device.

use std::collections::BTreeMap;

use super::spec::{Name, Spec};

/// Bytes carried so far, both directions together, as far as they were counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// By device id.
    pub devices: BTreeMap<u32, u64>,
    /// By server id.
    pub servers: BTreeMap<u16, u64>,
}

/// What had been carried when drains began, as far as that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainMarks {
    /// Device id and epoch of a drain -> its mark.
    marks: BTreeMap<(u32, u16), Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at_ms: u64,
    /// The server that its flows are on.
    server: u16,
    device_bytes: u64,
    server_bytes: u64,
}

/// A bound of what was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainedBytes {
    /// Since when: ms since the Unix epoch.
    pub since_ms: u64,
    /// At most so many bytes, both directions together.
    pub bytes_max: u64,
}

impl DrainMarks {
    /// Whether nothing drains, so far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Marks the drains that are new with `carried`, which was counted at `at_ms`, before they
    /// began or a moment ago; and forgets those that are over.
    pub fn follow(&mut self, spec: &Spec, carried: &Carried, at_ms: u64) {
        let mut marks = BTreeMap::new();
        for device in spec.devices.values() {
            for drain in &device.association.drains {
                let key = (device.id, drain.epoch);
                let known = self.marks.get(&key).copied();
                let mark = known.or_else(|| {
                    let server = spec.servers.get(&drain.server)?.id;
                    let device_bytes = carried.devices.get(&device.id).copied();
                    let server_bytes = carried.servers.get(&server).copied();
                    Some(Mark {
                        at_ms,
                        server,
                        device_bytes: device_bytes.unwrap_or_default(),
                        server_bytes: server_bytes.unwrap_or_default(),
                    })
                });
                marks.extend(mark.map(|mark| (key, mark)));
            }
        }
        self.marks = marks;
    }

    /// What the flows of a device's drain have carried at most. None before it was marked, or when
    /// counters have begun anew since.
    #[must_use]
    pub fn of_drain(&self, device: u32, epoch: u16, carried: &Carried) -> Option<DrainedBytes> {
        let mark = self.marks.get(&(device, epoch))?;
        let of_device = carried.devices.get(&device)?.checked_sub(mark.device_bytes)?;
        let of_server = carried.servers.get(&mark.server)?.checked_sub(mark.server_bytes)?;
        Some(DrainedBytes { since_ms: mark.at_ms, bytes_max: of_device.min(of_server) })
    }

    /// What all flows that drain on a server have carried there at most: all that the server has
    /// carried since the first of these drains began.
    #[must_use]
    pub fn on_server(&self, spec: &Spec, server: &Name, carried: &Carried) -> Option<DrainedBytes> {
        let id = spec.servers.get(server)?.id;
        let marks = self.marks.values().filter(|mark| mark.server == id);
        let first = marks.min_by_key(|mark| (mark.at_ms, mark.server_bytes))?;
        let bytes_max = carried.servers.get(&id)?.checked_sub(first.server_bytes)?;
        Some(DrainedBytes { since_ms: first.at_ms, bytes_max })
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Move};
    use super::super::fixtures::*;
    use super::super::spec::Cause;
    use super::*;

    fn moved(spec: &Spec, device: &str, server: &str) -> Spec {
        let moves = vec![Move { device: device.into(), server: server.into(), policy: None }];
        let change = Change::Associate { moves, cause: Cause::Planned };
        changed(spec, &[change], &at(2000, &all_well(spec)))
    }

    /// Bytes of d1 and d2, and of s1 and s2; both devices begin on s1.
    fn carried(spec: &Spec, devices: [u64; 2], servers: [u64; 2]) -> Carried {
        let device = |(name, bytes): (&str, u64)| (spec.devices[name].id, bytes);
        let server = |(name, bytes): (&str, u64)| (spec.servers[name].id, bytes);
        Carried {
            devices: ["d1", "d2"].into_iter().zip(devices).map(device).collect(),
            servers: ["s1", "s2"].into_iter().zip(servers).map(server).collect(),
        }
    }

    fn two_on_s1() -> Spec {
        let devices = [device(1, &["s1", "s2"]), device(2, &["s1", "s2"])];
        spec(&[&[server(1), server(2)][..], &devices].concat())
    }

    #[test]
    fn a_drain_has_carried_no_more_than_its_device_nor_than_its_server() {
        let spec = moved(&two_on_s1(), "d1", "s2");
        let (id, epoch) = (spec.devices["d1"].id, 1);
        let mut marks = DrainMarks::default();
        let then = carried(&spec, [100, 200], [300, 0]);
        assert_eq!(marks.of_drain(id, epoch, &then), None, "it was not seen yet");
        marks.follow(&spec, &then, 2000);
        let bytes = |devices, servers| {
            let now = carried(&spec, devices, servers);
            marks.of_drain(id, epoch, &now).map(|of| (of.since_ms, of.bytes_max))
        };
        assert_eq!(bytes([100, 200], [300, 0]), Some((2000, 0)));
        assert_eq!(bytes([150, 900], [1050, 0]), Some((2000, 50)), "the device's: exact here");
        assert_eq!(bytes([5100, 200], [340, 4960]), Some((2000, 40)), "the server's");
        assert_eq!(bytes([100, 200], [5, 0]), None, "the server's counter began anew");
    }

    #[test]
    fn a_mark_stays_as_it_was_and_goes_with_its_drain() {
        let spec = moved(&two_on_s1(), "d1", "s2");
        let mut marks = DrainMarks::default();
        marks.follow(&spec, &carried(&spec, [100, 0], [100, 0]), 2000);
        marks.follow(&spec, &carried(&spec, [700, 0], [700, 0]), 3000);
        let now = carried(&spec, [800, 0], [800, 0]);
        let of = marks.of_drain(spec.devices["d1"].id, 1, &now).unwrap();
        assert_eq!((of.since_ms, of.bytes_max), (2000, 700));
        let over = changed(
            &spec,
            &[Change::EndDrains { drains: [("d1".to_owned(), 1)].into() }],
            &at(4000, &all_well(&spec)),
        );
        marks.follow(&over, &now, 4000);
        assert_eq!(marks, DrainMarks::default());
    }

    #[test]
    fn what_drains_on_a_server_counts_from_the_first_of_its_drains() {
        let spec = moved(&two_on_s1(), "d1", "s2");
        let mut marks = DrainMarks::default();
        marks.follow(&spec, &carried(&spec, [0, 0], [1000, 0]), 2000);
        let spec = moved(&spec, "d2", "s2");
        marks.follow(&spec, &carried(&spec, [0, 0], [3000, 0]), 3000);
        let now = carried(&spec, [0, 0], [3500, 0]);
        let of = marks.on_server(&spec, &"s1".to_owned(), &now).unwrap();
        assert_eq!((of.since_ms, of.bytes_max), (2000, 2500));
        assert_eq!(marks.on_server(&spec, &"s2".to_owned(), &now), None, "nothing drains there");
    }
}
