use super::*;

fn put(key: u64, offset: u64) -> IndexEntry {
    IndexEntry { key, offset, deleted: false }
}

fn deleted(key: u64) -> IndexEntry {
    IndexEntry { key, offset: 1, deleted: true }
}

fn keys(replay: Replay) -> (Vec<u64>, Option<u64>) {
    let window = replay.window(1, Arc::new([]));
    (window.needles.iter().map(|needle| needle.key).collect(), window.until)
}

#[test]
fn entries_are_cut_wherever_pieces_end() {
    let entry = |key: u8| [&[0, 0, 0, 0, 0, 0, 0, key, 0, 0, 0, key, 0][..], &[0, 0, 0, 99]].concat();
    let bytes: Vec<u8> = (1..=9).flat_map(entry).collect();
    for size in 1..=bytes.len() {
        let mut parser = Parser::new(5);
        let mut seen = Vec::new();
        bytes.chunks(size).for_each(|piece| parser.take(piece, |entry| seen.push((entry.key, entry.offset))));
        assert_eq!(seen, (1..=9).map(|key| (key, key * 8)).collect::<Vec<_>>(), "in pieces of {size}");
        assert!(parser.rest.is_empty());
    }
    let mut parser = Parser::new(4);
    parser.take(&bytes[..20], |_| {});
    assert_eq!(parser.rest.len(), 4, "an entry of the other length would be seen");
}

#[test]
fn what_was_deleted_is_left_out() {
    let mut replay = Replay::new(2, 100);
    for entry in [put(5, 10), put(1, 20), put(3, 30), deleted(5), put(4, 40), deleted(77)] {
        replay.add(entry);
    }
    assert_eq!(keys(replay), (vec![3, 4], None));
}

/// Whatever the bound, windows one after the other give each live key once.
#[test]
fn windows_meet() {
    let entries: Vec<IndexEntry> = (1..200)
        .map(|number| put(number * 37 % 211, number))
        .chain((1..200).filter(|number| number % 3 == 0).map(|number| deleted(number * 37 % 211)))
        .collect();
    let mut expected: Vec<u64> = (1..200).filter(|number| number % 3 != 0).map(|number| number * 37 % 211).collect();
    expected.sort_unstable();
    for most in [1, 2, 7, 100, 1_000] {
        let mut seen = Vec::new();
        let mut from = 1;
        loop {
            let mut replay = Replay::new(from, most);
            for entry in &entries {
                replay.add(*entry);
            }
            let (window, until) = keys(replay);
            seen.extend(window);
            match until {
                Some(until) => from = until,
                None => break,
            }
        }
        assert_eq!(seen, expected, "at most {most} at a time");
    }
}

/// What only one copy of a volume holds is listed too, and what one deleted and the other did not.
#[test]
fn copies_are_taken_together() {
    let mut replay = Replay::new(1, 100);
    replay.begin(0);
    for entry in [put(1, 10), put(2, 20), put(3, 30), deleted(3)] {
        replay.add(entry);
    }
    replay.begin(1);
    for entry in [put(1, 15), put(3, 35), put(4, 45), deleted(2)] {
        replay.add(entry);
    }
    let window = replay.window(1, Arc::new([]));
    let needles: Vec<_> = window.needles.iter().map(|needle| (needle.key, needle.offset, needle.server)).collect();
    assert_eq!(needles, [(1, 10, 0), (2, 20, 0), (3, 35, 1), (4, 45, 1)]);
}

#[test]
fn a_window_serves_what_it_covers() {
    let window =
        Window { volume: 3, servers: Arc::new([]), revisions: Vec::new(), from: 10, until: Some(20), needles: Vec::new() };
    assert!(window.holds(3, 10) && window.holds(3, 19));
    assert!(!window.holds(3, 9) && !window.holds(3, 20) && !window.holds(4, 10));
}
