//! Trees of files for tools to move: deterministic, with what trips tools and services (many small files, empty ones, odd names, names
//! that are prefixes of others, deep paths, one big file), and their comparison byte for byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::Size;

/// The path in the tree of the file that goes up and comes back once.
pub const BIG: &str = "big/one big file.bin";
/// The path in the tree of the file that is stored in several ways.
pub const MEDIUM: &str = "big/medium.bin";

/// Names that trip encoders of paths, URLs, XML and shells. Each is a file of its own.
const ODD_NAMES: &[&str] = &[
    "a",
    "a!",
    "a-b",
    "a.b",
    "a0",
    "ab",
    "a b",
    " starts and ends with a space ",
    "two  spaces",
    "plus+sign",
    "100%",
    "%2F",
    "a%20b",
    "%zz",
    "question?mark",
    "hash#tag",
    "amper&sand",
    "&amp;",
    "<xml>",
    "]]>",
    "quote\"s'",
    "back\\slash",
    "semi;colon",
    "co:lon",
    "equals=",
    "at@",
    "com,ma",
    "bang!",
    "(round)",
    "[square]",
    "{curly}",
    "*star",
    "~tilde",
    "$dollar",
    "`tick`",
    "|pipe",
    "^caret",
    "tab\there",
    ".hidden",
    "..two dots",
    "...",
    "-dash",
    "--delete",
    "caf\u{e9}",
    "\u{df}\u{17f}",
    "高山",
    "قمة",
    "🏔\u{fe0f} cairn",
    "\u{a0}",
    "\u{2028}",
    "UPPER",
    "upper",
    "nul",
    "con.txt",
];

/// Writes a tree of many small files, the odd names, and the two large files, the same for the same `seed`.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(root: &Path, size: Size, seed: u64) -> anyhow::Result<()> {
    let mut random = Random(seed);
    for number in 0..size.files {
        // Every seventh is empty; most are small, and a few cross the sizes at which services change their way of storing.
        let length = match number % 7 {
            0 => 0,
            6 => random.next() % 100_000,
            _ => random.next() % 6_000,
        };
        let path = root.join("small").join(format!("dir {:02}", number % 23)).join(format!("{number:05}.dat"));
        write_file(&path, length, &mut random)?;
    }
    for (number, name) in ODD_NAMES.iter().enumerate() {
        write_file(&root.join("odd").join(name), number as u64 * 17, &mut random)?;
        write_file(&root.join("odd directories").join(format!("{name} d")).join("file"), number as u64, &mut random)?;
    }
    // The same word in Unicode's two ways of writing it. In one directory rclone takes them for one file; services must not.
    write_file(&root.join("decomposed").join("cafe\u{301}"), 10, &mut random)?;
    // A directory between files whose names sort before and after its slash.
    for name in ["p-", "p.", "p/q", "p/q.d/r", "p0"] {
        write_file(&root.join("prefixes").join(name), 5, &mut random)?;
    }
    let deep: PathBuf = (0..40).map(|level| format!("level {level}")).collect();
    write_file(&root.join("deep").join(deep).join("file"), 100, &mut random)?;
    write_file(&root.join("long").join("n".repeat(240)), 100, &mut random)?;
    let long: PathBuf = (0..4).map(|_| "m".repeat(200)).collect();
    write_file(&root.join("long").join(long).join("file"), 100, &mut random)?;
    write_file(&root.join(MEDIUM), size.medium_bytes, &mut random)?;
    write_file(&root.join(BIG), size.big_bytes, &mut random)
}

/// Writes a file of `length` bytes, and the directories above it.
///
/// # Errors
/// Where it cannot be written.
pub fn write_file(path: &Path, length: u64, random: &mut Random) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(failed)?;
    }
    let mut file = BufWriter::with_capacity(1024 * 1024, File::create(path).with_context(failed)?);
    let mut left = length;
    while left >= 8 {
        file.write_all(&random.next().to_le_bytes()).with_context(failed)?;
        left -= 8;
    }
    let last = random.next().to_le_bytes();
    file.write_all(last.get(..usize::try_from(left)?).unwrap_or_default()).with_context(failed)?;
    file.flush().with_context(failed)
}

/// Two trees of files must hold the same names and the same bytes.
///
/// # Errors
/// Where they do not, with a difference; where a file cannot be read.
pub fn same(one: &Path, other: &Path) -> anyhow::Result<()> {
    match difference(one, other)? {
        Some(difference) => bail!("{} and {} differ: {difference}", one.display(), other.display()),
        None => Ok(()),
    }
}

/// What differs between two trees, in words; nothing where they hold the same files with the same bytes.
///
/// # Errors
/// Where a file cannot be read.
fn difference(one: &Path, other: &Path) -> anyhow::Result<Option<String>> {
    let (ones, others) = (files(one)?, files(other)?);
    if let Some(path) = ones.keys().find(|path| !others.contains_key(*path)) {
        return Ok(Some(format!("{} is in the first only ({} files, {})", path.display(), ones.len(), others.len())));
    }
    if let Some(path) = others.keys().find(|path| !ones.contains_key(*path)) {
        return Ok(Some(format!("{} is in the second only ({} files, {})", path.display(), ones.len(), others.len())));
    }
    for (path, length) in &ones {
        if others.get(path) != Some(length) {
            return Ok(Some(format!("{} has another length", path.display())));
        }
        if !same_bytes(&one.join(path), &other.join(path))? {
            return Ok(Some(format!("{} has other bytes", path.display())));
        }
    }
    Ok(None)
}

/// Whether two files hold the same bytes.
///
/// # Errors
/// Where one cannot be read.
pub fn same_bytes(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| File::open(path).with_context(|| format!("{} cannot be read", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut ones, mut others) = (vec![0; 1024 * 1024], vec![0; 1024 * 1024]);
    loop {
        let (from_one, from_other) = (fill(&mut one, &mut ones)?, fill(&mut other, &mut others)?);
        if ones.get(..from_one) != others.get(..from_other) {
            return Ok(false);
        }
        if from_one == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// The files below a directory, by their path from there, with their lengths.
///
/// # Errors
/// Where a directory cannot be read.
pub fn files(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| format!("{} cannot be read", directory.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                found.insert(entry.path().strip_prefix(root)?.to_path_buf(), entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// Numbers that look random and are the same for the same seed (splitmix64). For test data only.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;
