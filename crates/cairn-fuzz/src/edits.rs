//! What may happen to files while nobody looks: an input as a list of changes to copies of valid ones, and which of their bytes were hit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::reader::Reader;

/// Files with their content, by their path.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The unit in which an input names places, bytes: a sector.
const UNIT: usize = 512;
/// The most changes of one input.
const EDITS_MAX: usize = 24;
/// The longest that a file grows to, bytes.
const LENGTH_MAX: usize = 256 * 1024;

/// What the changes are made of.
pub struct Source<'a> {
    /// The files as they are.
    pub pristine: &'a Files,
    /// The same directory at an earlier time: what a write that was lost, or a backup, leaves.
    pub earlier: &'a Files,
    /// Names that a file may get besides those that there are.
    pub names: &'a [&'a str],
    /// Puts the right checksums to what stands at a place. Where it is given, an input also writes bytes of its own: it may forge. Where it
    /// is not, bytes are only lost, flipped, filled with one value and moved about: no checksum comes out right by that.
    pub reseal: Option<fn(&mut [u8], usize)>,
}

/// The files after it.
pub struct Edited {
    /// As they are now.
    pub files: Files,
    /// Bytes of the files of this path that are not what they were.
    hit: BTreeMap<PathBuf, Vec<Range<usize>>>,
    /// Files that were removed, replaced or given another name.
    gone: BTreeSet<PathBuf>,
}

impl Edited {
    /// Whether this file has any byte that may not be what it was.
    #[must_use]
    pub fn is_touched(&self, file: &Path) -> bool {
        self.hit.contains_key(file) || self.gone.contains(file)
    }

    /// Whether one of these bytes of the file may not be what it was.
    #[must_use]
    pub fn is_hit(&self, file: &Path, range: &Range<usize>) -> bool {
        let meets = |hit: &Range<usize>| hit.start < range.end && range.start < hit.end;
        self.gone.contains(file) || self.hit.get(file).is_some_and(|hits| hits.iter().any(meets))
    }

    /// Whether this file was removed, replaced or given another name.
    #[must_use]
    pub fn is_gone(&self, file: &Path) -> bool {
        self.gone.contains(file)
    }
}

/// Makes the changes that the input describes.
#[must_use]
pub fn edit(source: &Source<'_>, input: &[u8]) -> Edited {
    let mut edited = Edited { files: source.pristine.clone(), hit: BTreeMap::new(), gone: BTreeSet::new() };
    let mut reader = Reader::new(input);
    for _ in 0..EDITS_MAX {
        if reader.is_empty() {
            break;
        }
        change(source, &mut edited, &mut reader);
    }
    edited
}

fn chosen(files: &Files, number: u8) -> Option<PathBuf> {
    files.keys().nth(usize::from(number).checked_rem(files.len())?).cloned()
}

/// A place in a file of this length: a sector, counted from the end where the number is high, and a byte in it.
fn place(reader: &mut Reader<'_>, length: usize) -> usize {
    let (unit, within) = (usize::from(reader.u8()), usize::from(reader.u16()) % UNIT);
    let units = length.div_ceil(UNIT).max(1);
    let unit = if unit < 128 { unit % units } else { units - 1 - (255 - unit) % units };
    (unit * UNIT + within).min(length)
}

fn change(source: &Source<'_>, edited: &mut Edited, reader: &mut Reader<'_>) {
    let (kind, number) = (reader.u8() % 12, reader.u8());
    let Some(path) = chosen(&edited.files, number) else { return };
    let other = |reader: &mut Reader<'_>| {
        let (which, number) = (reader.u8(), reader.u8());
        let from = if which % 2 == 0 { source.pristine } else { source.earlier };
        let name = if which % 4 < 2 { Some(path.clone()) } else { chosen(from, number) };
        name.and_then(|name| from.get(&name)).cloned().unwrap_or_default()
    };
    let Some(bytes) = edited.files.get_mut(&path) else { return };
    let before = bytes.len();
    let hit = match kind {
        0 | 1 => {
            let (at, bit) = (place(reader, before), reader.u8());
            bytes.get_mut(at).map(|byte| {
                *byte ^= 1 << (bit % 8);
                at..at + 1
            })
        }
        2 => {
            let (at, length, value) = (place(reader, before), usize::from(reader.u16()), reader.u8());
            let end = (at + length).min(before);
            // Most often nothing but zeros.
            bytes[at..end].fill(if value < 200 { 0 } else { value });
            Some(at..end)
        }
        3 => {
            let at = place(reader, before);
            bytes.truncate(at);
            Some(at..before)
        }
        4 => {
            bytes.resize((before + usize::from(reader.u16())).min(LENGTH_MAX.max(before)), 0);
            Some(before..bytes.len())
        }
        5 | 6 => {
            let (at, other) = (place(reader, before), other(reader));
            let from = if kind == 5 { at.min(other.len()) } else { place(reader, other.len()) };
            let length = usize::from(reader.u16()).min(other.len() - from).min(before - at);
            bytes[at..at + length].copy_from_slice(&other[from..from + length]);
            Some(at..at + length)
        }
        7 => {
            *bytes = other(reader);
            edited.gone.insert(path.clone());
            None
        }
        8 => {
            edited.files.remove(&path);
            edited.gone.insert(path.clone());
            None
        }
        9 => {
            let (which, is_copy) = (reader.u8(), reader.u8().is_multiple_of(2));
            rename(source, edited, &path, which, is_copy);
            None
        }
        10 if source.reseal.is_some() => {
            let (at, length) = (place(reader, before), usize::from(reader.u8() % 65));
            let length = length.min(before - at);
            for byte in &mut bytes[at..at + length] {
                *byte = reader.u8();
            }
            Some(at..at + length)
        }
        11 => source.reseal.map(|reseal| {
            let at = place(reader, before);
            reseal(bytes, at);
            0..before
        }),
        _ => None,
    };
    if let Some(hit) = hit.filter(|hit| !hit.is_empty()) {
        edited.hit.entry(path).or_default().push(hit);
    }
}

fn rename(source: &Source<'_>, edited: &mut Edited, path: &Path, which: u8, is_copy: bool) {
    let names: Vec<PathBuf> = source.names.iter().map(PathBuf::from).chain(source.pristine.keys().cloned()).collect();
    let Some(name) = usize::from(which).checked_rem(names.len()).and_then(|at| names.get(at)) else { return };
    let content = if is_copy { edited.files.get(path).cloned() } else { edited.files.remove(path) };
    if !is_copy {
        edited.gone.insert(path.to_path_buf());
    }
    edited.gone.insert(name.clone());
    edited.files.insert(name.clone(), content.unwrap_or_default());
}
