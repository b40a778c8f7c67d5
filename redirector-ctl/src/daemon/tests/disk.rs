//! A disk that fails, or is not there.

use super::*;
use crate::platform::clock::Stopwatch;
use crate::platform::store::StoreError;

#[tokio::test]
async fn a_write_that_fails_is_told_and_tried_again() {
    let (mut owner, _dir) = at_rest().await;
    owner.kernel.broken = true;
    let result = owner.change(&move_d1("s2"), None).await;
    assert!(matches!(result, Err(ChangeError::NotApplied { .. })), "{result:?}");
    assert!(owner.applied_generation < owner.spec.generation);
    let again = owner.change(&move_d1("s2"), None).await;
    assert!(matches!(again, Err(ChangeError::NotApplied { .. })), "asked again: {again:?}");
    owner.tick().await;
    owner.tick().await;
    let errors = kinds(&owner).iter().filter(|kind| **kind == EventKind::Error).count();
    assert_eq!(errors, 1, "told once");
    owner.kernel.broken = false;
    let again = owner.change(&move_d1("s2"), None).await;
    assert_eq!(again.unwrap().generation, owner.spec.generation, "asking tries it again");
    assert_eq!(owner.applied_generation, owner.spec.generation);
    assert_eq!(owner.kernel.image, Image::of(&owner.spec, &owner.observed));
}

#[tokio::test]
async fn without_a_disk_wishes_are_refused_and_failovers_are_made() {
    let (mut owner, dir) = at_rest().await;
    std::fs::remove_dir_all(dir.path()).unwrap();
    let before = owner.spec.clone();
    let wish = owner.change(&move_d1("s2"), None).await;
    assert!(matches!(wish, Err(ChangeError::Unavailable(_))), "{wish:?}");
    assert_eq!(owner.spec, before);
    kill(&mut owner, "s1").await;
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
    assert_eq!(owner.kernel.image, Image::of(&owner.spec, &owner.observed));
    let known = owner.change(&move_d1("s2"), None).await;
    assert!(
        matches!(known, Err(ChangeError::NotApplied { .. })),
        "in force, not on disk: {known:?}"
    );
    std::fs::create_dir_all(dir.path()).unwrap();
    owner.tick().await;
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
}

#[tokio::test]
async fn a_change_that_a_loss_of_power_may_undo_is_made_and_not_called_done() {
    let (mut owner, dir) = at_rest().await;
    let broken = |_: &_, _: &_| Err(std::io::Error::other("an error of the disk"));
    owner.store = Arc::new(opened_again(&mut owner, dir.path()).syncing(broken));
    let change = owner.change(&move_d1("s2"), None).await;
    assert!(matches!(change, Err(ChangeError::NotApplied { .. })), "{change:?}");
    assert_eq!(owner.spec.devices["d1"].association.server, "s2", "as a start would find it");
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
    owner.store = Arc::new(opened_again(&mut owner, dir.path()));
    owner.tick().await;
    let again = owner.change(&move_d1("s2"), None).await;
    assert_eq!(again.unwrap().generation, owner.spec.generation);
}

/// How long a lock is waited for.
const WITHIN: Duration = Duration::from_secs(10);

/// The owner's store, opened once more. A program that another test starts at this moment has the
/// lock too, from its fork to its exec.
pub(super) fn opened_again(owner: &mut Owner<Model>, dir: &Path) -> Store {
    let elsewhere = Store::open(tempfile::tempdir().unwrap().path()).unwrap();
    drop(std::mem::replace(&mut owner.store, Arc::new(elsewhere)));
    let watch = Stopwatch::start();
    loop {
        match Store::open(dir) {
            Err(StoreError::Locked(_)) if watch.elapsed() < WITHIN => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}
