//! A version's bytes on their way out.
//!
//! A version is runs of blobs and inline bytes, or the parts of a completed upload, which are asked for a page at a time, so that memory does
//! not grow with an object. Bytes are verified below (B1). A zone or a catalog that does not answer for a moment is waited for, and the read
//! goes on behind the last byte that was given; a version that was deleted under a long read ends it (S4).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_catalog::{FoundContent, FoundExtents, ManifestParts, ManifestPosition, SourceVersion};
use cairn_replica::catalog_port::Blob;
use cairn_replica::read::Recheck;
use cairn_replica::{BlobReader, ReadError, ReadRequest};
use cairn_types::BlobId;
use cairn_types::records::{BlobRecord, Extent, ManifestId};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use crate::api::{ObjectContent, ObjectReader, StoreError, StoreResult};
use crate::catalog_adapter::{bounded, port_blob, port_error};
use crate::core::{Core, Patience};
use crate::error::read_error;

/// Where an object's bytes are.
enum Layout {
    Extents(FoundExtents),
    Manifest(ManifestId),
}

/// See [`ObjectReader`].
struct VersionReader {
    core: Arc<Core>,
    version: SourceVersion,
    length: u64,
    began: Instant,
    layout: Layout,
}

/// A way to the bytes of a version that was found at `began`.
pub(crate) fn open(
    core: &Arc<Core>,
    version: SourceVersion,
    length: u64,
    content: FoundContent,
    began: Instant,
) -> ObjectContent {
    let layout = match content {
        FoundContent::Inline(bytes) => return ObjectContent::Inline(bytes),
        FoundContent::Extents(extents) => Layout::Extents(extents),
        FoundContent::Manifest(manifest) => Layout::Manifest(manifest),
    };
    ObjectContent::Chunks(Box::new(VersionReader { core: Arc::clone(core), version, length, began, layout }))
}

/// The bytes of a range of what was opened.
pub(crate) fn stream(content: ObjectContent, range: Range<u64>) -> BoxStream<'static, StoreResult<Bytes>> {
    match content {
        ObjectContent::Inline(bytes) => {
            let slice = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .filter(|(start, end)| start <= end && *end <= bytes.len())
                .map(|(start, end)| bytes.slice(start..end))
                .ok_or_else(|| outside(&range, bytes.len() as u64));
            stream::iter([slice]).boxed()
        }
        ObjectContent::Chunks(reader) => reader.read(range),
    }
}

fn outside(range: &Range<u64>, length: u64) -> StoreError {
    StoreError::Internal(format!("bytes {}..{} of {length} were asked for", range.start, range.end))
}

impl ObjectReader for VersionReader {
    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, StoreResult<Bytes>> {
        let Self { core, version, length, began, layout } = *self;
        if range.start > range.end || range.end > length {
            return stream::iter([Err(outside(&range, length))]).boxed();
        }
        let recheck = recheck(&core, version);
        let mut reading = Reading {
            core,
            recheck,
            began,
            position: range.start,
            end: range.end,
            segments: VecDeque::new(),
            manifest: None,
            current: None,
        };
        match layout {
            Layout::Manifest(manifest) => reading.manifest = Some(manifest),
            Layout::Extents(FoundExtents { extents, blobs, inline }) => {
                let blobs = port_blobs(blobs);
                if let Err(error) = reading.queue(&extents, &blobs, inline, 0) {
                    return stream::iter([Err(error)]).boxed();
                }
            }
        }
        stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Some(Ok(bytes)) => Some((Ok(bytes), Some(reading))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        })
        .boxed()
    }
}

/// S4: asks whether the version is still there.
fn recheck(core: &Arc<Core>, version: SourceVersion) -> Recheck {
    let (catalog, deadline) = (Arc::clone(&core.catalog), core.config.catalog_deadline);
    Arc::new(move || {
        let (catalog, version) = (Arc::clone(&catalog), version.clone());
        Box::pin(async move { bounded(deadline, catalog.version_exists(version)).await.map_err(port_error) })
    })
}

fn port_blobs(blobs: Vec<(BlobId, BlobRecord)>) -> BTreeMap<BlobId, Arc<Blob>> {
    blobs.into_iter().map(|(id, record)| (id, port_blob(id, record))).collect()
}

/// A run of bytes that is known and not yet read.
enum Segment {
    Inline(Bytes),
    Blob(Arc<Blob>, Range<u64>),
}

/// A run that is being read.
struct Current {
    blob: Arc<Blob>,
    /// What of it has not been given yet.
    range: Range<u64>,
    reader: BlobReader,
    patience: Option<Patience>,
}

struct Reading {
    core: Arc<Core>,
    recheck: Recheck,
    began: Instant,
    /// Where in the object the next byte to give lies, and where the last one.
    position: u64,
    end: u64,
    segments: VecDeque<Segment>,
    /// Where to ask for more segments.
    manifest: Option<ManifestId>,
    current: Option<Current>,
}

impl Reading {
    async fn next(&mut self) -> Option<StoreResult<Bytes>> {
        while self.position < self.end {
            let step = match self.current.take() {
                Some(current) => self.go_on(current).await,
                None => match self.segments.pop_front() {
                    Some(Segment::Inline(bytes)) => Ok(Some(bytes)),
                    Some(Segment::Blob(blob, range)) => self.begin(blob, range).map(|()| None),
                    None => self.load_page().await.map(|()| None),
                },
            };
            match step {
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn reader(&self, blob: &Arc<Blob>, range: &Range<u64>) -> StoreResult<BlobReader> {
        let request = ReadRequest {
            blob: Arc::clone(blob),
            range: range.clone(),
            began: self.began,
            recheck: Some(Arc::clone(&self.recheck)),
        };
        self.core.replicator.read(request).map_err(read_error)
    }

    fn begin(&mut self, blob: Arc<Blob>, range: Range<u64>) -> StoreResult<()> {
        let reader = self.reader(&blob, &range)?;
        self.current = Some(Current { blob, range, reader, patience: None });
        Ok(())
    }

    /// Reads on in the current run; `None` at its end, and after a pause.
    async fn go_on(&mut self, mut current: Current) -> StoreResult<Option<Bytes>> {
        match current.reader.next().await {
            Some(Ok(bytes)) => {
                current.range.start += bytes.len() as u64;
                current.patience = None;
                self.current = Some(current);
                Ok(Some(bytes))
            }
            None if current.range.is_empty() => Ok(None),
            None => Err(StoreError::Damaged("a blob is shorter than its record says".to_owned())),
            Some(Err(error @ ReadError::Unavailable)) => {
                let patience = current.patience.get_or_insert_with(|| self.core.patience());
                if !patience.pause().await {
                    return Err(read_error(error));
                }
                // Copies may have moved meanwhile: repaired, rebuilt.
                let question = self.core.catalog.blobs(vec![current.blob.id]);
                if let Ok(found) = bounded(self.core.config.catalog_deadline, question).await {
                    let (id, record) = found.into_iter().next().flatten().ok_or(StoreError::NoSuchVersion)?;
                    current.blob = port_blob(id, record);
                }
                current.reader = self.reader(&current.blob, &current.range)?;
                self.current = Some(current);
                Ok(None)
            }
            Some(Err(error)) => Err(read_error(error)),
        }
    }

    /// Asks for the parts from the present position on.
    async fn load_page(&mut self) -> StoreResult<()> {
        let Some(manifest) = self.manifest else {
            return Err(StoreError::Damaged("a version's extents are shorter than the version".to_owned()));
        };
        let limit = self.core.config.manifest_page.max(1);
        let request = ManifestParts { manifest, from: ManifestPosition::Offset(self.position), limit, with_content: true };
        let core = Arc::clone(&self.core);
        let page = core.ask(|catalog| catalog.manifest_parts(request.clone())).await?;
        let blobs = port_blobs(page.blobs);
        for part in page.parts {
            if part.span.offset >= self.end {
                break;
            }
            self.queue(&part.content.extents, &blobs, part.content.inline, part.span.offset)?;
        }
        if self.segments.is_empty() {
            return Err(StoreError::Damaged("a version's parts are shorter than the version".to_owned()));
        }
        Ok(())
    }

    /// Queues what lies in the range of these extents, the first of which begins at `start` of the object.
    fn queue(
        &mut self,
        extents: &[Extent],
        blobs: &BTreeMap<BlobId, Arc<Blob>>,
        inline: Vec<Bytes>,
        mut start: u64,
    ) -> StoreResult<()> {
        let mut inline = inline.into_iter();
        for extent in extents {
            let end = start.saturating_add(extent.length());
            let from = self.position.max(start);
            let to = self.end.min(end);
            let within = from.saturating_sub(start)..to.saturating_sub(start);
            let segment = match extent {
                Extent::Inline { .. } => {
                    let bytes = inline.next().ok_or_else(|| damaged("an inline extent has no bytes"))?;
                    let slice = usize::try_from(within.start)
                        .ok()
                        .zip(usize::try_from(within.end).ok())
                        .filter(|(from, to)| from < to)
                        .map(|(from, to)| {
                            let fits = to <= bytes.len();
                            fits.then(|| bytes.slice(from..to)).ok_or_else(|| damaged("an inline extent is too short"))
                        });
                    slice.transpose()?.map(Segment::Inline)
                }
                Extent::Blob { id, offset, .. } if from < to => {
                    let blob = blobs.get(id).ok_or_else(|| damaged("an extent names a blob that is not there"))?;
                    Some(Segment::Blob(Arc::clone(blob), offset + within.start..offset + within.end))
                }
                Extent::Blob { .. } => None,
            };
            self.segments.extend(segment);
            start = end;
        }
        Ok(())
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}
