//! Checks the files of an `lsm-tree` directory from outside, to say which of them is damaged.
//!
//! The library reports a bad checksum without the file, does not check the checksum of its list of files
//! when it opens, and takes a directory without the file `current` for a new one. Here the list is read and
//! checked again, in format version 3 of the library, whose exact release is pinned for this reason.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use super::KeyValueError;

const CURRENT: &str = "current";
const TABLES: &str = "tables";
const BLOBS: &str = "blobs";

/// A file which the store needs, with the checksum of all its bytes (XXH3, 128 bits).
struct Entry {
    file: PathBuf,
    checksum: u128,
}

fn io_error(file: &Path, source: io::Error) -> KeyValueError {
    KeyValueError::Io { file: file.to_owned(), source }
}

fn damaged(file: &Path, detail: impl Into<String>) -> KeyValueError {
    KeyValueError::Damaged { file: file.to_owned(), detail: detail.into() }
}

/// Checks that the list of files is whole and that every file in it exists, which takes about a microsecond
/// per file. A directory without a store is fine.
pub(super) fn check(directory: &Path) -> Result<(), KeyValueError> {
    for entry in entries(directory)? {
        match entry.file.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&entry.file, "the file is missing")),
            Err(error) => return Err(io_error(&entry.file, error)),
        }
    }
    Ok(())
}

/// Reads every file of the store and returns the error of the first damaged one. This takes as long as reading
/// the whole store, so it is only done once something was found to be wrong.
pub(super) fn locate_damage(directory: &Path) -> Option<KeyValueError> {
    let entries = match entries(directory) {
        Ok(entries) => entries,
        Err(error) => return Some(error),
    };
    for entry in entries {
        match checksum(&entry.file) {
            Ok(found) if found == entry.checksum => {}
            Ok(found) => {
                let detail = format!("its checksum is {found:032x} and should be {:032x}", entry.checksum);
                return Some(damaged(&entry.file, detail));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(damaged(&entry.file, "the file is missing"));
            }
            Err(error) => return Some(io_error(&entry.file, error)),
        }
    }
    None
}

fn checksum(file: &Path) -> io::Result<u128> {
    let mut opened = File::open(file)?;
    let mut buffer = vec![0; 1 << 18];
    let mut hasher = Xxh3::new();
    loop {
        match opened.read(&mut buffer)? {
            0 => return Ok(hasher.digest128()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<Entry>, KeyValueError> {
    let current = directory.join(CURRENT);
    let content = match std::fs::read(&current) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Without `current` the library would begin anew over the files of the store which was here.
            if has_files(&directory.join(TABLES))? {
                return Err(damaged(&current, "the file is missing"));
            }
            return Ok(Vec::new());
        }
        Err(error) => return Err(io_error(&current, error)),
    };
    let mut cursor = Cursor { file: &current, bytes: &content };
    let version = u64::from_le_bytes(cursor.take()?);
    let expected = u128::from_le_bytes(cursor.take()?);
    let list = directory.join(format!("v{version}"));
    match checksum(&list) {
        Ok(found) if found == expected => {}
        Ok(found) => {
            return Err(damaged(&list, format!("its checksum is {found:032x} and should be {expected:032x}")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&list, "the file is missing")),
        Err(error) => return Err(io_error(&list, error)),
    }

    let mut entries = Vec::new();
    let tables = section(&list, b"tables")?;
    let mut cursor = Cursor { file: &list, bytes: &tables };
    let [levels] = cursor.take()?;
    for _ in 0..levels {
        let [runs] = cursor.take()?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(cursor.take()?) {
                entries.push(cursor.entry(&directory.join(TABLES))?);
                let _sequence: [u8; 8] = cursor.take()?;
            }
        }
    }
    let blobs = section(&list, b"blob_files")?;
    let mut cursor = Cursor { file: &list, bytes: &blobs };
    for _ in 0..u32::from_le_bytes(cursor.take()?) {
        entries.push(cursor.entry(&directory.join(BLOBS))?);
    }
    Ok(entries)
}

fn has_files(directory: &Path) -> Result<bool, KeyValueError> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(directory, error)),
    }
}

/// The content of one section of a file in the archive format of the library.
fn section(file: &Path, name: &[u8]) -> Result<Vec<u8>, KeyValueError> {
    let reader = sfa::Reader::new(file).map_err(|error| match error {
        sfa::Error::Io(error) => io_error(file, error),
        error => damaged(file, format!("{error:?}")),
    })?;
    let section = reader
        .toc()
        .section(name)
        .ok_or_else(|| damaged(file, format!("section {} is missing", String::from_utf8_lossy(name))))?;
    let mut content = Vec::new();
    section.buf_reader(file).and_then(|mut reader| reader.read_to_end(&mut content)).map_err(|error| io_error(file, error))?;
    Ok(content)
}

struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], KeyValueError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| damaged(self.file, "it ends too early"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn entry(&mut self, directory: &Path) -> Result<Entry, KeyValueError> {
        let file = directory.join(u64::from_le_bytes(self.take()?).to_string());
        let [kind] = self.take()?;
        if kind != 0 {
            return Err(damaged(self.file, format!("it has the unknown kind of checksum {kind}")));
        }
        Ok(Entry { file, checksum: u128::from_le_bytes(self.take()?) })
    }
}
