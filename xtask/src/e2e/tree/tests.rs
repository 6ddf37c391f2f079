use std::path::{Path, PathBuf};

use super::{BIG, ODD_NAMES, Random, Size, difference, files, write, write_file};

const SIZE: Size = Size { files: 30, big_bytes: 100_003, medium_bytes: 70_001 };

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cairn-xtask-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_tree_is_the_same_for_the_same_seed() {
    let scratch = Scratch::new("seed");
    for (name, seed) in [("one", 1), ("same", 1), ("other", 2)] {
        write(&scratch.join(name), SIZE, seed).unwrap();
    }
    assert_eq!(difference(&scratch.join("one"), &scratch.join("same")).unwrap(), None);
    assert!(difference(&scratch.join("one"), &scratch.join("other")).unwrap().is_some());
    let files = files(&scratch.join("one")).unwrap();
    assert_eq!(files.get(Path::new(BIG)), Some(&100_003));
    assert_eq!(files.len(), 30 + 2 * ODD_NAMES.len() + 11);
}

#[test]
fn every_kind_of_difference_is_seen() {
    let scratch = Scratch::new("difference");
    let (one, other) = (scratch.join("one"), scratch.join("other"));
    let fill = |root: &Path| write_file(&root.join("d/file"), 2_000_000, &mut Random(1)).unwrap();
    fill(&one);
    fill(&other);
    let differ = || difference(&one, &other).unwrap();
    assert_eq!(differ(), None);

    let mut bytes = std::fs::read(other.join("d/file")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(other.join("d/file"), &bytes).unwrap();
    assert_eq!(differ().unwrap(), "d/file has other bytes");

    bytes.pop();
    std::fs::write(other.join("d/file"), &bytes).unwrap();
    assert_eq!(differ().unwrap(), "d/file has another length");

    fill(&other);
    std::fs::write(other.join("more"), "").unwrap();
    assert_eq!(differ().unwrap(), "more is in the second only (1 files, 2)");
    std::fs::rename(other.join("more"), one.join("more")).unwrap();
    assert_eq!(differ().unwrap(), "more is in the first only (2 files, 1)");
}
