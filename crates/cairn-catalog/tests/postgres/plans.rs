//! How the server does what it is asked: by seeking in an index, however large the tables are.
//!
//! What is judged are the plans of the statements that the engine really sends, those within functions included, as `auto_explain` writes them into the
//! server's log, with the planner free to choose (the engine's own preference against sequential scans is taken back).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::postgres::{ConnectionString, PostgresCatalog, PostgresSettings, migrate};
use cairn_catalog::{
    AccessKeyName, Catalog, CloseSilentSessions, ConfirmDeletions, CopyVersion, CreateAccessKey, CreateBucket, DeleteTarget,
    DeleteVersion, DeleteVersions, ListAccessKeys, ListBlobs, ListBuckets, ListCondemned, ListIncomplete, ListObjects,
    ListPosition, ListScope, ListUploads, ListVersions, NewBlob, NewContent, PutVersion, Reap, SourceVersion, TakeLease,
    WriteCondition,
};
use cairn_testkit::catalog_conformance::{attributes, key, replica};
use cairn_types::records::{BlobContent, ChunkRecord, Layout, Versioning, ZoneSet};
use cairn_types::{AccountId, BlobId, BucketId, SessionId, TenantId};

use crate::gateways::{current, gateway, prepare, put};
use crate::server::Server;

/// Tables that grow with what is stored or with who uses it. The others have a row or a few.
const LARGE: [&str; 13] = [
    "current_versions",
    "other_versions",
    "inline_bodies",
    "blobs",
    "null_versions",
    "parts",
    "uploads",
    "abandoned",
    "completed_due",
    "sessions",
    "access_keys",
    "bucket_names",
    "lanes",
];

/// Statements that are few, and read what is small.
const UNJUDGED: [&str; 2] = ["SET synchronous_commit", "DELETE FROM lanes"];

/// Blocks of 8 KiB that a statement may touch, whatever the size of the tables: a page of 1,000 objects that were written in another order than that of
/// their names takes one for each, and a connection's first statements read the server's own catalogs.
const BLOCKS_MAX: u64 = 1500;

const WATCHED: &str = "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on \
    -c auto_explain.log_buffers=on -c auto_explain.log_timing=off -c auto_explain.log_nested_statements=on -c enable_seqscan=on";

/// Tables of a size at which reading all of one costs more than seeking in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn seeks_in_tables_of_20_000_rows() {
    seeks(20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and some minutes"]
async fn long_seeks_in_tables_of_a_million_rows() {
    seeks(1_000_000).await;
}

async fn seeks(rows: u32) {
    let server = Arc::new(Server::start());
    let settings = server.settings("plans");
    migrate(&settings).await.expect("a schema");
    let catalog = gateway(settings.clone());
    let (plain, session) = prepare(&catalog, Versioning::Unversioned).await;
    let tenant = catalog.tenant_by_name("default".to_owned()).await.expect("an answer").expect("a tenant").id;
    let kept = CreateBucket {
        tenant,
        name: "kept".parse().expect("a name"),
        owner: AccountId([7; 32]),
        versioning: Versioning::Suspended,
        tags: Vec::new(),
    };
    let kept = catalog.create_bucket(kept).await.expect("a bucket").id;
    let enabled = CreateBucket {
        tenant,
        name: "enabled".parse().expect("a name"),
        owner: AccountId([7; 32]),
        versioning: Versioning::Enabled,
        tags: Vec::new(),
    };
    let enabled = catalog.create_bucket(enabled).await.expect("a bucket").id;
    let mut user = User { catalog, session, tenant, buckets: [plain, kept, enabled], next_blob: 0 };
    user.use_everything().await;
    fill(&server, rows, plain, enabled).await;
    // From now on all that the engine asks is explained.
    let watched = format!("{} options='{WATCHED}'", server.connection_text());
    let watched = PostgresSettings { connection: ConnectionString::new(watched), ..settings };
    let before = server.log().len();
    user.catalog = gateway(watched);
    // Twice: the first time the gateway does not know the zones' incarnations yet.
    for _ in 0..2 {
        user.use_everything().await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    user.catalog.machine().forget_lanes().await.expect("a round");
    judge(server.log().get(before..).expect("a log that grows"));
}

/// Fills the tables with copies of what is there.
async fn fill(server: &Server, rows: u32, plain: BucketId, enabled: BucketId) {
    let observer = server.connect().await;
    let some = rows / 4;
    let (plain, enabled) = (format!("int8send({})", plain.0), format!("int8send({})", enabled.0));
    let key = |bucket: &str| format!("{bucket} || convert_to('bulk/' || n % 50 || '/' || n, 'UTF8')");
    let statements = [
        "SET search_path = plans; SET synchronous_commit = off".to_owned(),
        format!(
            "INSERT INTO current_versions SELECT {}, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class, body, owner, \
             part_count, extents, blobs, attributes, object_lock FROM generate_series(1, {rows}) n, \
             (SELECT * FROM current_versions WHERE body = 1 LIMIT 1) t",
            key(&plain)
        ),
        format!(
            "INSERT INTO other_versions SELECT {} || '\\x0000'::bytea || int8send(~ n::bigint), n, true, modified_ms, created_ms, length, etag, \
             checksum, storage_class, body, owner, part_count, extents, blobs, attributes, object_lock FROM generate_series(1, {rows}) n, \
             (SELECT * FROM other_versions WHERE body = 1 LIMIT 1) t",
            key(&enabled)
        ),
        format!("INSERT INTO inline_bodies SELECT int8send(n::bigint << 40), '\\x00' FROM generate_series(1, {rows}) n"),
        format!(
            "INSERT INTO blobs SELECT int8send(1::bigint << 40) || int8send(n), 1, NULL, NULL, CASE WHEN n % 1000 = 0 THEN 1 ELSE 0 END, content \
             FROM generate_series(1, {rows}) n, (SELECT content FROM blobs LIMIT 1) t"
        ),
        format!(
            "INSERT INTO blobs SELECT int8send(2::bigint << 40) || int8send(n), 0, 1::bigint << 50, 7, 0, content FROM generate_series(1, {some}) n, \
             (SELECT content FROM blobs LIMIT 1) t"
        ),
        format!("INSERT INTO null_versions SELECT {}, int8send(n) FROM generate_series(1, {some}) n", key(&enabled)),
        format!(
            "INSERT INTO parts SELECT int8send(n::bigint << 40) || '\\x00000001'::bytea, n, 0, 0, 1, content FROM generate_series(1, {some}) n, \
             (SELECT content FROM parts LIMIT 1) t"
        ),
        format!(
            "INSERT INTO uploads SELECT {} || '\\x0000'::bytea || int8send(n), nonce, value FROM generate_series(1, {some}) n, \
             (SELECT nonce, value FROM uploads LIMIT 1) t",
            key(&enabled)
        ),
        format!(
            "INSERT INTO abandoned SELECT int8send(1::bigint << 50) || int8send(n), value FROM generate_series(1, {some}) n, \
             (SELECT value FROM abandoned LIMIT 1) t"
        ),
        format!("INSERT INTO completed_due SELECT int8send(1::bigint << 50) || int8send(n), '' FROM generate_series(1, {some}) n"),
        format!(
            "INSERT INTO access_keys SELECT convert_to('BULK' || n, 'UTF8'), value FROM generate_series(1, {some}) n, \
             (SELECT value FROM access_keys LIMIT 1) t"
        ),
        format!(
            "INSERT INTO bucket_names SELECT int8send(1::bigint << 50) || convert_to('bulk-' || n, 'UTF8'), value FROM generate_series(1, {some}) n, \
             (SELECT value FROM bucket_names LIMIT 1) t"
        ),
        // Few are open at a time, and few connections are: but more than one reads at once.
        "INSERT INTO sessions SELECT int8send(n::bigint << 40), 0, value FROM generate_series(1, 3000) n, (SELECT value FROM sessions LIMIT 1) t".to_owned(),
        "INSERT INTO lanes (used_ms) SELECT catalog_ms FROM clock, generate_series(1, 3000)".to_owned(),
        "VACUUM ANALYZE".to_owned(),
    ];
    for statement in statements {
        observer.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

struct User {
    catalog: Arc<PostgresCatalog>,
    session: SessionId,
    tenant: TenantId,
    buckets: [BucketId; 3],
    next_blob: u64,
}

impl User {
    fn put_blob(&mut self, bucket: BucketId, name: &str) -> PutVersion {
        self.next_blob += 1;
        let id = BlobId { session: self.session, counter: self.next_blob };
        let replicas = [0, 1, 2].map(|zone| Some(replica(1, &format!("{id:?}@{zone}"))));
        let chunks = vec![ChunkRecord { data_length: 1 << 20, replicas }];
        let content = BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks };
        let content = NewContent::Blobs(vec![NewBlob { id, content }]);
        PutVersion { content, ..put(bucket, self.session, name, 1, WriteCondition::None) }
    }

    async fn use_everything(&mut self) {
        for bucket in self.buckets {
            self.use_objects(bucket).await;
            self.list(bucket).await;
        }
        let [plain, _, enabled] = self.buckets;
        crate::background::use_uploads(&self.catalog, plain, self.session, &mut self.next_blob).await;
        crate::background::use_uploads(&self.catalog, enabled, self.session, &mut self.next_blob).await;
        self.use_directory().await;
        self.work_in_the_background().await;
    }

    async fn use_objects(&mut self, bucket: BucketId) {
        let (catalog, session) = (self.catalog.clone(), self.session);
        for _ in 0..2 {
            catalog.put_version(put(bucket, session, "small", 1, WriteCondition::None)).await.expect("a write");
            let blob = self.put_blob(bucket, "blob");
            catalog.put_version(blob).await.expect("a write");
        }
        let small = catalog.put_version(put(bucket, session, "small", 2, WriteCondition::Present)).await.expect("a write");
        let blob = current(&catalog, bucket, "blob").await.expect("a version").version.summary;
        for (name, version_id, sequence) in [("small", small.version_id, small.sequence), ("blob", blob.id, blob.sequence)] {
            current(&catalog, bucket, name).await.expect("a version");
            let source = SourceVersion { bucket, key: key(name), version_id, sequence };
            assert!(catalog.version_exists(source.clone()).await.expect("an answer"));
            let (key, attributes, condition) = (key(&format!("copy of {name}")), attributes(1), WriteCondition::None);
            let copy = CopyVersion { session, source, bucket, key, attributes, condition };
            catalog.copy_version(copy).await.expect("a copy");
        }
        let target = |name: &str, version_id| DeleteTarget { key: key(name), version_id, condition: WriteCondition::None };
        let request = DeleteVersion { bucket, target: target("small", Some(small.version_id)) };
        catalog.delete_version(request).await.expect("a deletion");
        catalog.delete_version(DeleteVersion { bucket, target: target("blob", None) }).await.expect("a deletion");
        let targets = vec![target("copy of small", None), target("copy of blob", None), target("nothing", None)];
        catalog.delete_versions(DeleteVersions { bucket, targets }).await.expect("deletions");
        // Whatever comes next finds something.
        catalog.put_version(put(bucket, session, "small", 3, WriteCondition::None)).await.expect("a write");
        catalog.usage(bucket).await.expect("usage");
    }

    async fn list(&self, bucket: BucketId) {
        for (prefix, delimiter) in [("", None), ("", Some("/")), ("bulk/7/", Some("/")), ("bulk/", Some("/"))] {
            let scope = || ListScope { bucket, prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), limit: 1000 };
            self.catalog.list_objects(ListObjects { scope: scope(), after: None }).await.expect("a listing");
            let after = Some(ListPosition::Key("bulk/7/5".to_owned()));
            if "bulk/7/5".starts_with(prefix) {
                self.catalog.list_objects(ListObjects { scope: scope(), after }).await.expect("a listing");
            }
            let few = ListScope { limit: 20, ..scope() };
            self.catalog.list_versions(ListVersions { scope: few.clone(), after: None }).await.expect("a listing");
            self.catalog.list_uploads(ListUploads { scope: few, after: None }).await.expect("a listing");
        }
    }

    async fn use_directory(&self) {
        let catalog = &self.catalog;
        let new = CreateAccessKey {
            access_key_id: "KEY".to_owned(),
            account: AccountId([7; 32]),
            sealed_secret: bytes::Bytes::from_static(b"sealed"),
            grants: Vec::new(),
            description: String::new(),
            expires: None,
        };
        let name = || AccessKeyName { access_key_id: "KEY".to_owned() };
        let _ = catalog.create_access_key(new).await;
        catalog.access_key(name()).await.expect("an answer").expect("a key");
        let request = ListAccessKeys { account: Some(AccountId([7; 32])), after: None, limit: 10 };
        catalog.list_access_keys(request).await.expect("keys");
        let bucket = "kept".parse().expect("a name");
        catalog.bucket_by_name(self.tenant, bucket).await.expect("an answer").expect("a bucket");
        let request = ListBuckets { tenant: self.tenant, prefix: String::new(), after: None, limit: 10 };
        catalog.list_buckets(request).await.expect("buckets");
        catalog.settings_epoch().await.expect("an epoch");
        catalog.time().await.expect("a time");
    }

    async fn work_in_the_background(&self) {
        let (catalog, session) = (&self.catalog, self.session);
        assert!(catalog.heartbeat_session(session).await.expect("an answer"));
        let (name, silent_for) = ("repair".to_owned(), Duration::from_hours(1));
        catalog.take_lease(TakeLease { name, session, silent_for }).await.expect("a lease");
        let view = catalog
            .close_silent_sessions(CloseSilentSessions { silent_for: Duration::from_hours(10_000) })
            .await
            .expect("a view");
        assert!(!view.is_closed(session));
        catalog.reap(Reap { limit: 10 }).await.expect("a round");
        let page = catalog.blob_page(ListBlobs { after: None, limit: 10 }).await.expect("blobs");
        let ids: Vec<BlobId> = page.blobs.iter().map(|(id, _)| *id).collect();
        catalog.blobs(ids.clone()).await.expect("blobs");
        catalog.incomplete_blobs(ListIncomplete { zones: ZoneSet::ALL, from: None, limit: 10 }).await.expect("blobs");
        catalog.condemned_blobs(ListCondemned { zones: ZoneSet::ALL, from: None, limit: 10 }).await.expect("blobs");
        let confirmed = ids.into_iter().map(|id| (id, ZoneSet::ALL)).collect();
        catalog.confirm_deletions(ConfirmDeletions { confirmed }).await.expect("confirmations");
    }
}

/// A statement with its plan, as the log has it.
struct Explained<'a> {
    text: &'a str,
    lines: Vec<&'a str>,
}

fn explained(log: &str) -> Vec<Explained<'_>> {
    let mut all = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with("plan:") {
            continue;
        }
        let mut plan = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            plan.push(line.trim_end());
        }
        let text = plan.first().copied().unwrap_or_default();
        all.push(Explained { text, lines: plan });
    }
    all
}

/// Which table a line's node reads, where it does.
fn table_of<'a>(line: &'a str, kinds: &[&str]) -> Option<&'a str> {
    let kind = kinds.iter().find(|kind| line.contains(**kind))?;
    let rest = line.split_once(kind)?.1;
    let rest = rest.split_once(" on ").map_or(rest, |(_, rest)| rest);
    rest.split([' ', '(']).find(|word| !word.is_empty() && *word != "on")
}

fn number_behind(line: &str, word: &str) -> u64 {
    let digits = line.split_once(word).map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn judge(log: &str) {
    let mut wrong = BTreeSet::new();
    let mut sought: BTreeMap<&str, u64> = BTreeMap::new();
    let mut most_blocks = 0;
    let all = explained(log);
    // What a connection begins with, and what looks at all lanes of all connections, once a minute.
    let is_hot = |statement: &&Explained<'_>| !UNJUDGED.iter().any(|text| statement.text.contains(text));
    for statement in all.iter().filter(is_hot) {
        let mut blame = |why: String| {
            wrong.insert(format!("{why}: {}", statement.text.trim()));
        };
        let mut buffers = None;
        for (place, line) in statement.lines.iter().enumerate() {
            if let Some(table) = table_of(line, &["Seq Scan on"]).filter(|table| LARGE.contains(table)) {
                blame(format!("reads all of {table}"));
            }
            if let Some(table) = table_of(line, &["Index Scan", "Index Only Scan", "Bitmap Heap Scan"]) {
                if let Some(table) = LARGE.iter().find(|large| **large == table) {
                    *sought.entry(table).or_default() += 1;
                }
                // Of this node: the next one begins with an arrow.
                let own = statement.lines.iter().skip(place + 1).take_while(|line| !line.contains("->"));
                let is_large = LARGE.contains(&table);
                let mut own = own.filter(|line| line.contains("Index Cond:") || line.contains("Recheck Cond:"));
                if is_large && own.next().is_none() {
                    blame(format!("walks over an index of {table}"));
                }
            }
            if number_behind(line, "Rows Removed by Filter: ") > 100 {
                blame("passes over rows".to_owned());
            }
            if line.contains("Buffers: shared") && buffers.is_none() {
                buffers = Some(number_behind(line, "hit=") + number_behind(line, "read="));
            }
        }
        // The topmost node's: of all below it.
        let buffers = buffers.unwrap_or_default();
        if buffers > BLOCKS_MAX {
            blame(format!("touches {buffers} blocks by the plan{}", statement.lines.join("\n")));
        }
        most_blocks = most_blocks.max(buffers);
    }
    eprintln!("{} statements explained, {most_blocks} blocks at most, {sought:?}", all.len());
    assert!(all.len() > 500, "only {} statements were explained", all.len());
    for why in &wrong {
        eprintln!("{why}");
    }
    assert!(wrong.is_empty(), "{} statements do not seek", wrong.len());
    for table in LARGE {
        assert!(sought.contains_key(table), "nothing was asked of {table}");
    }
}
