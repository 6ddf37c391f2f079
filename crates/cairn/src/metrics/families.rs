//! Every metric: its name, its labels and what it says. `docs/observing.md` shows this list, and a test holds the two together.

use cairn_metrics::{Family, Kind};

macro_rules! families {
    ($($constant:ident = $name:literal $kind:ident [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Family = Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// Every metric.
        #[cfg(test)]
        pub static ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    INFO = "cairn_info" Gauge ["version"] "1; the label says which version runs.";
    READY = "cairn_ready" Gauge [] "1 while objects can be written, else 0.";

    S3_REQUESTS = "cairn_s3_requests_total" Counter ["operation", "status"]
        "S3 requests that have ended, by operation and by the hundreds of their status; abandoned: the client went away before the answer.";
    S3_TIMES = "cairn_s3_request_duration_seconds" Histogram ["operation"]
        "Time from the end of a request's head to the end of its answer, a slow client's time included.";
    S3_RECEIVED = "cairn_s3_received_bytes_total" Counter ["operation"]
        "Bytes of request bodies as they came over the connection, of requests that were answered.";
    S3_SENT = "cairn_s3_sent_bytes_total" Counter ["operation"] "Bytes of answers' bodies.";
    S3_RUNNING = "cairn_s3_requests_running" Gauge [] "S3 requests that run now.";
    S3_SLOWED_DOWN = "cairn_s3_requests_slowed_down_total" Counter []
        "Requests that were answered SlowDown because there was no room for them in time.";
    S3_WAITING = "cairn_s3_requests_waiting" Gauge [] "S3 requests that wait until there is room for them.";
    S3_BODY_MEMORY = "cairn_s3_body_memory_bytes" Gauge [] "What bodies on their way in may hold now beside the store's own memory.";
    S3_TIMEOUTS = "cairn_s3_timeouts_total" Counter ["waited_for"]
        "What clients were given up for: a handshake, a head, or more of a body that did not come in time, or an answer that nobody took (reader).";
    S3_BROKEN_OFF = "cairn_s3_answers_broken_off_total" Counter [] "Answers whose body did not go out whole.";
    S3_CONNECTIONS_REFUSED = "cairn_s3_connections_refused_total" Counter []
        "Connections that were closed at once because their address had as many as it may.";
    S3_HANDSHAKES_FAILED = "cairn_s3_handshakes_failed_total" Counter [] "TLS handshakes that came to nothing.";
    S3_CONNECTIONS = "cairn_s3_connections" Gauge [] "Connections to the S3 address that are open now.";
    TLS_RELOADS = "cairn_tls_reloads_total" Counter ["listener", "result"]
        "How often TLS files had changed: their certificates were replaced, or could not be used (failed).";
    TLS_STALE = "cairn_tls_stale" Gauge ["listener"] "1 while TLS files hold what cannot be used, so that older certificates are in force.";
    TLS_NOT_AFTER = "cairn_tls_not_after_seconds" Gauge ["listener"] "Until when the certificate in force is good, seconds since 1970.";
    LOG_DROPPED = "cairn_access_log_lines_dropped_total" Counter []
        "Lines of the access log that were dropped because whoever reads them did not keep up.";

    BUCKET_REQUESTS = "cairn_bucket_requests_total" Counter ["tenant", "bucket", "status"]
        "S3 requests on buckets that exist, by senders who may use them; the bucket _other stands for all without numbers of their own.";
    BUCKET_RECEIVED = "cairn_bucket_received_bytes_total" Counter ["tenant", "bucket"] "Bytes of these requests' bodies.";
    BUCKET_SENT = "cairn_bucket_sent_bytes_total" Counter ["tenant", "bucket"] "Bytes of their answers' bodies.";

    ZONE_STATE = "cairn_zone_state" Gauge ["zone", "state"]
        "1 for what the zone's catalog is doing now, 0 for everything else; voting is the state to be in.";
    ZONE_INCARNATION = "cairn_zone_incarnation" Gauge ["zone"] "The zone's life; it rises when the zone has lost its memory.";
    ZONE_TAKES_WRITES = "cairn_zone_takes_writes" Gauge ["zone"] "1 while writes are sent to the zone as in good times.";
    ZONE_TAKES_READS = "cairn_zone_takes_reads" Gauge ["zone"] "1 while reads are.";
    ZONE_CHUNKS = "cairn_zone_chunks" Gauge ["zone"] "Live chunks; missing while they are not open.";
    ZONE_STORED = "cairn_zone_stored_bytes" Gauge ["zone"] "Stored bytes of live chunks.";
    ZONE_FREE = "cairn_zone_free_bytes" Gauge ["zone"] "Bytes that can still be written to the zone.";
    ZONE_TIMES = "cairn_zone_operation_duration_seconds" Histogram ["zone", "operation"]
        "How long writes and reads of chunks took that did well.";
    ZONE_BYTES = "cairn_zone_operation_bytes_total" Counter ["zone", "operation"] "Stored bytes that they wrote or read.";
    ZONE_FAILED = "cairn_zone_operations_failed_total" Counter ["zone", "operation", "reason"]
        "Writes and reads of chunks that did not do well: answered with an error or too late (failed), or given up unanswered (abandoned).";
    ZONE_UNANSWERED = "cairn_zone_unanswered_write_bytes" Gauge ["zone"] "Bytes of writes that the zone has not answered yet.";
    ZONE_LAG = "cairn_zone_catalog_lag_batches" Gauge ["zone"]
        "Batches of the catalog's log that are not known to be durable in the zone.";
    ZONE_SYNCS = "cairn_zone_catalog_sync_seconds" Histogram ["zone"]
        "How long it took to make appended batches of the catalog's log durable (fdatasync).";

    CATALOG_COMMANDS = "cairn_catalog_batch_commands" Histogram [] "Changes that share one batch of the catalog's log.";
    CATALOG_BYTES = "cairn_catalog_batch_bytes" Histogram [] "Bytes of a batch.";
    CATALOG_APPENDED = "cairn_catalog_appended_bytes_total" Counter [] "Bytes appended to each zone's log.";
    CATALOG_BATCH = "cairn_catalog_last_batch" Gauge [] "The number of the last batch.";
    CATALOG_KEPT = "cairn_catalog_kept_batches" Gauge [] "Batches that the logs have to keep for zones that do not have them.";
    CATALOG_EPOCH = "cairn_catalog_epoch" Gauge [] "The epoch; it rises with every start.";

    REPAIR_KNOWN = "cairn_repair_known" Gauge [] "1 where the catalog has just said what lacks copies; the next two are missing where it has not.";
    REPAIR_REBUILDING = "cairn_repair_rebuilding" Gauge [] "1 while blobs are looked through for those that a zone has lost.";
    REPAIR_INCOMPLETE = "cairn_repair_incomplete_blobs" Gauge [] "Blobs that have less than three copies now, counted up to 1,000.";
    REPAIR_COPIES = "cairn_repair_copies_total" Counter ["result"] "Copies that repair made, and those it could not make at the time.";
    REPAIR_BYTES = "cairn_repair_copied_bytes_total" Counter [] "Stored bytes of copies that repair made.";
    WITHOUT_COPY = "cairn_chunks_without_copy" Gauge [] "Chunks of which no good copy was found. Anything but 0 needs a person.";
    DAMAGE_FOUND = "cairn_damage_found_total" Counter [] "Copies that were found damaged, each once.";
    DAMAGE_WAITING = "cairn_damage_waiting" Gauge [] "Damaged copies that repair has not seen to.";
    DAMAGE_CLEARED = "cairn_damage_cleared_total" Counter [] "Damaged copies that were taken off their records.";
    COMPACTION_CHUNKS = "cairn_compaction_chunks_total" Counter ["result"]
        "Chunks that compaction moved, moves that were refused because the chunk's record had changed, and those that failed for the time being.";
    COMPACTION_BYTES = "cairn_compaction_moved_bytes_total" Counter [] "Stored bytes that compaction moved.";
    COMPACTION_WAITING = "cairn_compaction_waiting" Gauge [] "Copies that compaction has replaced, and that wait for their deletion.";
    SCRUB_BYTES = "cairn_scrub_read_bytes_total" Counter [] "Stored bytes that the scrub has read.";
    SCRUB_WALKS = "cairn_scrub_walks_total" Counter [] "Walks of the scrub through everything that came to their end.";
    ORPHANS_DELETED = "cairn_orphans_deleted_total" Counter [] "Copies that no object named, and that were deleted.";

    CHUNKS_WRITTEN = "cairn_chunks_written_total" Counter ["result"]
        "Chunks of new objects that became durable in two zones (safe), and those for which no two zones were found (failed).";
    READS_HEDGED = "cairn_reads_hedged_total" Counter [] "Reads that asked a second zone because the first took long.";
    WRITE_MEMORY = "cairn_write_memory_bytes" Gauge ["state"] "The memory for bodies on their way in: used and free.";
    UPLOADS_RUNNING = "cairn_uploads_running" Gauge [] "Bodies on their way in.";

    PROCESS_CPU = "process_cpu_seconds_total" Counter [] "Processor time of the process, user and system.";
    PROCESS_RESIDENT = "process_resident_memory_bytes" Gauge [] "Resident memory.";
    PROCESS_VIRTUAL = "process_virtual_memory_bytes" Gauge [] "Virtual memory.";
    PROCESS_FILES = "process_open_fds" Gauge [] "Open file descriptors.";
    PROCESS_FILES_MAX = "process_max_fds" Gauge [] "How many there may be.";
    PROCESS_THREADS = "process_threads" Gauge [] "Threads.";
    PROCESS_START = "process_start_time_seconds" Gauge [] "When the process started, seconds since 1970.";
}
