//! What is on the simulated disks: now, and after power loss.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use cairn_disk::SECTOR_BYTES;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(super) type Inode = u64;

pub(super) struct State {
    pub(super) random: ChaCha8Rng,
    files: BTreeMap<Inode, FileNode>,
    directories: BTreeMap<Inode, DirectoryNode>,
    inode_next: Inode,
    root: Inode,
    mounts: BTreeMap<PathBuf, Mount>,
    device_next: u64,
}

#[derive(Clone)]
struct Mount {
    device: u64,
    capacity_bytes: Option<u64>,
}

#[derive(Default)]
struct FileNode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Change>,
    /// Ranges given back by `punch_hole` and not written since: they take no space.
    punched_bytes: u64,
    links: u64,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Bytes },
    Zero { offset: u64, length: u64 },
    Length(u64),
}

#[derive(Default)]
struct DirectoryNode {
    current: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<NameChange>,
    links: u64,
}

#[derive(Clone)]
struct NameChange {
    remove: Option<String>,
    add: Option<(String, Inode)>,
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX);
            let end = start + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Change::Zero { offset, length } => {
            let start = usize::try_from(*offset).unwrap_or(usize::MAX).min(content.len());
            let end = usize::try_from(offset + length).unwrap_or(usize::MAX).min(content.len());
            content[start..end].fill(0);
        }
        Change::Length(length) => content.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
    }
}

/// Cuts a change at sector boundaries: each piece survives or is lost on its own.
fn sectors(change: &Change) -> Vec<Change> {
    match change {
        Change::Write { offset, bytes } => {
            let mut pieces = Vec::new();
            let mut from = 0;
            while from < bytes.len() {
                let position = offset + from as u64;
                let to_boundary = usize::try_from(SECTOR_BYTES - position % SECTOR_BYTES).unwrap_or(1);
                let to = bytes.len().min(from + to_boundary);
                pieces.push(Change::Write { offset: position, bytes: bytes.slice(from..to) });
                from = to;
            }
            pieces
        }
        other => vec![other.clone()],
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let root = 2;
        let mut mounts = BTreeMap::new();
        mounts.insert(PathBuf::from("/"), Mount { device: 1, capacity_bytes: None });
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            files: BTreeMap::new(),
            directories: BTreeMap::from([(root, DirectoryNode { links: 1, ..DirectoryNode::default() })]),
            inode_next: 3,
            root,
            mounts,
            device_next: 2,
        }
    }

    pub(super) fn lose_power(&mut self) {
        let random = &mut self.random;
        for file in self.files.values_mut() {
            let pending = std::mem::take(&mut file.pending);
            // Four kinds of fate, so that seeds visit the extremes as well as the middle.
            match random.random_range(0..4) {
                0 => {}
                1 => {
                    // A prefix of the changes, the last of them torn.
                    let kept = random.random_range(0..=pending.len());
                    for (number, change) in pending.iter().take(kept).enumerate() {
                        for piece in sectors(change) {
                            if number + 1 < kept || random.random_bool(0.5) {
                                apply(&mut file.durable, &piece);
                            }
                        }
                    }
                }
                2 => pending.iter().for_each(|change| apply(&mut file.durable, change)),
                _ => {
                    for piece in pending.iter().flat_map(sectors) {
                        if random.random_bool(0.5) {
                            apply(&mut file.durable, &piece);
                        }
                    }
                }
            }
            file.current.clone_from(&file.durable);
            file.links = 0;
        }
        for directory in self.directories.values_mut() {
            let pending = std::mem::take(&mut directory.pending);
            let kept = random.random_range(0..=pending.len());
            for change in pending.iter().take(kept) {
                change.apply(&mut directory.durable);
            }
            directory.current.clone_from(&directory.durable);
            directory.links = 0;
        }
        // What no name leads to any more is gone.
        let mut reached = vec![self.root];
        while let Some(inode) = reached.pop() {
            let Some(directory) = self.directories.get_mut(&inode) else {
                continue;
            };
            directory.links += 1;
            if directory.links > 1 {
                continue;
            }
            for child in directory.current.values() {
                if let Some(file) = self.files.get_mut(child) {
                    file.links += 1;
                } else {
                    reached.push(*child);
                }
            }
        }
        self.files.retain(|_, file| file.links > 0);
        self.directories.retain(|_, directory| directory.links > 0);
    }

    fn lookup(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = self.root;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let directory = self.directories.get(&inode).ok_or(io::ErrorKind::NotADirectory)?;
                    inode = *directory.current.get(name.to_string_lossy().as_ref()).ok_or_else(not_found)?;
                }
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(inode)
    }

    fn parent_of(&self, path: &Path) -> io::Result<(Inode, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let parent = self.lookup(path.parent().unwrap_or(Path::new("/")))?;
        if !self.directories.contains_key(&parent) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((parent, name))
    }

    fn change_names(&mut self, directory: Inode, change: NameChange) {
        if let Some(directory) = self.directories.get_mut(&directory) {
            change.apply(&mut directory.current);
            directory.pending.push(change);
        }
    }

    fn unlink(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.links = file.links.saturating_sub(1);
        }
    }

    fn mount_of(&self, path: &Path) -> &Mount {
        let mut best = None;
        for (prefix, mount) in &self.mounts {
            if path.starts_with(prefix) {
                best = Some(mount);
            }
        }
        best.unwrap_or_else(|| unreachable!("the root is always mounted"))
    }

    pub(super) fn metadata(&self, path: &Path) -> io::Result<cairn_disk::Metadata> {
        let inode = self.lookup(path)?;
        let mut metadata = self.metadata_of(inode)?;
        metadata.device = self.mount_of(path).device;
        Ok(metadata)
    }

    pub(super) fn metadata_of(&self, inode: Inode) -> io::Result<cairn_disk::Metadata> {
        let (length, links, is_directory) = match (self.files.get(&inode), self.directories.get(&inode)) {
            (Some(file), _) => (file.current.len() as u64, file.links, false),
            (None, Some(directory)) => (0, directory.links, true),
            (None, None) => return Err(not_found()),
        };
        Ok(cairn_disk::Metadata { length, device: 0, inode, links, is_directory })
    }

    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<Inode> {
        match self.lookup(path) {
            Ok(_) if create => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(inode) if self.files.contains_key(&inode) => Ok(inode),
            Ok(_) => Err(io::ErrorKind::IsADirectory.into()),
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = self.parent_of(path)?;
                let inode = self.inode_next;
                self.inode_next += 1;
                self.files.insert(inode, FileNode { links: 1, ..FileNode::default() });
                self.change_names(parent, NameChange { remove: None, add: Some((name, inode)) });
                Ok(inode)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn read_directory(&self, path: &Path) -> io::Result<Vec<String>> {
        let inode = self.lookup(path)?;
        let directory = self.directories.get(&inode).ok_or(io::ErrorKind::NotADirectory)?;
        Ok(directory.current.keys().cloned().collect())
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let mut built = PathBuf::from("/");
        for component in path.components().filter(|component| matches!(component, Component::Normal(_))) {
            built.push(component);
            match self.lookup(&built) {
                Ok(inode) if self.directories.contains_key(&inode) => {}
                Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let (parent, name) = self.parent_of(&built)?;
                    let inode = self.inode_next;
                    self.inode_next += 1;
                    self.directories.insert(inode, DirectoryNode { links: 1, ..DirectoryNode::default() });
                    self.change_names(parent, NameChange { remove: None, add: Some((name, inode)) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.lookup(from)?;
        let (from_parent, from_name) = self.parent_of(from)?;
        let (to_parent, to_name) = self.parent_of(to)?;
        if let Ok(replaced) = self.lookup(to) {
            if replaced == inode {
                return Ok(());
            }
            if self.directories.get(&replaced).is_some_and(|directory| !directory.current.is_empty()) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            self.unlink(replaced);
        }
        if from_parent == to_parent {
            self.change_names(from_parent, NameChange { remove: Some(from_name), add: Some((to_name, inode)) });
        } else {
            self.change_names(to_parent, NameChange { remove: None, add: Some((to_name, inode)) });
            self.change_names(from_parent, NameChange { remove: Some(from_name), add: None });
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.lookup(path)?;
        if self.directories.contains_key(&inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (parent, name) = self.parent_of(path)?;
        self.change_names(parent, NameChange { remove: Some(name), add: None });
        self.unlink(inode);
        Ok(())
    }

    pub(super) fn remove_directory_all(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.lookup(path)?;
        let (parent, name) = self.parent_of(path)?;
        self.unlink_below(inode);
        self.change_names(parent, NameChange { remove: Some(name), add: None });
        Ok(())
    }

    fn unlink_below(&mut self, inode: Inode) {
        let children: Vec<(String, Inode)> = match self.directories.get(&inode) {
            Some(directory) => directory.current.iter().map(|(name, child)| (name.clone(), *child)).collect(),
            None => return self.unlink(inode),
        };
        for (name, child) in children {
            self.unlink_below(child);
            self.change_names(inode, NameChange { remove: Some(name), add: None });
        }
    }

    /// The names in this directory that are not durable yet, or not durably gone; none for a file.
    pub(super) fn unsynced_names(&self, path: &Path) -> Vec<&str> {
        let directory = self.lookup(path).ok().and_then(|inode| self.directories.get(&inode));
        let changes = directory.into_iter().flat_map(|directory| &directory.pending);
        changes
            .flat_map(|change| change.remove.as_deref().into_iter().chain(change.add.as_ref().map(|(name, _)| name.as_str())))
            .collect()
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.lookup(path)?;
        let directory = self.directories.get_mut(&inode).ok_or(io::ErrorKind::NotADirectory)?;
        directory.durable.clone_from(&directory.current);
        directory.pending.clear();
        Ok(())
    }

    pub(super) fn read(&self, inode: Inode, offset: u64, length: usize) -> io::Result<Bytes> {
        let file = self.files.get(&inode).ok_or_else(not_found)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.current.len());
        let end = start.saturating_add(length).min(file.current.len());
        Ok(Bytes::copy_from_slice(&file.current[start..end]))
    }

    /// Space taken on the file system that holds `path`, bytes.
    fn used_bytes(&self, path: &Path) -> u64 {
        let device = self.mount_of(path).device;
        self.files(Path::new("/"))
            .iter()
            .filter(|(name, _)| self.mount_of(name).device == device)
            .filter_map(|(name, length)| {
                let file = self.files.get(&self.lookup(name).ok()?)?;
                Some(length.saturating_sub(file.punched_bytes))
            })
            .sum()
    }

    pub(super) fn free_bytes(&self, path: &Path) -> u64 {
        let capacity = self.mount_of(path).capacity_bytes;
        capacity.map_or(u64::MAX / 2, |capacity| capacity.saturating_sub(self.used_bytes(path)))
    }

    pub(super) fn write(&mut self, inode: Inode, path: &Path, offset: u64, pieces: &[Bytes]) -> io::Result<()> {
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let file = self.files.get(&inode).ok_or_else(not_found)?;
        let growth = (offset + length).saturating_sub(file.current.len() as u64);
        let fits = if self.mount_of(path).capacity_bytes.is_some() {
            let refilled = file.punched_bytes.min(length);
            growth + refilled <= self.free_bytes(path)
        } else {
            true
        };
        let file = self.files.get_mut(&inode).ok_or_else(not_found)?;
        let mut position = offset;
        for piece in pieces {
            let kept = if fits { piece.clone() } else { piece.slice(..piece.len() / 2) };
            let change = Change::Write { offset: position, bytes: kept.clone() };
            position += kept.len() as u64;
            if fits || offset + length <= file.current.len() as u64 {
                apply(&mut file.current, &change);
                file.pending.push(change);
            }
            if !fits {
                // A full disk may have taken a part before it said so.
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        file.punched_bytes = file.punched_bytes.saturating_sub(length);
        Ok(())
    }

    pub(super) fn set_length(&mut self, inode: Inode, path: &Path, length: u64, only_grow: bool) -> io::Result<()> {
        let current = self.files.get(&inode).ok_or_else(not_found)?.current.len() as u64;
        if only_grow && length <= current {
            return Ok(());
        }
        if length > current && length - current > self.free_bytes(path) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.files.get_mut(&inode).ok_or_else(not_found)?;
        let change = Change::Length(length);
        apply(&mut file.current, &change);
        file.pending.push(change);
        Ok(())
    }

    pub(super) fn punch_hole(&mut self, inode: Inode, offset: u64, length: u64) -> io::Result<()> {
        let file = self.files.get_mut(&inode).ok_or_else(not_found)?;
        let change = Change::Zero { offset, length };
        apply(&mut file.current, &change);
        file.pending.push(change);
        file.punched_bytes = (file.punched_bytes + length).min(file.current.len() as u64);
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: Inode) -> io::Result<()> {
        let file = self.files.get_mut(&inode).ok_or_else(not_found)?;
        for change in std::mem::take(&mut file.pending) {
            apply(&mut file.durable, &change);
        }
        Ok(())
    }

    /// Unsynced changes stay in the page cache and will never reach the disk.
    pub(super) fn forget_unsynced(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.pending.clear();
        }
    }

    pub(super) fn set_capacity(&mut self, prefix: &Path, capacity_bytes: Option<u64>) {
        let device = self.device_next;
        self.device_next += 1;
        let mount = self.mounts.entry(prefix.to_path_buf()).or_insert(Mount { device, capacity_bytes: None });
        mount.capacity_bytes = capacity_bytes;
    }

    pub(super) fn mount(&mut self, path: &Path) {
        let _ = self.create_directory(path);
        self.set_capacity(path, None);
        self.make_durable(path);
    }

    pub(super) fn unmount(&mut self, path: &Path) {
        self.mounts.remove(path);
        self.remove_tree(path);
        let _ = self.create_directory(path);
        self.make_durable(path);
    }

    pub(super) fn remove_tree(&mut self, path: &Path) {
        let _ = self.remove_directory_all(path);
        if let Ok((parent, _)) = self.parent_of(path)
            && let Some(directory) = self.directories.get_mut(&parent)
        {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            directory.settle(&name);
        }
    }

    /// Everything below the path, and the names that lead to it; nothing beside it.
    fn make_durable(&mut self, path: &Path) {
        let names: Vec<PathBuf> = path.ancestors().map(Path::to_path_buf).collect();
        for ancestor in &names {
            if let Ok((parent, name)) = self.parent_of(ancestor)
                && let Some(directory) = self.directories.get_mut(&parent)
            {
                directory.settle(&name);
            }
        }
        self.make_durable_below(path);
    }

    /// Everything in this directory, and not the names that lead to it.
    fn make_durable_below(&mut self, path: &Path) {
        let Ok(start) = self.lookup(path) else { return };
        let mut waiting = vec![start];
        while let Some(inode) = waiting.pop() {
            if let Some(directory) = self.directories.get_mut(&inode) {
                directory.durable.clone_from(&directory.current);
                directory.pending.clear();
                waiting.extend(directory.current.values().copied());
            } else {
                let _ = self.sync(inode);
            }
        }
    }

    pub(super) fn files(&self, path: &Path) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let Ok(start) = self.lookup(path) else { return found };
        let mut waiting = vec![(path.to_path_buf(), start)];
        while let Some((name, inode)) = waiting.pop() {
            if let Some(file) = self.files.get(&inode) {
                found.push((name, file.current.len() as u64));
            } else if let Some(directory) = self.directories.get(&inode) {
                waiting.extend(directory.current.iter().map(|(child, inode)| (name.join(child), *inode)));
            }
        }
        found.sort();
        found
    }

    pub(super) fn backup(&self, path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut copy = BTreeMap::new();
        for (name, _) in self.files(path) {
            if let Ok(inode) = self.lookup(&name)
                && let Some(file) = self.files.get(&inode)
                && let Ok(relative) = name.strip_prefix(path)
            {
                copy.insert(relative.to_path_buf(), file.current.clone());
            }
        }
        copy
    }

    pub(super) fn restore(&mut self, path: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
        self.remove_tree(path);
        self.write_inside(path, files);
        self.make_durable(path);
    }

    pub(super) fn write_inside(&mut self, path: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
        let _ = self.create_directory(path);
        for (relative, content) in files {
            let name = path.join(relative);
            let _ = self.create_directory(name.parent().unwrap_or(path));
            if let Ok(inode) = self.open(&name, true) {
                let _ = self.write(inode, &name, 0, &[Bytes::from(content.clone())]);
            }
        }
        self.make_durable_below(path);
    }

    pub(super) fn flip_bit(&mut self, path: &Path, bit: u64) -> bool {
        let Ok(inode) = self.lookup(path) else { return false };
        let Some(file) = self.files.get_mut(&inode) else {
            return false;
        };
        let (byte, mask) = (usize::try_from(bit / 8).unwrap_or(usize::MAX), 1 << (bit % 8));
        if let Some(value) = file.durable.get_mut(byte) {
            *value ^= mask;
        }
        match file.current.get_mut(byte) {
            Some(value) => {
                *value ^= mask;
                true
            }
            None => false,
        }
    }
}

impl DirectoryNode {
    /// Makes durable what this name refers to now, or that it refers to nothing.
    fn settle(&mut self, name: &str) {
        match self.current.get(name) {
            Some(inode) => self.durable.insert(name.to_owned(), *inode),
            None => self.durable.remove(name),
        };
        for change in &mut self.pending {
            change.remove.take_if(|removed| removed == name);
            change.add.take_if(|(added, _)| added == name);
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        if let Some(name) = &self.remove {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.add {
            names.insert(name.clone(), *inode);
        }
    }
}
