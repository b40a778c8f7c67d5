//! What is read of what was written, in whatever state a crash has left it.

use super::*;

fn state(generation: u64) -> State {
    let spec = Spec { generation, ..Spec::default() };
    State { spec, announced: vec!["clients0 10.0.1.100".into()].into(), ..State::default() }
}

/// A directory whose state was written whole, and what it was.
fn written() -> (tempfile::TempDir, Store, Last) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut last = Last::default();
    store.save(&state(7), &mut last).unwrap();
    (dir, store, last)
}

/// The same with two lines in the journal. Gives its path.
fn continued() -> (tempfile::TempDir, Store, PathBuf) {
    let (dir, store, mut last) = written();
    store.save(&state(8), &mut last).unwrap();
    store.save(&state(9), &mut last).unwrap();
    let path = dir.path().join(JOURNAL_FILE);
    (dir, store, path)
}

fn loaded(store: &Store) -> Option<State> {
    store.load().unwrap().map(|(state, _)| state)
}

#[test]
fn what_was_saved_is_loaded() {
    let (_dir, store, mut last) = written();
    for generation in [7, 8, 9] {
        store.save(&state(generation), &mut last).unwrap();
        assert_eq!(loaded(&store), Some(state(generation)));
    }
}

#[test]
fn a_change_is_a_line_beside_a_state_file_that_stays_as_it_is() {
    let (dir, store, mut last) = written();
    let whole = fs::read(dir.path().join(STATE_FILE)).unwrap();
    let lines = || fs::read_to_string(dir.path().join(JOURNAL_FILE)).unwrap().lines().count();
    store.save(&state(8), &mut last).unwrap();
    assert_eq!(lines(), 2, "the first one says what is continued");
    store.save(&state(8), &mut last).unwrap();
    assert_eq!(lines(), 2, "nothing is another");
    let mut other = state(9);
    other.announced = vec!["clients0 10.0.1.101".into()].into();
    store.save(&other, &mut last).unwrap();
    assert_eq!(lines(), 3);
    assert_eq!(fs::read(dir.path().join(STATE_FILE)).unwrap(), whole);
    assert_eq!(loaded(&store), Some(other));
}

#[test]
fn who_starts_anew_goes_on_with_the_journal() {
    let (dir, store, path) = continued();
    let (found, mut last) = store.load().unwrap().unwrap();
    assert_eq!(found, state(9));
    store.save(&state(10), &mut last).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 4);
    assert_eq!(read(dir.path()).unwrap(), Some(state(10)));
}

#[test]
fn a_journal_as_long_as_it_may_be_gives_way_to_a_state_file() {
    let (dir, store, mut last) = written();
    let (path, whole) = (dir.path().join(JOURNAL_FILE), dir.path().join(STATE_FILE));
    let before = fs::read(&whole).unwrap();
    let long = |generation: u64| {
        let text = format!("clients0 {}", "1".repeat(400_000 + generation as usize));
        State { announced: vec![text].into(), ..state(generation) }
    };
    let mut longest = 0;
    for generation in 8..20 {
        store.save(&long(generation), &mut last).unwrap();
        longest = longest.max(path.metadata().map_or(0, |file| file.len()));
        assert_eq!(loaded(&store), Some(long(generation)));
    }
    assert_ne!(fs::read(&whole).unwrap(), before, "it was written anew");
    assert!((1..=JOURNAL_LEN_MIN).contains(&longest), "{longest} bytes");
}

#[test]
fn a_journal_cut_at_any_length_is_what_was_whole_of_it() {
    let (_dir, store, path) = continued();
    let text = fs::read(&path).unwrap();
    let ends: Vec<usize> =
        text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(n, _)| n + 1).collect();
    for len in ends[0]..text.len() {
        fs::write(&path, &text[..len]).unwrap();
        let whole = ends.iter().filter(|end| **end <= len).count();
        let (found, mut last) = store.load().unwrap().unwrap();
        assert_eq!(found, state(6 + whole as u64), "cut at {len}");
        // What comes next must not follow half a line.
        store.save(&state(20), &mut last).unwrap();
        assert_eq!(loaded(&store), Some(state(20)), "cut at {len}");
        continued_again(&store, &path, &text);
    }
}

/// Puts the state file and the journal back.
fn continued_again(store: &Store, path: &Path, text: &[u8]) {
    let Whole { format, seed, spec, announced, .. } =
        parse(path, &fs::read(store.dir.join(STATE_FILE)).unwrap()).unwrap();
    let spec = Spec { generation: 7, ..spec };
    let whole = Whole { format, serial: 1, seed, spec, announced };
    fs::write(store.dir.join(STATE_FILE), serde_json::to_vec(&whole).unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_line_in_the_middle_that_is_not_what_was_written_is_refused_with_a_remedy() {
    let (_dir, store, path) = continued();
    let text = fs::read(&path).unwrap();
    let last = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for at in 0..last {
        let mut damaged = text.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let error = store.load().unwrap_err();
        assert!(matches!(error, StoreError::JournalDamaged { .. }), "at {at}: {error}");
        let told = error.to_string();
        assert!(told.contains("state.journal is damaged"), "{told}");
        assert!(told.contains("move it away to start from state.json alone"), "{told}");
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&path, [lines[0], lines[2]].concat()).unwrap();
    assert!(store.load().unwrap_err().to_string().contains("number 2, not 1"), "a line is missing");
}

#[test]
fn the_journal_of_an_earlier_state_file_is_over_and_that_of_a_later_one_refused() {
    let (dir, store, path) = continued();
    let (journal, whole) = (fs::read(&path).unwrap(), dir.path().join(STATE_FILE));
    let first = fs::read(&whole).unwrap();
    store.save(&state(12), &mut Last::default()).unwrap();
    assert!(!path.exists());
    // A crash between the state file's rename and the journal's end.
    fs::write(&path, &journal).unwrap();
    let (found, mut last) = store.load().unwrap().unwrap();
    assert_eq!(found, state(12));
    store.save(&state(13), &mut last).unwrap();
    assert_eq!(loaded(&store), Some(state(13)));
    // Somebody puts a copy of the first state file back, beside the journal of the second.
    fs::write(&whole, first).unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, StoreError::JournalDamaged { .. }), "{error}");
}

#[test]
fn a_journal_that_was_moved_away_under_the_daemon_costs_a_whole_write_and_no_change() {
    let (_dir, store, path) = continued();
    let (_, mut last) = store.load().unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    store.save(&state(10), &mut last).unwrap();
    assert_eq!(loaded(&store), Some(state(10)));
}

#[test]
fn a_state_of_the_first_format_is_read_and_written_in_the_present_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let path = dir.path().join(STATE_FILE);
    let text = r#"{"format":1,"seed":{"servers":[],"devices":[]},
        "spec":{"generation":7,"servers":{},"devices":{}},"announced":["clients0 10.0.1.100"]}"#;
    let text =
        text.replace("\"devices\":{}", r#""devices":{},"slots":{"incarnations":{},"epochs":{}}"#);
    fs::write(&path, text).unwrap();
    let (found, mut last) = store.load().unwrap().unwrap();
    assert_eq!(found, state(7));
    store.save(&found, &mut last).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("{\"format\":2,"));
    assert_eq!(loaded(&store), Some(state(7)));
}

#[test]
fn without_a_file_there_is_no_state() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Store::open(dir.path()).unwrap().load().unwrap().is_none());
}

#[test]
fn a_file_cut_at_any_length_is_an_error_that_names_it() {
    let (dir, store, _) = written();
    let path = dir.path().join(STATE_FILE);
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let error = store.load().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "cut at {len}: {error}");
        assert!(error.to_string().contains("state.json is damaged"), "cut at {len}: {error}");
    }
}

#[test]
fn garbage_and_unknown_fields_are_errors() {
    let (dir, store, _) = written();
    for text in ["\0\0\0", "[]", "{\"format\":1}", "{\"format\":1,\"spec\":{},\"x\":1}"] {
        fs::write(dir.path().join(STATE_FILE), text).unwrap();
        assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "{text:?}");
    }
}

#[test]
fn another_format_is_refused_with_its_number() {
    let (dir, store, _) = written();
    fs::write(dir.path().join(STATE_FILE), "{\"format\":3,\"spec\":{}}").unwrap();
    let error = store.load().unwrap_err();
    assert!(matches!(error, StoreError::OtherFormat { found: 3, .. }), "{error}");
}

#[test]
fn left_over_temporary_files_are_no_state() {
    let (dir, store, mut last) = written();
    for file in [TEMPORARY_FILE, "state.journal.new"] {
        fs::write(dir.path().join(file), "half a sta").unwrap();
    }
    assert_eq!(loaded(&store), Some(state(7)));
    store.save(&state(8), &mut last).unwrap();
    assert_eq!(loaded(&store), Some(state(8)));
}

#[test]
fn what_cannot_be_synced_is_told_apart_from_a_state_that_was_not_saved() {
    let ((_first, with_journal, mut goes_on), (_second, without, begins)) = (written(), written());
    with_journal.save(&state(8), &mut goes_on).unwrap();
    let (_third, anew, _) = written();
    for (store, mut last) in [(with_journal, goes_on), (without, begins), (anew, Last::default())] {
        let store = store.syncing(|_, _| Err(io::Error::other("an error of the disk")));
        let error = store.save(&state(9), &mut last).unwrap_err();
        assert!(matches!(error, StoreError::Unsynced { .. }), "{error}");
        assert_eq!(loaded(&store), Some(state(9)), "the new state is there");
        assert!(last.0.is_none(), "the next write is a whole one");
    }
}

#[test]
fn what_a_start_finds_is_synced_before_anything_rests_on_it() {
    let (_dir, store, _) = continued();
    let store = store.syncing(|_, _| Err(io::Error::other("an error of the disk")));
    let (found, last) = store.load().unwrap().unwrap();
    assert_eq!(found, state(9));
    assert!(last.0.is_none(), "the next write is a whole one, and tells");
}

#[test]
fn two_daemons_cannot_share_a_directory() {
    let (dir, _store, _) = written();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked(_))));
}
