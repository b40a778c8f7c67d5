//! Images one after the other: what depends on devices alone is taken from the image before for as
//! long as they stay as they are, so that a server's death costs the same with any number of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::observed::Observed;
use super::super::service::Tracking;
use super::super::shared::Shared;
use super::super::spec::{Device, Devices, Spec};
use super::{Image, settings, word};

/// Makes images.
#[derive(Debug, Default)]
pub struct Imager {
    last: Option<Last>,
}

/// The last image, and what all of it but the servers' lines was made of.
#[derive(Debug)]
struct Last {
    image: Image,
    devices: Devices,
    epochs: Shared<BTreeMap<u32, u16>>,
    ends: Vec<(u16, IpAddr)>,
}

impl Imager {
    /// The same as [`Image::of`].
    pub fn image(&mut self, spec: &Spec, observed: &Observed) -> &Image {
        let ends: Vec<(u16, IpAddr)> =
            spec.servers.values().map(|server| (server.id, server.address)).collect();
        let kept = self.last.take().filter(|last| last.ends == ends);
        let image = match kept.and_then(|last| last.followed(spec)) {
            Some(image) => Image { servers: Image::lines(spec, observed), ..image },
            None => Image::of(spec, observed),
        };
        let (devices, epochs) = (spec.devices.clone(), spec.slots.epochs.clone());
        &self.last.insert(Last { image, devices, epochs, ends }).image
    }
}

impl Last {
    /// The image with the words of devices that have only moved; None where more has changed.
    fn followed(self, spec: &Spec) -> Option<Image> {
        let mut image = self.image;
        if self.devices.is_same(&spec.devices) {
            return self.epochs.is_same(&spec.slots.epochs).then_some(image);
        }
        for (_, was, is) in self.devices.differing(&spec.devices, |was, is| was == is) {
            let (was, is) = was.zip(is)?;
            if !has_only_moved(was, is) {
                return None;
            }
            image.words.insert(is.id, word(spec, is));
        }
        Some(image)
    }
}

/// Whether nothing of a device differs but what its word says.
fn has_only_moved(was: &Device, is: &Device) -> bool {
    let is_tracked = |device: &Device| {
        device.tracking != Tracking::Stateless || !device.association.drains.is_empty()
    };
    was.id == is.id
        && settings(was) == settings(is)
        && was.all_ports() == is.all_ports()
        && was.all_server_ports() == is.all_server_ports()
        && is_tracked(was) == is_tracked(is)
        && was.forwarding.is_direct() == is.forwarding.is_direct()
        && was.serving().eq(is.serving())
}
