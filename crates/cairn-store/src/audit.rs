//! A full look at everything that is stored, from objects down to each copy.
//!
//! 1. Every version in every bucket: its bytes are in the catalog, or in blobs that are there and long enough, and not on their way out.
//! 2. Every blob: each copy of each chunk in each zone is read and verified ([`cairn_replica::audit`]).
//! 3. Every zone: each copy that it lists is one that a record names, or one of a write that is under way.
//! 4. What looked wrong is looked at once more, after a while: clients go on meanwhile.
//!
//! One audit runs at a time. It ends with the process; what it found so far can be seen at any time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::{
    Catalog, CatalogError, CatalogFuture, CatalogResult, FoundContent, FoundExtents, GetVersion, ListAfter, ListBuckets,
    ListEntry, ListPosition, ListScope, ListVersions, ListedRow, ListedVersion, ManifestParts, ManifestPosition, VersionPosition,
};
use cairn_replica::audit::{Audit, AuditFindings};
use cairn_replica::catalog_port::{PortResult, SessionView};
use cairn_types::records::{BlobRecord, Extent, ManifestId};
use cairn_types::{BlobId, BucketId};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::catalog_adapter::{bounded, port_error, session_view};
use crate::core::Core;

pub use cairn_replica::audit::{AuditConfig, Wrong, ZoneFindings};

/// Where an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditStep {
    /// It looks whether each version's bytes have a place.
    Objects,
    /// It reads each copy of each chunk.
    Copies,
    /// It asks for the name of each copy that the zones list.
    Zones,
    /// It looks again at what looked wrong.
    SecondLook,
}

/// How an audit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEnd {
    /// It has looked at everything.
    Done,
    /// It was stopped.
    Stopped,
    /// It could not go on, and why.
    Failed(String),
}

/// What was found of objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectFindings {
    /// Buckets.
    pub buckets: u64,
    /// Versions, current ones and others.
    pub versions: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions whose bytes are not all where their record says.
    pub broken: u64,
}

/// How an audit is going, or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// Where it is, or was.
    pub step: AuditStep,
    /// How it ended; `None` while it runs.
    pub end: Option<AuditEnd>,
    /// How long it has run, or ran.
    pub took: Duration,
    /// What was found of objects.
    pub objects: ObjectFindings,
    /// What was found of chunks and their copies.
    pub copies: AuditFindings,
    /// What is wrong, the first of it.
    pub wrong: Vec<Wrong>,
}

impl AuditReport {
    /// Whether it has looked at everything, and each object's bytes are there and whole in all three zones.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.end == Some(AuditEnd::Done) && self.objects.broken == 0 && self.copies.is_whole()
    }
}

struct Progress {
    step: AuditStep,
    end: Option<(AuditEnd, Duration)>,
    objects: ObjectFindings,
    wrong: Vec<Wrong>,
}

/// One audit.
pub(crate) struct AuditRun {
    core: Arc<Core>,
    config: AuditConfig,
    audit: Audit,
    began: Instant,
    progress: Mutex<Progress>,
}

/// The most of [`AuditReport::wrong`] about objects.
const WRONG_MAX: usize = 100;
/// Versions in a page.
const VERSIONS_PAGE: u32 = 500;
/// Parts in a page.
const PARTS_PAGE: u32 = 64;
/// Buckets and tenants in a page.
const NAMES_PAGE: u32 = 1000;

impl AuditRun {
    pub(crate) fn new(core: Arc<Core>, config: AuditConfig) -> Self {
        let audit = Audit::new(Arc::clone(&core.replicator), config.clone());
        let progress = Progress { step: AuditStep::Objects, end: None, objects: ObjectFindings::default(), wrong: Vec::new() };
        Self { core, config, audit, began: Instant::now(), progress: Mutex::new(progress) }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.progress.lock().end.is_none()
    }

    pub(crate) fn report(&self) -> AuditReport {
        let copies = self.audit.findings();
        let progress = self.progress.lock();
        let end = progress.end.clone();
        let took = end.as_ref().map_or_else(|| self.began.elapsed(), |(_, took)| *took);
        let wrong = progress.wrong.iter().chain(&copies.wrong).cloned().collect();
        AuditReport { step: progress.step, end: end.map(|(end, _)| end), took, objects: progress.objects, copies, wrong }
    }

    /// Takes down how it ended, once.
    pub(crate) fn ended(&self, end: AuditEnd) {
        let mut progress = self.progress.lock();
        if progress.end.is_none() {
            progress.end = Some((end, self.began.elapsed()));
        }
    }

    /// Looks at everything.
    pub(crate) async fn run(&self) {
        let end = match self.walk().await {
            Ok(()) => AuditEnd::Done,
            Err(why) => AuditEnd::Failed(why),
        };
        self.ended(end);
    }

    async fn walk(&self) -> Result<(), String> {
        self.objects().await.map_err(|error| error.to_string())?;
        self.progress.lock().step = AuditStep::Copies;
        self.audit.read_copies().await.map_err(|error| error.to_string())?;
        self.progress.lock().step = AuditStep::Zones;
        self.audit.list_zones().await.map_err(|error| error.to_string())?;
        self.progress.lock().step = AuditStep::SecondLook;
        self.audit.look_again(|| self.sessions()).await.map_err(|error| error.to_string())
    }

    async fn sessions(&self) -> PortResult<SessionView> {
        let view = bounded(self.core.config.catalog_deadline, self.core.catalog.sessions()).await;
        view.map(session_view).map_err(port_error)
    }

    /// Puts a question until it is answered, within bounds.
    async fn ask<'a, T>(&'a self, question: impl Fn(&'a dyn Catalog) -> CatalogFuture<'a, T>) -> CatalogResult<T> {
        let mut attempts = 1;
        loop {
            let answer = bounded(self.core.config.catalog_deadline, question(&*self.core.catalog)).await;
            let is_not_now =
                matches!(answer, Err(CatalogError::Busy(_) | CatalogError::Unavailable(_) | CatalogError::OutcomeUnknown(_)));
            if !is_not_now || attempts >= self.config.attempts {
                return answer;
            }
            attempts += 1;
            tokio::time::sleep(self.config.retry_pause).await;
        }
    }

    fn broken(&self, words: String) {
        let mut progress = self.progress.lock();
        progress.objects.broken += 1;
        if progress.wrong.len() < WRONG_MAX {
            progress.wrong.push(Wrong { zone: None, words });
        }
    }

    async fn objects(&self) -> CatalogResult<()> {
        let mut after_tenant = None;
        loop {
            let tenants = self.ask(|catalog| catalog.list_tenants(ListAfter { after: after_tenant, limit: NAMES_PAGE })).await?;
            for tenant in &tenants.entries {
                after_tenant = Some(tenant.id);
                let mut after_bucket: Option<String> = None;
                loop {
                    let request =
                        ListBuckets { tenant: tenant.id, prefix: String::new(), after: after_bucket.clone(), limit: NAMES_PAGE };
                    let buckets = self.ask(|catalog| catalog.list_buckets(request.clone())).await?;
                    for bucket in &buckets.entries {
                        after_bucket = Some(bucket.record.name.to_string());
                        self.progress.lock().objects.buckets += 1;
                        match self.versions(bucket.id, &bucket.record.name.to_string()).await {
                            // It was removed meanwhile.
                            Err(CatalogError::NoSuchBucket) => {}
                            answer => answer?,
                        }
                    }
                    if !buckets.is_truncated {
                        break;
                    }
                }
            }
            if !tenants.is_truncated {
                return Ok(());
            }
        }
    }

    async fn versions(&self, bucket: BucketId, name: &str) -> CatalogResult<()> {
        let mut after: Option<VersionPosition> = None;
        loop {
            let scope = ListScope { bucket, prefix: String::new(), delimiter: None, limit: VERSIONS_PAGE };
            let request = ListVersions { scope, after: after.clone() };
            let page = self.ask(|catalog| catalog.list_versions(request.clone())).await?;
            for entry in &page.entries {
                match entry {
                    ListEntry::Item(version) => {
                        after = Some(VersionPosition::Version(version.key.clone(), version.row.version_id()));
                        self.version(bucket, name, version).await?;
                    }
                    // There is none without a delimiter.
                    ListEntry::Prefix(prefix) => after = Some(VersionPosition::Name(ListPosition::Prefix(prefix.clone()))),
                }
            }
            if !page.is_truncated || page.entries.is_empty() {
                return Ok(());
            }
            // Others want the catalog too.
            tokio::time::sleep(self.config.listed_pause).await;
        }
    }

    async fn version(&self, bucket: BucketId, name: &str, listed: &ListedVersion) -> CatalogResult<()> {
        let ListedRow::Version(summary) = &listed.row else { return Ok(()) };
        let request =
            GetVersion { bucket, key: listed.key.clone(), version_id: Some(summary.id), part_number: None, with_content: true };
        let found = match self.ask(|catalog| catalog.get_version(request.clone())).await {
            Ok(found) => found,
            // It was deleted or replaced meanwhile.
            Err(CatalogError::NoSuchKey | CatalogError::NoSuchVersion | CatalogError::IsDeleteMarker { .. }) => return Ok(()),
            Err(CatalogError::Damaged(why)) => {
                self.broken(format!("object {name}/{}: its record cannot be read: {why}", listed.key));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let length = found.version.summary.length;
        let placed = match found.content {
            None => Ok(0),
            Some(FoundContent::Inline(bytes)) => Ok(bytes.len() as u64),
            Some(FoundContent::Extents(extents)) => placed(&extents, &extents.blobs),
            Some(FoundContent::Manifest(manifest)) => match self.manifest(manifest).await {
                Ok(placed) => placed,
                // The last version that had it is gone.
                Err(CatalogError::NoSuchVersion) => return Ok(()),
                Err(CatalogError::Damaged(why)) => Err(why),
                Err(error) => return Err(error),
            },
        };
        {
            let objects = &mut self.progress.lock().objects;
            objects.versions += 1;
            objects.bytes += length;
        }
        match placed {
            Ok(placed) if placed == length => {}
            Ok(placed) => self.broken(format!("object {name}/{}: {placed} of its {length} bytes have a place", listed.key)),
            Err(why) => self.broken(format!("object {name}/{}: {why}", listed.key)),
        }
        Ok(())
    }

    /// The bytes of a completed upload's parts that have a place, or why some have none.
    async fn manifest(&self, manifest: ManifestId) -> CatalogResult<Result<u64, String>> {
        let (mut bytes, mut ordinal) = (0, 0);
        loop {
            let from = ManifestPosition::Ordinal(ordinal);
            let page = self
                .ask(|catalog| catalog.manifest_parts(ManifestParts { manifest, from, limit: PARTS_PAGE, with_content: true }))
                .await?;
            for part in &page.parts {
                ordinal = part.span.ordinal.saturating_add(1);
                match placed(&part.content, &page.blobs) {
                    Ok(placed) if placed == part.span.length => bytes += placed,
                    Ok(placed) => {
                        return Ok(Err(format!(
                            "{placed} of {} bytes of part {} have a place",
                            part.span.length, part.span.number
                        )));
                    }
                    Err(why) => return Ok(Err(why)),
                }
            }
            if !page.is_truncated || page.parts.is_empty() {
                return Ok(Ok(bytes));
            }
        }
    }
}

/// The bytes of extents that have a place, or why some have none. Pure.
fn placed(extents: &FoundExtents, blobs: &[(BlobId, BlobRecord)]) -> Result<u64, String> {
    let blobs: BTreeMap<BlobId, &BlobRecord> = blobs.iter().map(|(id, record)| (*id, record)).collect();
    let mut inline = extents.inline.iter();
    let mut bytes: u64 = 0;
    for extent in &extents.extents {
        match extent {
            Extent::Inline { length, .. } => {
                let there = inline.next().map(|bytes| bytes.len() as u64);
                if there != Some(*length) {
                    return Err(format!("{length} bytes are to be in the catalog, and {} are", there.unwrap_or(0)));
                }
            }
            Extent::Blob { id, offset, length } => {
                let shown = || format!("blob {}.{}", id.session.0, id.counter);
                let blob = blobs.get(id).ok_or_else(|| format!("{} is not there", shown()))?;
                if blob.condemned.is_some() {
                    return Err(format!("{} is on its way out", shown()));
                }
                let has = blob.content.length();
                if offset.checked_add(*length).is_none_or(|end| end > has) {
                    return Err(format!("{} has {has} bytes, and {length} from {offset} on are to be in it", shown()));
                }
            }
        }
        bytes = bytes.saturating_add(extent.length());
    }
    Ok(bytes)
}

/// The audit of a store: the one that runs, or the last one.
#[derive(Default)]
pub(crate) struct Audits {
    current: Mutex<Option<(Arc<AuditRun>, tokio::task::AbortHandle)>>,
}

impl Audits {
    /// Starts one; `false` where one runs.
    pub(crate) fn start(&self, run: AuditRun) -> bool {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|(run, _)| run.is_running()) {
            return false;
        }
        let run = Arc::new(run);
        let running = Arc::clone(&run);
        let task = tokio::spawn(async move { running.run().await });
        *current = Some((run, task.abort_handle()));
        true
    }

    /// Stops the one that runs, if one does.
    pub(crate) fn stop(&self) {
        if let Some((run, task)) = &*self.current.lock() {
            task.abort();
            run.ended(AuditEnd::Stopped);
        }
    }

    /// How the last one is going, or went.
    pub(crate) fn report(&self) -> Option<AuditReport> {
        let run = self.current.lock().as_ref().map(|(run, _)| Arc::clone(run));
        run.map(|run| run.report())
    }
}

#[cfg(test)]
mod tests;
