use super::*;
use crate::admin::api::{Secret, Usage};

pub fn voting(name: &str, count: u64, bytes: u64) -> Zone {
    Zone {
        name: name.to_owned(),
        path: format!("/srv/{name}"),
        incarnation: 1,
        phase: ZonePhase::Voting,
        chunks: Some(Chunks { count, bytes, free_bytes: None }),
        chunks_reason: None,
        kept_aside: Vec::new(),
        takes_writes: true,
        takes_reads: true,
    }
}

pub fn status(zones: Vec<Zone>) -> StoreStatus {
    StoreStatus { store: "0".repeat(32), ready: true, reason: None, zones, repair: Repair { known: true, ..Repair::default() } }
}

#[test]
fn zones_stand_in_columns_and_say_in_words_what_they_do() {
    let rebuilding = ZonePhase::Rebuilding { reason: "its directory was empty".to_owned(), rows: 1234 };
    let gland = Zone { phase: rebuilding, chunks: None, ..voting("gland", 0, 0) };
    let text = store_status(&status(vec![voting("geneva", 123, 4_718_592), gland, voting("lucerne", 1, 12)]));
    assert_eq!(
        text,
        "\
geneva   voting      incarnation 1  123 chunks, 4.5 MiB  /srv/geneva
gland    rebuilding  copying the catalog: 1,234 rows so far (its directory was empty)
lucerne  voting      incarnation 1  1 chunk, 12 B        /srv/lucerne

Writes are taken.
Chunks: nothing to repair in the zones that are there.
Next, gland: once it has the catalog it votes, and its chunks are copied from the other zones; wait.
Do nothing to another zone before this one votes and nothing is left to repair: the others hold the only copies.
"
    );
    assert!(store_status(&status(vec![voting("geneva", 1, 2)])).ends_with("Chunks: nothing to repair.\n"));
}

#[test]
fn every_phase_has_its_words() {
    let line = |phase| zone(&Zone { phase, chunks: None, ..voting("z", 0, 0) }).join("|");
    assert_eq!(
        line(ZonePhase::CatchingUp { at: 1200, of: 5000 }),
        "z|catching up|it has batch 1,200 of 5,000: 3,800 batches to go"
    );
    assert_eq!(line(ZonePhase::Away { reason: "its directory is gone".to_owned() }), "z|away|its directory is gone");
    let refused = ZonePhase::Refused { reason: "it is of another store".to_owned() };
    assert_eq!(line(refused), "z|left alone|it is of another store (/srv/z)");
    assert_eq!(line(ZonePhase::Opening), "z|opening|reading its log in /srv/z");
    assert_eq!(line(ZonePhase::Voting), "z|voting|incarnation 1|its chunks do not answer: it is not said why (/srv/z)");
    let roomy = Zone { chunks: Some(Chunks { count: 2, bytes: 2048, free_bytes: Some(3 << 40) }), ..voting("z", 0, 0) };
    assert_eq!(zone(&roomy)[3], "2 chunks, 2.0 KiB, 3.0 TiB free");
    let slow = Zone { takes_writes: false, ..voting("z", 2, 2048) };
    assert_eq!(zone(&slow)[3], "2 chunks, 2.0 KiB, slow or failing: writes pass it by");
}

#[test]
fn contents_that_are_kept_aside_are_named() {
    let kept = Zone { kept_aside: vec!["retired-1-0".to_owned(), "retired-2-0".to_owned()], ..voting("gland", 0, 0) };
    let text = store_status(&status(vec![voting("geneva", 0, 0), kept]));
    let words = "gland: what it held before it lost its memory is kept until it has all its copies again, or space is short: \
                 retired-1-0, retired-2-0 in /srv/gland.\n";
    assert!(text.ends_with(words), "{text}");
    assert!(!text.contains("geneva:"), "{text}");
}

#[test]
fn trouble_is_said_plainly() {
    let mut bad = status(Vec::new());
    bad.reason = Some("1 of three zones take writes, two are needed: gland is away".to_owned());
    bad.repair = Repair {
        known: true,
        rebuilding: true,
        copies_made: 2000,
        copied_bytes: 3 << 30,
        damage_found: 1,
        damage_cleared: 1,
        chunks_without_copy: 2,
        ..Repair::default()
    };
    let text = store_status(&bad);
    assert!(text.contains("Writes are NOT taken: 1 of three zones take writes, two are needed: gland is away.\n"), "{text}");
    assert!(text.contains("being copied to it; 2,000 copies made since the start, 3.0 GiB.\n"), "{text}");
    assert!(text.contains("1 damaged copy found since the start, 1 replaced.\n"), "{text}");
    assert!(text.contains("ATTENTION: 2 chunks have no good copy"), "{text}");
}

#[test]
fn damage_that_waits_for_repair_is_something_to_repair() {
    let mut waiting = status(Vec::new());
    waiting.repair = Repair { damage_found: 13, damage_waiting: 13, ..waiting.repair };
    let text = store_status(&waiting);
    assert!(!text.contains("nothing to repair"), "{text}");
    assert!(text.contains("\nChunks: all have three copies, of which some may be damaged.\n"), "{text}");
    assert!(text.contains("\nChunks: 13 copies that were found damaged wait to be looked at again and replaced.\n"), "{text}");
    assert!(text.contains("\nChunks: 13 damaged copies found since the start, 0 replaced.\n"), "{text}");
    waiting.repair = Repair { damage_waiting: 1, incomplete_blobs: 2, ..waiting.repair };
    let text = store_status(&waiting);
    assert!(
        text.contains("Chunks: 2 blobs have less than three copies now.\nChunks: 1 copy that was found damaged waits to"),
        "{text}"
    );
    waiting.repair.damage_waiting = 0;
    assert!(!store_status(&waiting).contains("looked at again"));
}

#[test]
fn numbers_and_sizes_are_for_people() {
    assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    let sizes = [0, 1023, 1024, 1_048_575, 1 << 20, 5 << 40, u64::MAX];
    assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.0 KiB", "1023.9 KiB", "1.0 MiB", "5.0 TiB", "15.9 EiB"]);
}

fn key(grants: Vec<Grant>) -> Key {
    Key {
        access_key_id: "CAIRNX".to_owned(),
        tenant: "default".to_owned(),
        account: "root".to_owned(),
        account_id: "0".repeat(64),
        grants,
        enabled: true,
        description: String::new(),
        created: "2026-03-01T09:08:07.006Z".to_owned(),
    }
}

fn in_bucket(name: Option<&str>, access: Access) -> Grant {
    Grant { scope: Scope::Bucket, bucket: name.map(str::to_owned), access }
}

#[test]
fn a_list_of_keys_says_what_each_opens() {
    let root = key(vec![Grant { scope: Scope::Store, bucket: None, access: Access::Administer }]);
    let reader = Key { description: "for the web site".to_owned(), ..key(vec![in_bucket(Some("photos"), Access::Read)]) };
    let gone = Key { enabled: false, ..key(vec![in_bucket(None, Access::Write)]) };
    assert_eq!(
        keys(&[root, reader, gone]),
        "\
ACCESS KEY ID  OPENS               TENANT   ACCOUNT  MADE (UTC)        NOTE
CAIRNX         everything (root)   default  root     2026-03-01 09:08
CAIRNX         photos (read only)  default  root     2026-03-01 09:08  for the web site
CAIRNX         nothing (disabled)  default  root     2026-03-01 09:08
"
    );
    let many = key((0..5).map(|index| in_bucket(Some(&format!("b{index}")), Access::Write)).collect());
    assert_eq!(opens(&many), "b0 (read and write), b1 (read and write), b2 (read and write), and 2 more");
    assert_eq!(opens(&key(vec![in_bucket(None, Access::Write)])), "a bucket that is gone");
    assert_eq!(keys(&[]), "No keys.\n");
}

#[test]
fn a_new_key_can_be_pasted_into_a_credentials_file() {
    let made =
        CreatedKey { key: key(vec![in_bucket(Some("photos"), Access::Write)]), secret_access_key: Some(Secret("s3".to_owned())) };
    assert_eq!(credentials(&made), "aws_access_key_id = CAIRNX\naws_secret_access_key = s3\n");
    assert_eq!(key_sentence(&made.key), "The key CAIRNX opens photos (read and write) in the tenant default, and nothing else.");
    let json = serde_json::to_value(&made).unwrap();
    assert_eq!((&json["accessKeyId"], &json["secretAccessKey"]), (&"CAIRNX".into(), &"s3".into()));
}

#[test]
fn a_list_of_buckets_shows_what_each_holds() {
    let usage = Usage { objects: 1200, object_bytes: 1536, noncurrent_versions: 3, noncurrent_bytes: 10, ..Usage::default() };
    let bucket = Bucket {
        name: "photos".to_owned(),
        tenant: "default".to_owned(),
        owner: "root".to_owned(),
        owner_id: "0".repeat(64),
        versioning: Versioning::Enabled,
        created: "2026-03-01T09:08:07.006Z".to_owned(),
        usage,
    };
    assert_eq!(
        buckets(&[bucket]),
        "\
BUCKET  OBJECTS  SIZE     OTHER VERSIONS  VERSIONING  OWNER  MADE (UTC)
photos  1,200    1.5 KiB  3, 10 B         on          root   2026-03-01 09:08
"
    );
}
