//! Pinned tables keep the size they were made with, whatever the configuration says later.

use std::path::Path;

use anyhow::Result;
use redirector_ctl::platform::bpf::{AttachError, AttachOptions, TableLimits, attach, detach};
use redirector_ctl::platform::tables::Gateway;
use redirector_tests::data_path::program::SMALL;
use redirector_tests::data_path::{TCP, topology};
use redirector_tests::redirector::Bpffs;
use redirector_tests::run::Run;

fn options(bpffs_dir: &Path, limits: TableLimits) -> AttachOptions {
    AttachOptions {
        bpffs_dir: bpffs_dir.to_owned(),
        interfaces: Vec::new(),
        limits,
        gateway: Gateway::default(),
    }
}

#[test]
fn smaller_limits_find_everything_in_larger_tables_and_larger_ones_are_refused() -> Result<()> {
    let run = Run::new()?;
    let bpffs = Bpffs::mount(&run)?;
    let dir = bpffs.dir().join("redirector");
    let (mut tables, _) = attach(&options(&dir, SMALL))?;
    for op in topology(3, 8, TCP) {
        tables.apply(&op)?;
    }
    let made = tables.content()?;
    drop(tables);

    let fewer = TableLimits { devices_max: 4, flows_max: 128, ..SMALL };
    let (tables, _) = attach(&options(&dir, fewer))?;
    assert_eq!(tables.content()?, made);
    assert_eq!(tables.counters()?.devices.len(), 8);
    drop(tables);

    let more = TableLimits { devices_max: SMALL.devices_max + 1, ..SMALL };
    match attach(&options(&dir, more)).map(|_| ()) {
        Err(AttachError::TooSmall { field, made, .. }) => {
            assert_eq!((field, made), ("devices_max", SMALL.devices_max));
        }
        other => anyhow::bail!("larger tables were not refused: {other:?}"),
    }
    assert!(!detach(&dir)?.is_empty());
    attach(&options(&dir, more))?;
    Ok(())
}
