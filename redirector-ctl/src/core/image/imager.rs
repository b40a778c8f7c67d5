//! Images one after the other: what depends on devices alone is taken from the image before for as
//! long as they stay as they are, so that a server's death costs the same with any number of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::observed::Observed;
use super::super::shared::Shared;
use super::super::spec::{Device, Name, Spec};
use super::Image;

/// Makes images.
#[derive(Debug, Default)]
pub struct Imager {
    last: Option<Last>,
}

/// The last image, and what all of it but the servers' lines was made of.
#[derive(Debug)]
struct Last {
    image: Image,
    devices: Shared<BTreeMap<Name, Device>>,
    epochs: Shared<BTreeMap<u32, u16>>,
    ends: Vec<(u16, IpAddr)>,
}

impl Imager {
    /// The same as [`Image::of`].
    pub fn image(&mut self, spec: &Spec, observed: &Observed) -> &Image {
        let ends: Vec<(u16, IpAddr)> =
            spec.servers.values().map(|server| (server.id, server.address)).collect();
        let kept = self.last.take().filter(|last| {
            let same_devices = last.devices.is_same(&spec.devices);
            same_devices && last.epochs.is_same(&spec.slots.epochs) && last.ends == ends
        });
        let image = match kept {
            Some(last) => Image { servers: Image::lines(spec, observed), ..last.image },
            None => Image::of(spec, observed),
        };
        let (devices, epochs) = (spec.devices.clone(), spec.slots.epochs.clone());
        &self.last.insert(Last { image, devices, epochs, ends }).image
    }
}
