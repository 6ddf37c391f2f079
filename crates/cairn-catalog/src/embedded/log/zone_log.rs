//! One zone's copy of the log: files of frames, appended, synced, read back, cut and trimmed.
//!
//! Guarantees: a batch is accepted only after its predecessor (L1); what [`ZoneLog::sync`] confirmed survives power loss and lay, at that
//! moment, in a directory that a restart finds (L6); opening tells a torn tail from damage (L5), and leaves a log in which every
//! frame is durable and nothing stale can come back. Cuts are atomic: the file is copied up to the cut under a new generation, then
//! renamed into place.
//!
//! Files are named by their generation, which rises from file to file and when a file is recycled. A file is left for the next
//! one only when all of it is synced, so a later file's base vouches for every earlier frame.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_disk::zone_directory::ZoneDirectory;
use cairn_disk::{Disk, File, OpenMode};
use cairn_types::StoreId;

use super::batch::{
    Batch, FILE_HEADER_LENGTH, FRAME_ALIGNMENT, FRAME_HEADER_LENGTH, FileHeader, FrameHeader, Marks, Position, frame_length,
};
use super::rules::{Rule, holds};
use super::spares::Spares;

/// What file systems read and write at once, bytes.
const BLOCK_BYTES: u64 = 4096;
/// No log ever counts further, in files or in batches: what says so was not written by one, and to count on from there would begin again at 0.
pub(super) const COUNT_MAX: u64 = u64::MAX / 2;
static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// Sizes of a zone's log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Bytes of a log file; holds at least one frame of the longest batch.
    pub file_bytes: u64,
    /// How many prewritten or recycled files are kept ready.
    pub spare_files: usize,
    /// Random, and anew for each process: the nonces of files are made of it.
    pub nonce_seed: u64,
}

impl LogSettings {
    /// The nonce of a file with this generation.
    fn nonce(&self, generation: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&generation.to_le_bytes(), self.nonce_seed)
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { file_bytes: 32 << 20, spare_files: 2, nonce_seed: 0 }
    }
}

/// Where a log starts: what its zone's checkpoint already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Base {
    /// The last batch that the log does not hold.
    pub position: Position,
    /// Catalog time at that batch, ms.
    pub time_ms: u64,
    /// The marks of that batch.
    pub marks: Marks,
}

/// A log that cannot be trusted: the zone has no vote and is rebuilt (L5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log in {file} is damaged at byte {offset}: {what}")]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk did not do what was asked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What the disk holds cannot be trusted.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// There is no log at all.
    #[error("the zone has no log")]
    Missing,
    /// What was asked for has been trimmed.
    #[error("the log starts after batch {base}, batch {from} is gone")]
    Trimmed {
        /// What was asked for.
        from: u64,
        /// Where the log starts.
        base: u64,
    },
}

struct LogFile {
    name: String,
    header: FileHeader,
    file: Arc<dyn File>,
    /// Where each frame starts, in units of [`FRAME_ALIGNMENT`]; frame 0 is batch `header.base.index + 1`.
    starts: Vec<u32>,
    /// Where the next frame goes, bytes.
    end: u64,
    length: u64,
}

/// A zone's log as it was found; nothing has been changed.
pub struct LogFound {
    path: PathBuf,
    files: VecDeque<LogFile>,
    last: Position,
    last_time_ms: u64,
    last_marks: Marks,
    /// Whether frames follow the torn one.
    stale: bool,
    vouched_index: u64,
    generation_next: u64,
    /// Files that are no part of the log: half made, or replaced by others.
    useless: Vec<String>,
}

impl LogFound {
    /// The last batch of the log; the base where there is none yet.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The marks that the last batch carries (L7).
    pub fn last_marks(&self) -> Marks {
        self.last_marks
    }

    /// The epoch of the last cut, 0 if there was none that the log remembers.
    pub fn cut_epoch(&self) -> u64 {
        self.files.iter().map(|file| file.header.cut_epoch).max().unwrap_or(0)
    }
}

/// One zone's log.
pub struct ZoneLog {
    directory: Arc<ZoneDirectory>,
    path: PathBuf,
    settings: LogSettings,
    spares: Arc<Spares>,
    /// Oldest first; never empty.
    files: VecDeque<LogFile>,
    last: Position,
    last_time_ms: u64,
    last_marks: Marks,
    synced_index: u64,
    generation_next: u64,
}

fn file_name(generation: u64) -> String {
    format!("{generation:016x}.log")
}

/// The inverse of [`file_name`]; `None` for any other name.
fn generation_of(name: &str) -> Option<u64> {
    let generation = u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (file_name(generation) == name).then_some(generation)
}

impl ZoneLog {
    /// Makes an empty log after `base` in this directory, which is not in force yet: whatever lies there is removed.
    pub async fn create(
        directory: Arc<ZoneDirectory>,
        path: PathBuf,
        settings: LogSettings,
        base: Base,
        cut_epoch: u64,
    ) -> io::Result<Self> {
        let disk = directory.disk().clone();
        match disk.remove_directory_all(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.create_directory(&path).await?;
        disk.sync_directory(directory.path()).await?;
        let spares = Spares::find(disk.clone(), path.clone(), settings).await?;
        let header = FileHeader {
            store: directory.identity().store,
            incarnation: directory.identity().incarnation.0,
            generation: 1,
            nonce: settings.nonce(1),
            base: base.position,
            base_time_ms: base.time_ms,
            cut_epoch,
            base_marks: base.marks,
        };
        let file = new_file(&*disk, &path, &spares, settings, header).await?;
        directory.check_linked(&*file.file).await?;
        Ok(Self {
            directory,
            path,
            settings,
            spares,
            files: VecDeque::from([file]),
            last: base.position,
            last_time_ms: base.time_ms,
            last_marks: base.marks,
            synced_index: base.position.index,
            generation_next: 2,
        })
    }

    /// Opens the zone's log: every frame verified, a torn tail cut, and all that is left made durable.
    ///
    /// `trusted_index` is the last index whose sync succeeded, where this process has used the log before: after a failed sync the
    /// page cache may show frames that are not on the disk and that no later sync will write.
    pub async fn open(
        directory: Arc<ZoneDirectory>,
        settings: LogSettings,
        trusted_index: Option<u64>,
    ) -> Result<Self, OpenError> {
        let found = Self::look(&**directory.disk(), directory.log_path(), directory.identity().store, &AtomicU64::new(0)).await?;
        Self::take(directory, settings, trusted_index, found).await
    }

    /// Reads and verifies the log in this directory and changes nothing. `progress` rises while it reads.
    pub async fn look(disk: &dyn Disk, path: PathBuf, store: StoreId, progress: &AtomicU64) -> Result<LogFound, OpenError> {
        let names = match disk.read_directory(&path).await {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenError::Missing),
            Err(error) => return Err(error.into()),
        };
        let mut generations: Vec<u64> = names.iter().filter_map(|name| generation_of(name)).collect();
        generations.sort_unstable();
        let mut useless: Vec<String> = names.into_iter().filter(|name| name.strip_suffix(".new").is_some()).collect();
        let generation_next = generations.last().map_or(1, |generation| generation.saturating_add(1));
        let mut scans: Vec<Scan> = Vec::new();
        for generation in generations.iter().copied() {
            let name = file_name(generation);
            let file = disk.open(&path.join(&name), OpenMode::Write).await?;
            let scan = scan_file(file, name.clone(), generation, progress).await?;
            // A cut leaves two files with one base when the process ends before the older is removed.
            if let Some(before) = scans.pop_if(|before| before.file.header.base.index >= scan.file.header.base.index) {
                useless.push(before.file.name);
            }
            // Damage in a frame, or a tail cut short before a later file that vouches for it.
            if let Some(before) = scans.last()
                && before.end() != scan.file.header.base
            {
                let what = format!(
                    "the next file starts after batch {}, this one ends with {}",
                    scan.file.header.base.index,
                    before.end().index
                );
                return Err(damage(&before.file.name, before.file.end, &what).into());
            }
            scans.push(scan);
        }
        let Some(last_scan) = scans.last() else {
            return Err(OpenError::Missing);
        };
        if last_scan.vouched_index > last_scan.end().index && holds(Rule::L5) {
            let what = format!("batch {} was synced here and cannot be read", last_scan.end().index + 1);
            return Err(damage(&last_scan.file.name, last_scan.file.end, &what).into());
        }
        if let Some(stranger) = scans.iter().find(|scan| scan.file.header.store != store) {
            return Err(damage(&stranger.file.name, 0, "the file belongs to another store").into());
        }
        let (last, last_time_ms, last_marks, stale) =
            (last_scan.end(), last_scan.time_ms, last_scan.marks, last_scan.stale_follows);
        let vouched_index = last_scan.vouched_index;
        let files = scans.into_iter().map(|scan| scan.file).collect();
        Ok(LogFound { path, files, last, last_time_ms, last_marks, stale, vouched_index, generation_next, useless })
    }

    /// Takes the log that was found: cuts a torn tail, and makes durable all that is left.
    pub async fn take(
        directory: Arc<ZoneDirectory>,
        settings: LogSettings,
        trusted_index: Option<u64>,
        found: LogFound,
    ) -> Result<Self, OpenError> {
        let disk = directory.disk().clone();
        let LogFound { path, files, last, last_time_ms, last_marks, stale, vouched_index, generation_next, useless } = found;
        for name in useless {
            disk.remove_file(&path.join(name)).await?;
        }
        let spares = Spares::find(disk.clone(), path.clone(), settings).await?;
        let generation_next = generation_next.max(spares.number_next());
        let mut log =
            Self { directory, path, settings, spares, files, last, last_time_ms, last_marks, synced_index: 0, generation_next };
        let trusted_index = trusted_index.map_or(last.index, |trusted| trusted.clamp(log.active().header.base.index, last.index));
        if trusted_index < last.index {
            let cut_epoch = log.cut_epoch();
            log.cut_after(trusted_index, cut_epoch).await?;
        } else if stale {
            // Frames after the torn one may be whole; they must never be taken for part of the history again.
            let cut_epoch = log.cut_epoch();
            log.rewrite_last_file(last.index, cut_epoch).await?;
        }
        // After a kill or a failed sync the page cache may hold frames, and the directory names, that no sync ever covered.
        // Writing it again makes the pages dirty, so that this sync does not pass for want of anything to do.
        log.write_again_above(vouched_index).await?;
        disk.sync_directory(&log.path).await?;
        log.sync().await?;
        tracing::debug!(log = %log.path.display(), last = log.last.index, scanned = last.index, stale, "opened a log");
        Ok(log)
    }

    /// The last batch of the log; the base where there is none yet.
    pub fn last(&self) -> Position {
        self.last
    }

    /// Catalog time of the last batch, ms.
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// The marks that the last batch carries (L7).
    pub fn last_marks(&self) -> Marks {
        self.last_marks
    }

    /// The last index that the log does not hold any more.
    pub fn base_index(&self) -> u64 {
        self.files.front().map_or(0, |file| file.header.base.index)
    }

    /// The highest index that is durable here.
    pub fn synced_index(&self) -> u64 {
        self.synced_index
    }

    /// The epoch of the last cut, 0 if there was none that the log remembers.
    pub fn cut_epoch(&self) -> u64 {
        self.files.iter().map(|file| file.header.cut_epoch).max().unwrap_or(0)
    }

    /// Bytes between the oldest and the newest frame.
    pub fn retained_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.end).sum()
    }

    /// Writes batches after the last one. Nothing counts before [`ZoneLog::sync`]. After an error the log must be opened anew.
    pub async fn append(&mut self, batches: &[Arc<Batch>]) -> io::Result<()> {
        let mut pieces: Vec<Bytes> = Vec::with_capacity(batches.len() * 3);
        let mut pieces_start = self.active().end;
        for batch in batches {
            let follows = batch.position.index == self.last.index + 1 && batch.previous == self.last.checksum;
            if !follows && holds(Rule::L1) {
                let (index, last) = (batch.position.index, self.last.index);
                return Err(io::Error::other(format!("batch {index} does not follow batch {last} of this zone's log (L1)")));
            }
            let length = batch.frame_length();
            if self.active().end + length > self.active().length {
                self.write_pieces(pieces_start, &mut pieces).await?;
                self.sync().await?;
                self.rotate().await?;
                pieces_start = self.active().end;
            }
            let synced_index = self.synced_index;
            let active = self.active_mut();
            pieces.extend(batch.frame(&active.header, synced_index));
            active.starts.push((active.end / FRAME_ALIGNMENT) as u32);
            active.end += length;
            self.last = batch.position;
            self.last_time_ms = batch.time_ms;
            self.last_marks = batch.marks;
        }
        self.write_pieces(pieces_start, &mut pieces).await
    }

    /// Makes what was appended durable and returns the highest durable index. An error means that nothing is known of what was
    /// written since the last sync: the log must be opened anew.
    pub async fn sync(&mut self) -> io::Result<u64> {
        let file = self.active().file.clone();
        if holds(Rule::Sync) {
            file.sync_data().await?;
        }
        if holds(Rule::L6) {
            self.directory.check_linked(&*file).await?;
        }
        self.synced_index = self.last.index;
        Ok(self.synced_index)
    }

    /// The position of the batch with this index; `None` when the log does not reach there.
    pub async fn position_at(&self, index: u64) -> Result<Option<Position>, OpenError> {
        if index == self.last.index {
            return Ok(Some(self.last));
        }
        if let Some(file) = self.files.iter().find(|file| file.header.base.index == index) {
            return Ok(Some(file.header.base));
        }
        if index <= self.base_index() {
            return Ok(None);
        }
        Ok(self.read(index, 1).await?.first().map(|batch| batch.position))
    }

    /// Reads batches from `from` on, at least one where there is one, up to about so many bytes; [`OpenError::Trimmed`] when the log
    /// starts later.
    pub async fn read(&self, from: u64, bytes_max: u64) -> Result<Vec<Arc<Batch>>, OpenError> {
        let mut batches = Vec::new();
        if from <= self.base_index() {
            return Err(OpenError::Trimmed { from, base: self.base_index() });
        }
        let mut bytes = 0;
        for file in &self.files {
            let first = file.header.base.index + 1;
            let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            for (number, start) in file.starts.iter().enumerate().skip(skip) {
                if !batches.is_empty() && bytes >= bytes_max {
                    return Ok(batches);
                }
                let offset = u64::from(*start) * FRAME_ALIGNMENT;
                let header = file.file.read_at(offset, FRAME_HEADER_LENGTH).await?;
                let batch = match FrameHeader::decode(&header, file.header.nonce) {
                    Some(header) if header.generation == file.header.generation => {
                        let encoded =
                            file.file.read_at(offset + FRAME_HEADER_LENGTH as u64, header.batch_length as usize).await?;
                        Batch::decode(&encoded).map_err(|error| error.to_string())
                    }
                    _ => Err("the frame's header cannot be read".to_owned()),
                };
                let batch = batch.map_err(|what| damage(&file.name, offset, &what))?;
                if batch.position.index != first + number as u64 {
                    return Err(damage(&file.name, offset, "the frame holds another batch").into());
                }
                bytes += batch.frame_length();
                batches.push(Arc::new(batch));
            }
        }
        Ok(batches)
    }

    /// Cuts everything after `index`, durably, because another history won under `epoch` (L3).
    pub async fn cut_after(&mut self, index: u64, epoch: u64) -> Result<(), OpenError> {
        if index >= self.last.index {
            return Ok(());
        }
        let keep = self.position_at(index).await?.ok_or_else(|| damage("log", 0, "the cut lies before the log's start"))?;
        let kept_batch = match self.read(index, 1).await {
            Ok(batches) => batches.into_iter().next(),
            Err(OpenError::Trimmed { .. }) => None,
            Err(error) => return Err(error),
        };
        // Whole files after the cut go first, newest first: what is left is always a log.
        while self.files.len() > 1 && self.active().header.base.index >= index {
            if let Some(file) = self.files.pop_back() {
                self.directory.disk().remove_file(&self.path.join(&file.name)).await?;
            }
        }
        self.directory.disk().sync_directory(&self.path).await?;
        let active = self.active_mut();
        let kept_frames = usize::try_from(index - active.header.base.index).unwrap_or(usize::MAX);
        active.end = active.starts.get(kept_frames).map_or(active.end, |start| u64::from(*start) * FRAME_ALIGNMENT);
        active.starts.truncate(kept_frames);
        self.last = keep;
        (self.last_time_ms, self.last_marks) = match kept_batch {
            Some(batch) => (batch.time_ms, batch.marks),
            None => (self.active().header.base_time_ms, self.active().header.base_marks),
        };
        self.rewrite_last_file(index, epoch.max(self.cut_epoch())).await?;
        self.sync().await?;
        Ok(())
    }

    /// Gives up files whose batches all have an index of at most `index`; the newest file always stays.
    pub async fn trim(&mut self, index: u64) -> io::Result<()> {
        let mut trimmed = false;
        while self.files.get(1).is_some_and(|next| next.header.base.index <= index) {
            if let Some(file) = self.files.pop_front() {
                let reusable = (file.length >= self.settings.file_bytes).then_some(file.header.generation);
                self.spares.recycle(&self.path.join(&file.name), reusable).await?;
                trimmed = true;
            }
        }
        if trimmed {
            self.directory.disk().sync_directory(&self.path).await?;
        }
        Ok(())
    }

    /// The maker of prewritten files, to be driven beside the log.
    pub fn spares(&self) -> Arc<Spares> {
        self.spares.clone()
    }

    async fn write_again_above(&self, index: u64) -> io::Result<()> {
        let active = self.active();
        let first = usize::try_from(index.saturating_sub(active.header.base.index)).unwrap_or(usize::MAX);
        let Some(start) = active.starts.get(first) else { return Ok(()) };
        let mut offset = u64::from(*start) * FRAME_ALIGNMENT;
        while offset < active.end {
            let length = usize::try_from(active.end - offset).unwrap_or(SCAN_BYTES).min(SCAN_BYTES);
            let bytes = active.file.read_at(offset, length).await?;
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            active.file.write_at(offset - bytes.len() as u64, &[bytes]).await?;
        }
        Ok(())
    }

    fn active(&self) -> &LogFile {
        self.files.back().unwrap_or_else(|| unreachable!("a log has at least one file"))
    }

    fn active_mut(&mut self) -> &mut LogFile {
        self.files.back_mut().unwrap_or_else(|| unreachable!("a log has at least one file"))
    }

    /// Writes frames that end where the active file ends now, and zeros up to the end of the file system's block: a block that is written
    /// in part and not in memory, as in a recycled file, would first be read from the disk, and every append waits for its write.
    async fn write_pieces(&self, offset: u64, pieces: &mut Vec<Bytes>) -> io::Result<()> {
        if !pieces.is_empty() {
            let active = self.active();
            let block_end = active.end.next_multiple_of(BLOCK_BYTES).min(active.length);
            pieces.push(Bytes::from_static(&ZEROS[..block_end.saturating_sub(active.end) as usize]));
            active.file.write_at(offset, pieces).await?;
            pieces.clear();
        }
        Ok(())
    }

    async fn rotate(&mut self) -> io::Result<()> {
        let header = FileHeader {
            generation: self.generation_next,
            nonce: self.settings.nonce(self.generation_next),
            base: self.last,
            base_time_ms: self.last_time_ms,
            base_marks: self.last_marks,
            ..self.active().header
        };
        self.generation_next += 1;
        let file = new_file(&**self.directory.disk(), &self.path, &self.spares, self.settings, header).await?;
        self.files.push_back(file);
        Ok(())
    }

    /// Replaces the newest file by a copy up to its last kept frame, under a new generation.
    async fn rewrite_last_file(&mut self, index: u64, cut_epoch: u64) -> Result<(), OpenError> {
        let base = self.active().header.base;
        let kept = if index > base.index { self.read(base.index + 1, u64::MAX).await? } else { Vec::new() };
        let old = self.active().name.clone();
        let generation = self.generation_next;
        let header = FileHeader { generation, nonce: self.settings.nonce(generation), cut_epoch, ..self.active().header };
        self.generation_next += 1;
        let disk = self.directory.disk().clone();
        let temporary = self.path.join(format!("{}.new", file_name(header.generation)));
        let file = disk.open(&temporary, OpenMode::CreateNew).await?;
        let mut copy = LogFile {
            name: file_name(header.generation),
            header,
            file,
            starts: Vec::new(),
            end: FILE_HEADER_LENGTH,
            length: self.settings.file_bytes,
        };
        copy.file.allocate(0, copy.length).await?;
        copy.file.write_at(0, &[header.encode()]).await?;
        for batch in &kept {
            copy.starts.push((copy.end / FRAME_ALIGNMENT) as u32);
            // The copy is synced before it takes its name, so each of its frames may vouch for all of them (L5).
            copy.file.write_at(copy.end, &batch.frame(&header, index)).await?;
            copy.end += batch.frame_length();
        }
        copy.file.sync_data().await?;
        // Both files are whole: whichever of the two names is found after a crash is a log, and of both the newer one is taken.
        disk.rename(&temporary, &self.path.join(&copy.name)).await?;
        disk.sync_directory(&self.path).await?;
        disk.remove_file(&self.path.join(&old)).await?;
        disk.sync_directory(&self.path).await?;
        if let Some(active) = self.files.back_mut() {
            *active = copy;
        }
        Ok(())
    }
}

fn damage(file: &str, offset: u64, what: &str) -> Damage {
    Damage { file: file.to_owned(), offset, what: what.to_owned() }
}

async fn new_file(
    disk: &dyn Disk,
    path: &std::path::Path,
    spares: &Spares,
    settings: LogSettings,
    header: FileHeader,
) -> io::Result<LogFile> {
    let name = file_name(header.generation);
    let target = path.join(&name);
    let (file, length) = if let Some(spare) = spares.take() {
        let file = disk.open(&spare, OpenMode::Write).await?;
        let length = file.metadata().await?.length;
        // The header first: under its new name the file must never show an older generation's header and frames as its own.
        file.write_at(0, &[header.encode()]).await?;
        file.sync_data().await?;
        disk.rename(&spare, &target).await?;
        (file, length)
    } else {
        let temporary = path.join(format!("{name}.new"));
        let file = disk.open(&temporary, OpenMode::CreateNew).await?;
        file.allocate(0, settings.file_bytes).await?;
        file.write_at(0, &[header.encode()]).await?;
        file.sync_data().await?;
        disk.rename(&temporary, &target).await?;
        (file, settings.file_bytes)
    };
    if holds(Rule::SyncNames) {
        disk.sync_directory(path).await?;
    }
    Ok(LogFile { name, header, file, starts: Vec::new(), end: FILE_HEADER_LENGTH, length })
}

/// What a file's frames say.
struct Scan {
    file: LogFile,
    last: Position,
    time_ms: u64,
    marks: Marks,
    /// The highest index that any frame of this file, also past a bad one, says was synced (L5).
    vouched_index: u64,
    /// Whether frames of this generation follow the last good one.
    stale_follows: bool,
}

impl Scan {
    fn end(&self) -> Position {
        self.last
    }
}

/// How much of a file is read at a time when it is scanned, bytes.
const SCAN_BYTES: usize = 1 << 20;

/// Reads a file's frames.
async fn scan_file(file: Arc<dyn File>, name: String, generation: u64, progress: &AtomicU64) -> Result<Scan, OpenError> {
    let length = file.metadata().await?.length;
    let header =
        FileHeader::decode(&file.read_at(0, FILE_HEADER_LENGTH as usize).await?).filter(|header| header.generation == generation);
    let Some(header) = header else {
        // A file gets its name only when its header is durable.
        return Err(damage(&name, 0, "the file's header cannot be read").into());
    };
    if generation > COUNT_MAX || header.base.index > COUNT_MAX {
        return Err(damage(&name, 0, &format!("no log gets as far as batch {}", header.base.index)).into());
    }
    let mut scan = Scan {
        file: LogFile { name, header, file: file.clone(), starts: Vec::new(), end: FILE_HEADER_LENGTH, length },
        last: header.base,
        time_ms: header.base_time_ms,
        marks: header.base_marks,
        vouched_index: header.base.index,
        stale_follows: false,
    };
    let mut window = Window { file: &*file, start: 0, bytes: Bytes::new() };
    loop {
        progress.fetch_add(1, Ordering::Relaxed);
        let offset = scan.file.end;
        let Some(frame) = window.get(offset, FRAME_HEADER_LENGTH).await? else {
            break;
        };
        let Some(frame) = FrameHeader::decode(&frame, header.nonce).filter(|frame| frame.generation == generation) else {
            break;
        };
        scan.vouched_index = scan.vouched_index.max(frame.synced_index);
        let Some(encoded) = window.get(offset + FRAME_HEADER_LENGTH as u64, frame.batch_length as usize).await? else {
            break;
        };
        let Ok(batch) = Batch::decode(&encoded) else { break };
        let follows = batch.position.index == scan.last.index + 1 && batch.previous == scan.last.checksum;
        if (!follows && holds(Rule::L1)) || batch.store != header.store {
            break;
        }
        scan.file.starts.push((offset / FRAME_ALIGNMENT) as u32);
        scan.file.end += frame_length(frame.batch_length as usize);
        scan.last = batch.position;
        scan.time_ms = batch.time_ms;
        scan.marks = batch.marks;
    }
    if let Some(vouched) = later_frames(&*file, scan.file.end, length, header, progress).await? {
        scan.stale_follows = true;
        scan.vouched_index = scan.vouched_index.max(vouched);
    }
    Ok(scan)
}

/// The highest synced index that frames of this generation record from `offset` on; `None` when there is no such frame.
async fn later_frames(
    file: &dyn File,
    offset: u64,
    length: u64,
    header: FileHeader,
    progress: &AtomicU64,
) -> io::Result<Option<u64>> {
    let (generation, nonce) = (header.generation, header.nonce);
    let mut window = Window { file, start: 0, bytes: Bytes::new() };
    let mut found = None;
    let mut offset = offset;
    while offset < length {
        progress.fetch_add(1, Ordering::Relaxed);
        if let Some(bytes) = window.get(offset, FRAME_HEADER_LENGTH).await?
            && let Some(header) = FrameHeader::decode(&bytes, nonce)
            && header.generation == generation
        {
            found = found.max(Some(header.synced_index));
        }
        offset += FRAME_ALIGNMENT;
    }
    Ok(found)
}

/// Reads a file front to back in large pieces.
struct Window<'a> {
    file: &'a dyn File,
    start: u64,
    bytes: Bytes,
}

impl Window<'_> {
    /// These bytes of the file; `None` where it ends before.
    async fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        let held = self.start..self.start + self.bytes.len() as u64;
        if offset < held.start || offset + length as u64 > held.end {
            self.bytes = self.file.read_at(offset, length.max(SCAN_BYTES)).await?;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok((self.bytes.len() >= from + length).then(|| self.bytes.slice(from..from + length)))
    }
}

#[cfg(test)]
#[path = "zone_log_tests.rs"]
mod tests;
