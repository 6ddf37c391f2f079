-- The rows of the catalog (ADR 13). Every table is keyed by the very bytes by which the embedded engine keys its rows: the order of bytea
-- is the order of its bytes, whatever the database's collation. What statements judge by stands in columns; what only Cairn reads is a
-- record in its own encoding (cairn_types::codec).

-- Numbers of versions, parts, inline bodies, manifests, uploads, buckets, tenants. A commit that needs several has a block of 4096. CACHE 1: a
-- connection that kept numbers in stock would give a key's later version the lower one (R2).
CREATE SEQUENCE numbers AS bigint INCREMENT BY 4096 MINVALUE 1 START WITH 4096 CACHE 1 NO CYCLE;

-- Catalog time, ms (T1). One row.
CREATE TABLE clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    catalog_ms bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO clock (catalog_ms) SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- When each timeline of the server was first seen (P4). The one that the schema is made on has no predecessor that anybody could still believe.
CREATE TABLE timelines (timeline bigint PRIMARY KEY, seen_at timestamptz NOT NULL);

-- One row for each connection that commits (P2): the number of its last commit, and the number up to which its commits are refused.
CREATE TABLE lanes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    committed bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    used_ms bigint NOT NULL,
    answer_sequence bigint,         -- what the last commit answered, where it was one statement
    answer_ms bigint
) WITH (fillfactor = 50);

CREATE TABLE current_versions (
    key bytea PRIMARY KEY,
    sequence bigint NOT NULL,
    has_id boolean NOT NULL,        -- else it is the null version; the id follows from bucket, key and sequence
    modified_ms bigint NOT NULL,
    created_ms bigint NOT NULL,
    length bigint NOT NULL,
    etag bytea NOT NULL,
    checksum bytea,
    storage_class smallint NOT NULL,
    body smallint NOT NULL,         -- 0: empty, 1: inline, 2: extents, 3: manifest
    owner bigint,                   -- the inline body or the manifest
    part_count integer,
    extents bytea,
    blobs bytea,                    -- 16 bytes for each blob that the extents name; NULL where extents are inline, too
    attributes bytea NOT NULL,      -- metadata and tags
    object_lock bytea
) WITH (fillfactor = 85);

-- All other versions, and delete markers (which have no length).
CREATE TABLE other_versions (
    key bytea PRIMARY KEY,
    sequence bigint NOT NULL,
    has_id boolean NOT NULL,
    modified_ms bigint NOT NULL,
    created_ms bigint NOT NULL,
    length bigint,
    etag bytea,
    checksum bytea,
    storage_class smallint,
    body smallint,
    owner bigint,
    part_count integer,
    extents bytea,
    blobs bytea,
    attributes bytea,
    object_lock bytea
);

-- An inline body stays in its row up to a page, and is not compressed: a second heap for every body costs more than it saves.
CREATE TABLE inline_bodies (key bytea PRIMARY KEY, value bytea NOT NULL) WITH (toast_tuple_target = 8160);
ALTER TABLE inline_bodies ALTER COLUMN value SET STORAGE EXTERNAL;

CREATE TABLE blobs (
    key bytea PRIMARY KEY,
    refs bigint NOT NULL,
    due_ms bigint,                  -- condemned, and when its grace ends
    remaining smallint,             -- condemned, and which zones have yet to confirm
    missing smallint NOT NULL,      -- not condemned, and which zones it lacks
    content bytea NOT NULL
) WITH (fillfactor = 85);
CREATE INDEX blobs_incomplete ON blobs (missing, key) WHERE missing <> 0;
CREATE INDEX blobs_condemned ON blobs (remaining, due_ms, key) WHERE remaining IS NOT NULL;

-- What has changed, by the lane that changed it, so that writers into one bucket do not wait for each other; the sum is the usage.
CREATE TABLE usage_deltas (
    key bytea NOT NULL,
    stripe smallint NOT NULL,
    objects bigint NOT NULL,
    object_bytes bigint NOT NULL,
    noncurrent_versions bigint NOT NULL,
    noncurrent_bytes bigint NOT NULL,
    delete_markers bigint NOT NULL,
    uploads bigint NOT NULL,
    parts bigint NOT NULL,
    part_bytes bigint NOT NULL,
    PRIMARY KEY (key, stripe)
) WITH (fillfactor = 50);

CREATE TABLE buckets (key bytea PRIMARY KEY, versioning smallint NOT NULL, value bytea NOT NULL);

CREATE TABLE meta (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE null_versions (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE manifests (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE parts (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE uploads (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE abandoned (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE completed (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE completed_due (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE sessions (key bytea PRIMARY KEY, value bytea NOT NULL) WITH (fillfactor = 50);
CREATE TABLE zones (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE tenants (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE tenant_names (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE accounts (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE access_keys (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE account_keys (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE bucket_names (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE account_buckets (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE tenant_accounts (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE bucket_tags (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE bucket_cors (key bytea PRIMARY KEY, value bytea NOT NULL);

-- The timeline that this primary writes, by the name of its log: what pg_control_checkpoint() says is old until the first checkpoint behind a promotion.
CREATE FUNCTION timeline() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint $$;
INSERT INTO timelines (timeline, seen_at) SELECT timeline(), '-infinity';

-- A gateway's heartbeat: a commit that a primary without its standbys cannot have acknowledged (P4). Brings catalog time forward (T1).
CREATE FUNCTION beat(proposed_ms bigint, OUT on_timeline bigint, OUT age_ms bigint, OUT has_standbys boolean, OUT catalog_ms bigint)
LANGUAGE plpgsql AS $$
DECLARE
    first_seen timestamptz;
BEGIN
    UPDATE clock c SET catalog_ms = greatest(c.catalog_ms, proposed_ms) RETURNING c.catalog_ms INTO catalog_ms;
    on_timeline := timeline();
    SELECT t.seen_at INTO first_seen FROM timelines t WHERE t.timeline = on_timeline;
    IF NOT FOUND THEN
        first_seen := clock_timestamp();
        INSERT INTO timelines (timeline, seen_at) VALUES (on_timeline, first_seen) ON CONFLICT DO NOTHING;
    END IF;
    age_ms := CASE WHEN isfinite(first_seen) THEN (extract(epoch FROM clock_timestamp() - first_seen) * 1000)::bigint ELSE 86400000 END;
    has_standbys := current_setting('synchronous_standby_names') <> '';
END $$;

-- Takes locks one by one, in the order asked for, shared or not (P1). Volatile, as every function that commits: at read committed each of its
-- statements sees what was committed before it began, so what follows a lock sees what the lock waited for.
CREATE FUNCTION take_locks(ids bigint[], are_shared boolean[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a commit runs at read committed' USING ERRCODE = 'CN001';
    END IF;
    FOR place IN 1 .. cardinality(ids) LOOP
        IF are_shared[place] THEN
            PERFORM pg_advisory_xact_lock_shared(ids[place]);
        ELSE
            PERFORM pg_advisory_xact_lock(ids[place]);
        END IF;
    END LOOP;
END $$;

-- The first statement of every commit: names it, and refuses it where its lane was fenced off meanwhile (P2).
CREATE FUNCTION begin_commit(lane bigint, number bigint, ids bigint[], are_shared boolean[], OUT catalog_ms bigint, OUT wall_ms bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes SET committed = number, used_ms = (SELECT c.catalog_ms FROM clock c) WHERE id = lane AND fence < number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this lane is fenced off' USING ERRCODE = 'CN002';
    END IF;
    PERFORM take_locks(ids, are_shared);
    SELECT c.catalog_ms INTO catalog_ms FROM clock c;
    wall_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
END $$;

-- Refuses whatever this lane may still be about to commit up to this number, and says what it has committed (P2).
CREATE FUNCTION fence_lane(lane bigint, number bigint, OUT committed bigint, OUT answer_sequence bigint, OUT answer_ms bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes l SET fence = greatest(l.fence, number) WHERE l.id = lane
        RETURNING l.committed, l.answer_sequence, l.answer_ms INTO committed, answer_sequence, answer_ms;
END $$;

-- A write of an inline body where no versions are kept: the state machine's `put` in one statement. Status 0: done; 1: another case, nothing was done;
-- else why it was not: 2 no such bucket, 3 the session is closed, 4 the condition does not hold, 5 no such key. What is refused writes nothing.
CREATE FUNCTION put_inline(
    lane bigint, number bigint, stripe smallint, ids bigint[], are_shared boolean[], bucket_key bytea, row_key bytea, session_key bytea,
    condition smallint, etags bytea[], bytes bytea, new_etag bytea, new_checksum bytea, new_class smallint, new_attributes bytea,
    OUT status smallint, OUT new_sequence bigint, OUT new_ms bigint
) LANGUAGE plpgsql AS $$
DECLARE
    kept smallint;
    is_new boolean;
    old_length bigint;
    old_etag bytea;
    old_body smallint;
    old_owner bigint;
    old_lock bytea;
    new_length bigint := length(bytes);
    inline_id bigint;
    now_ms bigint;
BEGIN
    PERFORM take_locks(ids, are_shared);
    SELECT b.versioning INTO kept FROM buckets b WHERE b.key = bucket_key;
    IF NOT FOUND THEN status := 2; RETURN; END IF;
    IF kept <> 0 THEN status := 1; RETURN; END IF;
    PERFORM FROM sessions s WHERE s.key = session_key;
    IF NOT FOUND THEN status := 3; RETURN; END IF;
    SELECT v.length, v.etag, v.body, v.owner, v.object_lock INTO old_length, old_etag, old_body, old_owner, old_lock
        FROM current_versions v WHERE v.key = row_key;
    is_new := NOT FOUND;
    IF is_new THEN
        IF condition >= 2 THEN status := 5; RETURN; END IF;
    ELSE
        IF condition = 1 OR (condition = 3 AND NOT old_etag = ANY (etags)) THEN status := 4; RETURN; END IF;
        IF old_body > 1 OR old_lock IS NOT NULL THEN status := 1; RETURN; END IF;
    END IF;

    -- Under the key's lock, so it is above all that the key has (R2).
    inline_id := nextval('numbers');
    new_sequence := inline_id + 1;
    new_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    SELECT c.catalog_ms INTO now_ms FROM clock c;
    IF new_length > 0 THEN
        INSERT INTO inline_bodies (key, value) VALUES (int8send(inline_id), bytes);
    END IF;
    IF is_new THEN
        INSERT INTO current_versions (key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class, body, owner, attributes)
            VALUES (row_key, new_sequence, false, new_ms, now_ms, new_length, new_etag, new_checksum, new_class,
                CASE WHEN new_length > 0 THEN 1 ELSE 0 END, CASE WHEN new_length > 0 THEN inline_id END, new_attributes);
    ELSE
        IF old_body = 1 THEN
            DELETE FROM inline_bodies i WHERE i.key = int8send(old_owner);
        END IF;
        UPDATE current_versions v SET sequence = new_sequence, has_id = false, modified_ms = new_ms, created_ms = now_ms, length = new_length,
            etag = new_etag, checksum = new_checksum, storage_class = new_class, body = CASE WHEN new_length > 0 THEN 1 ELSE 0 END,
            owner = CASE WHEN new_length > 0 THEN inline_id END, attributes = new_attributes
            WHERE v.key = row_key;
    END IF;
    INSERT INTO usage_deltas AS u VALUES (bucket_key, stripe, is_new::int, new_length - coalesce(old_length, 0), 0, 0, 0, 0, 0, 0)
        ON CONFLICT ON CONSTRAINT usage_deltas_pkey DO UPDATE SET objects = u.objects + excluded.objects, object_bytes = u.object_bytes + excluded.object_bytes;
    UPDATE lanes l SET committed = number, used_ms = now_ms, answer_sequence = new_sequence, answer_ms = new_ms
        WHERE l.id = lane AND l.fence < number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this lane is fenced off' USING ERRCODE = 'CN002';
    END IF;
    status := 0;
END $$;

-- Current versions from a key on, folders rolled up: a folder costs one seek, however much is in it. `head` is the bucket and the prefix. Stable: one
-- snapshot for all of its statements.
CREATE FUNCTION list_folders(head bytea, delimiter bytea, from_key bytea, to_key bytea, most integer)
RETURNS TABLE (
    folder boolean, key bytea, sequence bigint, has_id boolean, modified_ms bigint, created_ms bigint, length bigint, etag bytea, checksum bytea,
    storage_class smallint
) LANGUAGE plpgsql STABLE ROWS 1000 AS $$
DECLARE
    place bytea := from_key;
    found_row record;
    at integer;
    count integer := 0;
    is_in_folder boolean;
BEGIN
    LOOP
        is_in_folder := false;
        FOR found_row IN
            SELECT v.key, v.sequence, v.has_id, v.modified_ms, v.created_ms, v.length, v.etag, v.checksum, v.storage_class
                FROM current_versions v WHERE v.key >= place AND v.key < to_key ORDER BY v.key LIMIT most - count
        LOOP
            at := position(delimiter IN substring(found_row.key FROM length(head) + 1));
            count := count + 1;
            IF at > 0 THEN
                folder := true;
                key := substring(found_row.key FROM 1 FOR length(head) + at - 1 + length(delimiter));
                RETURN NEXT;
                -- The first key behind all that begin so: text never holds the byte 255.
                place := set_byte(key, length(key) - 1, get_byte(key, length(key) - 1) + 1);
                is_in_folder := true;
                EXIT;
            END IF;
            folder := false;
            key := found_row.key;
            sequence := found_row.sequence;
            has_id := found_row.has_id;
            modified_ms := found_row.modified_ms;
            created_ms := found_row.created_ms;
            list_folders.length := found_row.length;
            etag := found_row.etag;
            checksum := found_row.checksum;
            storage_class := found_row.storage_class;
            RETURN NEXT;
        END LOOP;
        EXIT WHEN NOT is_in_folder OR count >= most;
    END LOOP;
END $$;
