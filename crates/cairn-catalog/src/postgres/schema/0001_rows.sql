-- The rows of the catalog (ADR 0011). Every table is keyed by the very bytes by which the embedded engine keys its rows: the order of bytea
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
INSERT INTO clock (catalog_ms) VALUES (0);

-- One row for each connection that commits (P2): the number of its last commit, and the number up to which its commits are refused.
CREATE TABLE lanes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    committed bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    used_ms bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE current_versions (
    key bytea PRIMARY KEY,
    sequence bigint NOT NULL,
    version bytea,                  -- NULL: the null version
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
    version bytea,
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
CREATE FUNCTION fence_lane(lane bigint, number bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_committed bigint;
BEGIN
    UPDATE lanes SET fence = greatest(fence, number) WHERE id = lane RETURNING committed INTO found_committed;
    RETURN found_committed;
END $$;
