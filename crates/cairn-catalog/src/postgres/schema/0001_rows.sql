-- The rows of the catalog (ADR 13). Every table is keyed by the very bytes by which the embedded engine keys its rows: the order of bytea
-- is the order of its bytes, whatever the database's collation. What statements judge by stands in columns; what only Cairn reads is a
-- record in its own encoding (cairn_types::codec).

-- Numbers of versions, parts, inline bodies, manifests, uploads, buckets, tenants. A commit that needs several has a block of 4096. CACHE 1: a
-- connection that kept numbers in stock would give a key's later version the lower one (R2).
CREATE SEQUENCE numbers AS bigint INCREMENT BY 4096 MINVALUE 1 START WITH 4096 CACHE 1 NO CYCLE;

-- An id that is not given twice, by whatever server, whatever it has forgotten: 64 random bits. (All but those of a random UUID that say what it is.)
CREATE FUNCTION random_id() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT ('x' || right(u.id, 12) || left(u.id, 4))::bit(64)::bigint FROM (SELECT gen_random_uuid()::text AS id) AS u $$;

-- Catalog time, ms (T1). One row.
CREATE TABLE clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    catalog_ms bigint NOT NULL,
    stepped_ms bigint NOT NULL DEFAULT 0    -- when nobody had been heard of for a while
) WITH (fillfactor = 10);
INSERT INTO clock (catalog_ms) SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- Whether this is still the catalog that it was (P5): by which server it was written, and how often it has forgotten what it had acknowledged. While an
-- administrator has not looked at the last time, nothing is collected.
CREATE TABLE identity (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    system bigint NOT NULL,         -- the server's own identifier: another one where a dump was restored
    generation bigint NOT NULL,
    reviewed bigint NOT NULL
);
INSERT INTO identity (system, generation, reviewed) SELECT system_identifier, 1, 1 FROM pg_control_system();

-- When each timeline of a server was first seen, by catalog time (P4), and whether somebody whom the timeline before it had acknowledged a heartbeat to has found there whatever he was
-- told is done (P5). The one that the schema is made on has no predecessor that anybody could still believe.
CREATE TABLE timelines (
    system bigint NOT NULL,
    timeline bigint NOT NULL,
    seen_ms bigint NOT NULL,
    attested boolean NOT NULL,
    PRIMARY KEY (system, timeline)
);

-- One row for each connection that commits (P2): the number of its last commit, and the number up to which its commits are refused. The id is random: a server that has forgotten a lane
-- does not give its number to another one.
CREATE TABLE lanes (
    id bigint PRIMARY KEY DEFAULT random_id(),
    committed bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    used_ms bigint NOT NULL,
    answer_sequence bigint,         -- what the last commit answered, where it was one statement
    answer_ms bigint,
    answer_kept smallint,
    answer_length bigint
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
CREATE TABLE manifests (key bytea PRIMARY KEY, refs bigint NOT NULL, content bytea NOT NULL);
CREATE TABLE parts (
    key bytea PRIMARY KEY, sequence bigint NOT NULL, written_ms bigint NOT NULL, modified_ms bigint NOT NULL, length bigint NOT NULL,
    content bytea NOT NULL
);
CREATE TABLE uploads (key bytea PRIMARY KEY, nonce bytea NOT NULL, value bytea NOT NULL);
CREATE TABLE abandoned (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE completed (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE completed_due (key bytea PRIMARY KEY, value bytea NOT NULL);
-- `lane`: the one that opened it. A number that was given twice, by a server that had forgotten the first time, is another session.
CREATE TABLE sessions (key bytea PRIMARY KEY, lane bigint NOT NULL, value bytea NOT NULL) WITH (fillfactor = 50);
CREATE TABLE zones (key bytea PRIMARY KEY, incarnation bigint NOT NULL, value bytea NOT NULL);
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
CREATE TABLE leases (key bytea PRIMARY KEY, value bytea NOT NULL);

-- The timeline that this primary writes, by the name of its log: what pg_control_checkpoint() says is old until the first checkpoint behind a promotion.
CREATE FUNCTION timeline() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint $$;
INSERT INTO timelines (system, timeline, seen_ms, attested) SELECT system_identifier, timeline(), 0, true FROM pg_control_system();

-- Notes that this catalog has forgotten what it had acknowledged: it was restored, or a server was promoted that lacked some of it. Sessions and numbers that were given
-- since are not given again.
CREATE FUNCTION has_forgotten(new_session_lock bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(new_session_lock);
    UPDATE identity i SET generation = i.generation + 1, system = (SELECT system_identifier FROM pg_control_system());
    INSERT INTO meta AS m (key, value) VALUES ('session', int8send(1048576))
        ON CONFLICT (key) DO UPDATE SET value = int8send(('x' || encode(m.value, 'hex'))::bit(64)::bigint + 1048576);
    PERFORM setval('numbers', nextval('numbers') + 4096 * 1048576::bigint);
    -- An earlier life of this catalog had its own.
    DELETE FROM timelines t WHERE (t.system, t.timeline) <> ((SELECT system_identifier FROM pg_control_system()), timeline());
END $$;

-- 1 where this catalog may lack something that was acknowledged, and no administrator has looked (P5).
CREATE FUNCTION may_lack() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (EXISTS (SELECT FROM identity i WHERE i.generation > i.reviewed) OR EXISTS (SELECT FROM timelines t WHERE NOT t.attested))::int::bigint
$$;

-- An administrator has looked at what was forgotten up to this generation, and at what the timelines up to this one have.
CREATE FUNCTION note_reviewed(seen_generation bigint, seen_timeline bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE identity i SET reviewed = greatest(i.reviewed, seen_generation) WHERE i.generation >= seen_generation;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE timelines t SET attested = true WHERE t.timeline <= seen_timeline AND NOT t.attested;
    RETURN true;
END $$;

-- A gateway's heartbeat: a commit that a primary without its standbys cannot have acknowledged (P4). Brings catalog time forward (T1).
-- Gives the zones' incarnations and the settings' epoch (R3), too.
--
-- What this gateway was told is done (P5): the time that its heartbeats were told at most, the timeline of the last one, and, lane by lane, the last commit that was acknowledged since. A
-- catalog that lacks any of it has forgotten.
CREATE FUNCTION beat(
    lane bigint, number bigint, proposed_ms bigint, known_ms bigint, known_timeline bigint, known_lanes bigint[], known_numbers bigint[], new_session_lock bigint,
    OUT on_timeline bigint, OUT age_ms bigint, OUT has_standbys boolean, OUT catalog_ms bigint, OUT incarnations bigint[], OUT epoch bigint
)
LANGUAGE plpgsql AS $$
DECLARE
    on_system bigint := (SELECT s.system_identifier FROM pg_control_system() s);
    has_lost boolean;
    first_seen bigint;
    is_attested boolean;
    seen_before bigint;
BEGIN
    -- What makes it a commit, and its own: heartbeats of many gateways do not wait for each other's standbys.
    UPDATE lanes l SET committed = number, used_ms = (SELECT c.catalog_ms FROM clock c) WHERE l.id = lane;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this lane is forgotten' USING ERRCODE = 'CN002';
    END IF;
    on_timeline := timeline();
    PERFORM FROM clock c WHERE c.catalog_ms < known_ms
        UNION ALL SELECT FROM identity i WHERE i.system <> on_system
        UNION ALL SELECT FROM unnest(known_lanes, known_numbers) AS k (id, number)
            WHERE coalesce((SELECT l.committed FROM lanes l WHERE l.id = k.id), -1) < k.number;
    has_lost := FOUND;
    IF has_lost THEN
        PERFORM has_forgotten(new_session_lock);
        -- Time does not go back (T1), whoever else is at it.
        PERFORM FROM clock c FOR UPDATE;
    ELSE
        -- Who finds another one at it leaves the time to that one.
        PERFORM FROM clock c FOR UPDATE SKIP LOCKED;
    END IF;
    IF FOUND THEN
        UPDATE clock c SET catalog_ms = greatest(c.catalog_ms, proposed_ms, known_ms),
            stepped_ms = CASE WHEN greatest(proposed_ms, known_ms) > c.catalog_ms + 5000 THEN greatest(proposed_ms, known_ms) ELSE c.stepped_ms END
            RETURNING c.catalog_ms INTO catalog_ms;
    ELSE
        SELECT c.catalog_ms INTO catalog_ms FROM clock c;
    END IF;
    SELECT t.seen_ms, t.attested INTO first_seen, is_attested FROM timelines t WHERE t.system = on_system AND t.timeline = on_timeline;
    IF NOT FOUND THEN
        first_seen := catalog_ms;
        is_attested := false;
        INSERT INTO timelines (system, timeline, seen_ms, attested) VALUES (on_system, on_timeline, first_seen, false) ON CONFLICT DO NOTHING;
    END IF;
    IF NOT is_attested AND NOT has_lost AND known_timeline < on_timeline THEN
        SELECT max(t.timeline) INTO seen_before FROM timelines t WHERE t.system = on_system AND t.timeline < on_timeline;
        IF known_timeline >= seen_before THEN
            UPDATE timelines t SET attested = true WHERE t.system = on_system AND t.timeline = on_timeline AND NOT t.attested;
        END IF;
    END IF;
    -- A step of the clock is no age.
    age_ms := CASE WHEN first_seen = 0 THEN 86400000 ELSE catalog_ms - greatest(first_seen, (SELECT c.stepped_ms FROM clock c)) END;
    has_standbys := current_setting('synchronous_standby_names') <> '';
    incarnations := ARRAY (SELECT z.incarnation FROM zones z ORDER BY z.key);
    epoch := coalesce((SELECT ('x' || encode(m.value, 'hex'))::bit(64)::bigint FROM meta m WHERE m.key = 'epoch'), 0);
    -- What a standby must have for this to be more than this server's own word: see was_awaited.
    PERFORM set_config('cairn.position', pg_current_wal_insert_lsn()::text, false);
END $$;

-- Asked right behind a heartbeat, in the same message: whether a synchronous standby has it by now. One that was waited for has. Where the server did not wait, whatever its settings say, it has
-- had no time to get there (P3).
CREATE FUNCTION was_awaited() RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT EXISTS (SELECT FROM pg_stat_replication r
        WHERE r.sync_state IN ('sync', 'quorum') AND r.flush_lsn >= current_setting('cairn.position')::pg_lsn)
$$;

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
-- The session, where this gateway has opened it, is compared with the lane that it was opened over: the same number given again is another gateway's. `steady_ms`: for how long catalog time has
-- been going on without a step.
CREATE FUNCTION begin_commit(
    lane bigint, number bigint, ids bigint[], are_shared boolean[], session_key bytea, session_lane bigint, OUT catalog_ms bigint, OUT wall_ms bigint, OUT steady_ms bigint
)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes SET committed = number, used_ms = (SELECT c.catalog_ms FROM clock c) WHERE id = lane AND fence < number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this lane is fenced off' USING ERRCODE = 'CN002';
    END IF;
    PERFORM take_locks(ids, are_shared);
    PERFORM FROM sessions s WHERE s.key = session_key AND s.lane <> session_lane;
    IF FOUND THEN
        RAISE EXCEPTION 'this session is another one of the same number' USING ERRCODE = 'CN004';
    END IF;
    SELECT c.catalog_ms, c.catalog_ms - c.stepped_ms INTO catalog_ms, steady_ms FROM clock c;
    wall_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
END $$;

-- Refuses whatever this lane may still be about to commit up to this number, and says what it has committed (P2).
CREATE FUNCTION fence_lane(
    lane bigint, number bigint, OUT committed bigint, OUT sequence bigint, OUT wall_ms bigint, OUT kept smallint, OUT length bigint
)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes l SET fence = greatest(l.fence, number) WHERE l.id = lane
        RETURNING l.committed, l.answer_sequence, l.answer_ms, l.answer_kept, l.answer_length INTO committed, sequence, wall_ms, kept, length;
END $$;

-- Forgets lanes that were not used for so long. One that is in use is passed over. Whoever still wants to commit with one is refused, as by a fence, and takes
-- another; who still wants to know what one has committed is told that nobody knows.
CREATE FUNCTION forget_lanes(kept_ms bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    forgotten bigint;
BEGIN
    DELETE FROM lanes l WHERE l.id IN (
        SELECT o.id FROM lanes o WHERE o.used_ms < (SELECT c.catalog_ms - kept_ms FROM clock c) ORDER BY o.id LIMIT 1000 FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;

-- What follows does in one statement what the state machine does in a transaction. Where a case is none of theirs they raise CN003: nothing is done, and
-- the state machine judges. Each is one commit, under the locks that it takes first.

CREATE FUNCTION other_case(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', why USING ERRCODE = 'CN003';
END $$;

-- The last act of a statement that commits: names it and keeps its answer (P2).
CREATE FUNCTION end_commit(lane bigint, number bigint, now_ms bigint, sequence bigint, wall_ms bigint, kept smallint, length bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes l SET committed = number, used_ms = now_ms, answer_sequence = sequence, answer_ms = wall_ms, answer_kept = kept, answer_length = length
        WHERE l.id = lane AND l.fence < number;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this lane is fenced off' USING ERRCODE = 'CN002';
    END IF;
END $$;

CREATE FUNCTION change_usage(
    bucket_key bytea, stripe smallint, objects bigint, object_bytes bigint, noncurrent bigint, noncurrent_bytes bigint, markers bigint, parts bigint,
    part_bytes bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_deltas AS u VALUES (bucket_key, stripe, objects, object_bytes, noncurrent, noncurrent_bytes, markers, 0, parts, part_bytes)
        ON CONFLICT ON CONSTRAINT usage_deltas_pkey DO UPDATE SET objects = u.objects + excluded.objects,
            object_bytes = u.object_bytes + excluded.object_bytes, noncurrent_versions = u.noncurrent_versions + excluded.noncurrent_versions,
            noncurrent_bytes = u.noncurrent_bytes + excluded.noncurrent_bytes, delete_markers = u.delete_markers + excluded.delete_markers,
            parts = u.parts + excluded.parts, part_bytes = u.part_bytes + excluded.part_bytes;
END $$;

-- Makes blobs known, each with one reference. They were judged by these incarnations (B3); where the zones have others now, they are judged again.
CREATE FUNCTION commit_blobs(incarnations bigint[], keys bytea[], missing smallint[], contents bytea[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    made integer;
BEGIN
    IF incarnations IS DISTINCT FROM ARRAY (SELECT z.incarnation FROM zones z ORDER BY z.key) THEN
        PERFORM other_case('a zone has another incarnation');
    END IF;
    INSERT INTO blobs (key, refs, missing, content) SELECT n.key, 1, n.missing, n.content FROM unnest(keys, missing, contents) AS n (key, missing, content)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS made = ROW_COUNT;
    IF made <> cardinality(keys) THEN
        PERFORM other_case('a blob is known already');
    END IF;
END $$;

-- Changes how often blobs are named that stand here one behind the other, 16 bytes each. A blob without references is condemned, for ever (B5).
CREATE FUNCTION count_blobs(named bytea, sign integer, due bigint, pieces_max integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id bytea;
    times bigint;
BEGIN
    IF named IS NULL OR length(named) > 16 * pieces_max THEN
        PERFORM other_case('inline pieces, or too many');
    END IF;
    -- In the order of their names, as everybody who locks several.
    FOR id, times IN
        SELECT substring(named FROM 16 * place + 1 FOR 16) AS name, count(*) FROM generate_series(0, length(named) / 16 - 1) AS place
            GROUP BY name ORDER BY name
    LOOP
        IF sign > 0 THEN
            UPDATE blobs b SET refs = b.refs + times WHERE b.key = id AND b.due_ms IS NULL;
        ELSE
            UPDATE blobs b SET refs = b.refs - times, due_ms = CASE WHEN b.refs = times THEN due END,
                remaining = CASE WHEN b.refs = times THEN 7 END, missing = CASE WHEN b.refs = times THEN 0 ELSE b.missing END
                WHERE b.key = id AND b.due_ms IS NULL AND b.refs >= times;
        END IF;
        IF NOT FOUND THEN
            PERFORM other_case('a blob is not what it should be');
        END IF;
    END LOOP;
END $$;

-- The end of a version without a lock: lets go of its bytes.
CREATE FUNCTION let_go(body smallint, owner bigint, named bytea, due bigint, pieces_max integer, abandoned_value bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    left_over bigint;
BEGIN
    IF body = 1 THEN
        DELETE FROM inline_bodies i WHERE i.key = int8send(owner);
    ELSIF body = 2 THEN
        PERFORM count_blobs(named, -1, due, pieces_max);
    ELSIF body = 3 THEN
        UPDATE manifests m SET refs = m.refs - 1 WHERE m.key = int8send(owner) AND m.refs > 0 RETURNING m.refs INTO left_over;
        IF NOT FOUND THEN
            PERFORM other_case('a manifest is not there');
        END IF;
        IF left_over = 0 THEN
            INSERT INTO abandoned (key, value) VALUES (int8send(due) || int8send(owner), abandoned_value);
        END IF;
    END IF;
END $$;

-- What a new version or marker does to those that are there: the current one moves aside, or goes where it is the null version and no others are kept.
-- The row in current_versions is left to the caller.
CREATE FUNCTION make_room(
    kept smallint, old current_versions, row_key bytea, others_key bytea, due bigint, pieces_max integer, abandoned_value bytea,
    OUT objects bigint, OUT object_bytes bigint, OUT noncurrent bigint, OUT noncurrent_bytes bigint, OUT markers bigint
) LANGUAGE plpgsql AS $$
DECLARE
    null_sequence bytea;
    gone other_versions;
BEGIN
    objects := 0; object_bytes := 0; noncurrent := 0; noncurrent_bytes := 0; markers := 0;
    IF old.key IS NOT NULL THEN
        objects := -1;
        object_bytes := -old.length;
        IF kept <> 1 AND NOT old.has_id THEN
            IF old.object_lock IS NOT NULL THEN
                PERFORM other_case('the version is locked');
            END IF;
            PERFORM let_go(old.body, old.owner, old.blobs, due, pieces_max, abandoned_value);
            RETURN;
        END IF;
        INSERT INTO other_versions (key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class, body, owner, part_count,
                extents, blobs, attributes, object_lock)
            VALUES (others_key || int8send(~ old.sequence), old.sequence, old.has_id, old.modified_ms, old.created_ms, old.length, old.etag, old.checksum,
                old.storage_class, old.body, old.owner, old.part_count, old.extents, old.blobs, old.attributes, old.object_lock);
        IF NOT old.has_id THEN
            INSERT INTO null_versions (key, value) VALUES (row_key, int8send(old.sequence)) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
        END IF;
        noncurrent := 1;
        noncurrent_bytes := old.length;
    END IF;
    IF kept = 2 THEN
        DELETE FROM null_versions n WHERE n.key = row_key RETURNING n.value INTO null_sequence;
        IF FOUND THEN
            DELETE FROM other_versions o WHERE o.key = others_key || int8send(~ ('x' || encode(null_sequence, 'hex'))::bit(64)::bigint)
                RETURNING o.* INTO gone;
            IF NOT FOUND OR gone.object_lock IS NOT NULL THEN
                PERFORM other_case('the null version is locked, or not there');
            END IF;
            IF gone.length IS NULL THEN
                markers := -1;
            ELSE
                noncurrent := noncurrent - 1;
                noncurrent_bytes := noncurrent_bytes - gone.length;
                PERFORM let_go(gone.body, gone.owner, gone.blobs, due, pieces_max, abandoned_value);
            END IF;
        END IF;
    END IF;
END $$;

-- A write, or a copy by reference (B5). Kinds of bodies: 0 empty, 1 `bytes`, 2 new blobs, 3 that of another version. Status 0: done; else why it was not:
-- 2 no such bucket, 3 the session is closed, 4 the condition does not hold, 5 no such key, 6 the source has changed. What is refused writes nothing.
CREATE FUNCTION put_version(
    lane bigint, number bigint, stripe smallint, ids bigint[], are_shared boolean[], bucket_key bytea, row_key bytea, others_key bytea,
    condition smallint, etags bytea[], grace_ms bigint, pieces_max integer, abandoned_value bytea, session_key bytea, session_lane bigint, new_etag bytea,
    new_checksum bytea, new_class smallint, new_attributes bytea, kind smallint, bytes bytea, incarnations bigint[], blob_keys bytea[], blob_missing smallint[], blob_contents bytea[],
    new_extents bytea, new_length bigint, source_row bytea, source_others bytea, source_sequence bigint, source_has_id boolean,
    OUT status smallint, OUT sequence bigint, OUT wall_ms bigint, OUT kept smallint, OUT length bigint
) LANGUAGE plpgsql AS $$
DECLARE
    old current_versions;
    source record;
    room record;
    now_ms bigint;
    new_body smallint;
    new_owner bigint;
    new_part_count integer;
    named bytea;
BEGIN
    PERFORM take_locks(ids, are_shared);
    SELECT b.versioning INTO kept FROM buckets b WHERE b.key = bucket_key;
    IF NOT FOUND THEN status := 2; RETURN; END IF;
    PERFORM FROM sessions s WHERE s.key = session_key AND (session_lane IS NULL OR s.lane = session_lane);
    IF NOT FOUND THEN status := 3; RETURN; END IF;
    IF kind = 3 THEN
        SELECT v.body, v.owner, v.part_count, v.extents, v.blobs, v.length INTO source
            FROM current_versions v WHERE v.key = source_row AND v.sequence = source_sequence AND v.has_id = source_has_id;
        IF NOT FOUND THEN
            SELECT v.body, v.owner, v.part_count, v.extents, v.blobs, v.length INTO source
                FROM other_versions v WHERE v.key = source_others || int8send(~ source_sequence) AND v.has_id = source_has_id AND v.length IS NOT NULL;
            IF NOT FOUND THEN status := 6; RETURN; END IF;
        END IF;
    END IF;
    SELECT * INTO old FROM current_versions v WHERE v.key = row_key;
    IF old.key IS NULL THEN
        IF condition >= 2 THEN status := 5; RETURN; END IF;
    ELSIF condition = 1 OR (condition = 3 AND NOT old.etag = ANY (etags)) THEN
        status := 4; RETURN;
    END IF;

    SELECT c.catalog_ms INTO now_ms FROM clock c;
    wall_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    -- Under the key's lock, so it is above all that the key has (R2).
    new_owner := nextval('numbers');
    sequence := new_owner + 1;
    length := new_length;
    new_body := kind;
    IF kind = 1 THEN
        INSERT INTO inline_bodies (key, value) VALUES (int8send(new_owner), bytes);
    ELSIF kind = 2 THEN
        new_owner := NULL;
        named := string_agg(key, ''::bytea) FROM unnest(blob_keys) AS key;
        PERFORM commit_blobs(incarnations, blob_keys, blob_missing, blob_contents);
    ELSIF kind = 3 THEN
        -- The new reference comes before an old one goes: source and target may be the same.
        new_body := source.body;
        length := source.length;
        new_part_count := source.part_count;
        IF new_body = 1 THEN
            INSERT INTO inline_bodies (key, value) SELECT int8send(new_owner), i.value FROM inline_bodies i WHERE i.key = int8send(source.owner);
            IF NOT FOUND THEN PERFORM other_case('an inline body is not there'); END IF;
        ELSIF new_body = 2 THEN
            new_extents := source.extents;
            named := source.blobs;
            PERFORM count_blobs(named, 1, NULL, pieces_max);
        ELSIF new_body = 3 THEN
            UPDATE manifests m SET refs = m.refs + 1 WHERE m.key = int8send(source.owner) AND m.refs > 0;
            IF NOT FOUND THEN PERFORM other_case('a manifest is not there'); END IF;
            new_owner := source.owner;
        END IF;
        IF new_body = 2 THEN new_owner := NULL; END IF;
    END IF;
    IF new_body = 0 THEN new_owner := NULL; END IF;

    SELECT * INTO room FROM make_room(kept, old, row_key, others_key, now_ms + grace_ms, pieces_max, abandoned_value);
    IF old.key IS NULL THEN
        INSERT INTO current_versions (key, sequence, has_id, modified_ms, created_ms, length, etag, checksum, storage_class, body, owner, part_count,
                extents, blobs, attributes)
            VALUES (row_key, sequence, kept = 1, wall_ms, now_ms, length, new_etag, new_checksum, new_class, new_body, new_owner, new_part_count,
                new_extents, named, new_attributes);
    ELSE
        UPDATE current_versions v SET sequence = put_version.sequence, has_id = kept = 1, modified_ms = wall_ms, created_ms = now_ms,
            length = put_version.length, etag = new_etag, checksum = new_checksum, storage_class = new_class, body = new_body,
            owner = new_owner, part_count = new_part_count, extents = new_extents, blobs = named, attributes = new_attributes,
            object_lock = NULL
            WHERE v.key = row_key;
    END IF;
    PERFORM change_usage(bucket_key, stripe, room.objects + 1, room.object_bytes + length, room.noncurrent, room.noncurrent_bytes, room.markers, 0, 0);
    PERFORM end_commit(lane, number, now_ms, sequence, wall_ms, kept, length);
    status := 0;
END $$;

-- The deletion of a key, as the bucket's versioning prescribes. Status 0: done; 1: there was nothing to do; 2, 4, 5 as above.
CREATE FUNCTION delete_key(
    lane bigint, number bigint, stripe smallint, ids bigint[], are_shared boolean[], bucket_key bytea, row_key bytea, others_key bytea,
    condition smallint, etags bytea[], grace_ms bigint, pieces_max integer, abandoned_value bytea,
    OUT status smallint, OUT sequence bigint, OUT wall_ms bigint, OUT kept smallint, OUT length bigint
) LANGUAGE plpgsql AS $$
DECLARE
    old current_versions;
    room record;
    now_ms bigint;
BEGIN
    PERFORM take_locks(ids, are_shared);
    SELECT b.versioning INTO kept FROM buckets b WHERE b.key = bucket_key;
    IF NOT FOUND THEN status := 2; RETURN; END IF;
    SELECT * INTO old FROM current_versions v WHERE v.key = row_key;
    IF old.key IS NULL THEN
        IF condition >= 2 THEN status := 5; RETURN; END IF;
        IF kept = 0 THEN status := 1; RETURN; END IF;
    ELSIF condition = 1 OR (condition = 3 AND NOT old.etag = ANY (etags)) THEN
        status := 4; RETURN;
    END IF;
    SELECT c.catalog_ms INTO now_ms FROM clock c;
    wall_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    SELECT * INTO room FROM make_room(kept, old, row_key, others_key, now_ms + grace_ms, pieces_max, abandoned_value);
    IF old.key IS NOT NULL THEN
        DELETE FROM current_versions v WHERE v.key = row_key;
    END IF;
    IF kept <> 0 THEN
        sequence := nextval('numbers');
        INSERT INTO other_versions (key, sequence, has_id, modified_ms, created_ms)
            VALUES (others_key || int8send(~ sequence), sequence, kept = 1, wall_ms, now_ms);
        IF kept = 2 THEN
            INSERT INTO null_versions (key, value) VALUES (row_key, int8send(sequence)) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
        END IF;
    END IF;
    PERFORM change_usage(bucket_key, stripe, room.objects, room.object_bytes, room.noncurrent, room.noncurrent_bytes,
        room.markers + (kept <> 0)::int, 0, 0);
    PERFORM end_commit(lane, number, now_ms, sequence, wall_ms, kept, 0);
    status := 0;
END $$;

-- The first writing of a part. Status 0: done; 3: the session is closed.
CREATE FUNCTION put_part(
    lane bigint, number bigint, stripe smallint, ids bigint[], are_shared boolean[], bucket_key bytea, upload_key bytea, upload_nonce bytea,
    session_key bytea, session_lane bigint, part_key bytea, part_length bigint, part_content bytea, incarnations bigint[], blob_keys bytea[], blob_missing smallint[],
    blob_contents bytea[],
    OUT status smallint, OUT sequence bigint, OUT wall_ms bigint, OUT kept smallint, OUT length bigint
) LANGUAGE plpgsql AS $$
DECLARE
    now_ms bigint;
BEGIN
    PERFORM take_locks(ids, are_shared);
    PERFORM FROM uploads u WHERE u.key = upload_key AND u.nonce = upload_nonce;
    IF NOT FOUND THEN PERFORM other_case('no such upload'); END IF;
    PERFORM FROM sessions s WHERE s.key = session_key AND (session_lane IS NULL OR s.lane = session_lane);
    IF NOT FOUND THEN status := 3; RETURN; END IF;
    SELECT c.catalog_ms INTO now_ms FROM clock c;
    wall_ms := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    sequence := nextval('numbers');
    length := part_length;
    PERFORM commit_blobs(incarnations, blob_keys, blob_missing, blob_contents);
    INSERT INTO parts (key, sequence, written_ms, modified_ms, length, content) VALUES (part_key, sequence, now_ms, wall_ms, part_length, part_content)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN PERFORM other_case('the part is there already'); END IF;
    PERFORM change_usage(bucket_key, stripe, 0, 0, 0, 0, 0, 1, part_length);
    PERFORM end_commit(lane, number, now_ms, sequence, wall_ms, 0::smallint, part_length);
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
