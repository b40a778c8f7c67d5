//! A host with programs of the lab on its interfaces: VLAN tags, tunnels, a veth's peer.

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode, tc};
use aya::{Ebpf, EbpfLoader};
use redirector_common::wire::Tags;
use redirector_ctl::platform::bpf::LAB_OBJECT;

use crate::data_path::GUE_PORT;
use crate::netns::Namespace;

/// What a host does with what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Nothing but tags.
    Plain,
    /// Takes packets out of tunnels.
    Unwraps,
}

/// A namespace and the programs on its interfaces, which go with this value.
pub struct EndHost {
    /// The namespace.
    pub namespace: Namespace,
    tags: Tags,
    programs: Vec<Ebpf>,
}

impl EndHost {
    /// A host whose frames are to have `tags`.
    pub fn new(namespace: Namespace, tags: Tags) -> Self {
        Self { namespace, tags, programs: Vec::new() }
    }

    /// The tags of what is attached from now on.
    pub fn set_tags(&mut self, tags: Tags) {
        self.tags = tags;
    }

    /// Attaches what an end host needs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tag(&mut self, interface: &str, programs: Programs) -> Result<()> {
        if programs == Programs::Unwraps {
            self.attach_xdp(interface, "unwrap_tunnels")?;
        }
        self.tag_kernel(interface)
    }

    /// Attaches one of the lab's XDP programs.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_xdp(&mut self, interface: &str, name: &str) -> Result<()> {
        self.programs.push(attach_xdp(&self.namespace, self.tags, interface, name)?);
        Ok(())
    }

    /// Puts tags on what the namespace's stack sends by an interface and takes them off what it
    /// gets.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tag_kernel(&mut self, interface: &str) -> Result<()> {
        let mut ebpf = load(self.tags)?;
        self.namespace.enter(|| {
            tc::qdisc_add_clsact(interface).context("add the clsact qdisc")?;
            let ways = [("push_tags", TcAttachType::Egress), ("pop_tags", TcAttachType::Ingress)];
            for (name, way) in ways {
                let program: &mut SchedClassifier = ebpf
                    .program_mut(name)
                    .with_context(|| format!("program {name}"))?
                    .try_into()?;
                program.load().with_context(|| format!("load {name}"))?;
                program.attach(interface, way).with_context(|| format!("attach {name}"))?;
            }
            Ok(())
        })?;
        self.programs.push(ebpf);
        Ok(())
    }
}

/// Attaches one of the lab's XDP programs to an interface of a namespace, until the value is
/// dropped.
///
/// # Errors
/// When the kernel refuses.
pub fn attach_xdp(namespace: &Namespace, tags: Tags, interface: &str, name: &str) -> Result<Ebpf> {
    let mut ebpf = load(tags)?;
    namespace.enter(|| {
        let program: &mut Xdp =
            ebpf.program_mut(name).with_context(|| format!("program {name}"))?.try_into()?;
        program.load()?;
        program.attach(interface, XdpMode::Driver)?;
        Ok(())
    })?;
    Ok(ebpf)
}

fn load(tags: Tags) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().load(LAB_OBJECT).context("load the lab's programs")?;
    for (name, value) in [("TAGS", tags.0), ("GUE_PORT", u32::from(GUE_PORT))] {
        let map = ebpf.map_mut(name).with_context(|| format!("map {name}"))?;
        let mut map: Array<&mut MapData, u32> = map.try_into()?;
        map.set(0, value, 0)?;
    }
    Ok(ebpf)
}
