//! Administration of the real binary: what a key opens and what not, who may administer, and what is said where something cannot be done.

mod audit;
mod certificates;
mod doctor;
mod metrics;
mod network;
mod operations;
mod reload;
mod schema;
mod service;
mod usage;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cairn_testkit::s3_client::{S3Client, S3Request, path};
use operations::Scene;
use service::{CAIRN, Ran, Service, cairn, eventually, status};

async fn names_of_buckets(client: &S3Client) -> Vec<String> {
    let answer = client.send(&S3Request::new("GET", "/")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.elements("Name")
}

/// Sends requests that must all be denied, in the same words whether or not what they name exists.
async fn all_denied(client: &S3Client, requests: Vec<S3Request>, who: &str) {
    for request in requests {
        let answer = client.send(&request).await.unwrap();
        assert_eq!(answer.status, 403, "{who}: {request:?}: {}", answer.text());
        if request.method != "HEAD" {
            assert_eq!(answer.code(), "AccessDenied", "{who}: {request:?}");
        }
    }
}

#[tokio::test]
async fn a_bucket_key_opens_its_bucket_and_nothing_else() {
    let service = Service::start();
    let theirs = Scene::make(&service.root, "theirs").await;
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", ""))).await, 200);
    let key = service.key("--bucket mine");

    assert_eq!(status(&key, &S3Request::new("PUT", path("mine", "source")).body("mine")).await, 200);
    assert_eq!(key.send(&S3Request::new("GET", path("mine", "source"))).await.unwrap().text(), "mine");
    assert_eq!(names_of_buckets(&key).await, ["mine"]);
    assert_eq!(names_of_buckets(&service.root).await, ["mine", "theirs"]);
    let upload = key.send(&S3Request::new("POST", path("mine", "upload")).query("uploads", "")).await.unwrap();
    let upload_id = upload.element("UploadId").unwrap();

    // Every operation of S3 on another's bucket.
    let before = theirs.state(&service.root).await;
    all_denied(&key, theirs.reads(), "another bucket's key").await;
    all_denied(&key, theirs.writes("mine"), "another bucket's key").await;
    all_denied(&key, theirs.bucket_changes(), "another bucket's key").await;
    all_denied(&key, theirs.missing_changes(), "another bucket's key").await;
    all_denied(&key, theirs.copies_out("mine", &upload_id), "another bucket's key").await;
    for missing in ["missing", "Not_A_Name"] {
        all_denied(&key, vec![S3Request::new("GET", path(missing, "")), S3Request::new("PUT", path(missing, ""))], "any key")
            .await;
    }
    assert_eq!(status(&key, &S3Request::new("GET", path("mine", "stolen"))).await, 404);

    // Its own bucket stays as it was configured.
    all_denied(&key, vec![S3Request::new("DELETE", path("mine", ""))], "a bucket's own key").await;
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    all_denied(&key, vec![S3Request::new("PUT", path("mine", "")).query("versioning", "").body(enabled)], "a bucket's own key")
        .await;

    // Nobody, a wrong secret, a key that never was.
    for request in theirs.reads().into_iter().chain(theirs.writes("mine")).chain(theirs.bucket_changes()) {
        let is_head = request.method == "HEAD";
        let anonymous = key.send_raw(&key.anonymous(&request), is_head).await.unwrap();
        assert_eq!(anonymous.status, 403, "anonymous: {request:?}");
        for forged in [key.with_key(&service.root.access_key_id, &key.secret_access_key), key.with_key("CAIRNNOBODY", "whatever")]
        {
            assert_eq!(status(&forged, &request).await, 403, "forged: {request:?}");
        }
    }
    assert_eq!(theirs.state(&service.root).await, before);

    // The bucket's name in other hands: the old key does not open the new bucket.
    let again = [
        S3Request::new("DELETE", path("mine", "upload")).query("uploadId", &upload_id),
        S3Request::new("DELETE", path("mine", "source")),
        S3Request::new("DELETE", path("mine", "")),
        S3Request::new("PUT", path("mine", "")),
    ];
    for request in &again {
        assert!(status(&service.root, request).await < 300, "{request:?}");
    }
    all_denied(&key, vec![S3Request::new("GET", path("mine", ""))], "a former bucket's key").await;
    assert_eq!(names_of_buckets(&key).await, Vec::<String>::new());
    assert!(service.text("key list").contains("a bucket that is gone"));
}

#[tokio::test]
async fn a_readonly_key_reads_everything_of_its_bucket_and_writes_nothing() {
    let service = Service::start();
    let scene = Scene::make(&service.root, "photos").await;
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("photos", "source")).body("x")).await, 200);
    let key = service.key("--bucket photos --readonly");
    let whole = service.key("--whole-tenant --readonly");

    let before = scene.state(&service.root).await;
    for (key, who) in [(&key, "a readonly key"), (&whole, "a readonly key of the tenant")] {
        assert_eq!(key.send(&S3Request::new("GET", path("photos", "object"))).await.unwrap().text(), "two");
        for request in scene.reads() {
            // What is not there answers 404, what is not implemented 501; nothing is denied.
            assert_ne!(status(key, &request).await, 403, "{who}: {request:?}");
        }
        all_denied(key, scene.writes("photos"), who).await;
        all_denied(key, scene.bucket_changes(), who).await;
        all_denied(key, vec![S3Request::new("PUT", path("new-bucket", ""))], who).await;
        for request in scene.missing_changes() {
            assert!(matches!(status(key, &request).await, 403 | 501), "{who}: {request:?}");
        }
    }
    assert_eq!(scene.state(&service.root).await, before);
}

// R3: a revocation counts within a second.
#[tokio::test]
async fn a_revoked_key_opens_nothing_within_a_second_and_after_a_crash() {
    let service = Service::start();
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", ""))).await, 200);
    let (key, kept) = (service.key("--bucket mine"), service.key("--bucket mine"));
    assert_eq!(status(&key, &S3Request::new("PUT", path("mine", "a")).body("a")).await, 200);

    let said = service.text(&format!("key revoke {}", key.access_key_id));
    assert_eq!(said, format!("Revoked {}: it opens nothing any more.\n", key.access_key_id));
    let revoked = tokio::time::Instant::now();
    while status(&key, &S3Request::new("GET", path("mine", "a"))).await != 403 {
        assert!(revoked.elapsed() < Duration::from_secs(1));
    }
    let answer = key.send(&S3Request::new("PUT", path("mine", "b")).body("b")).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "InvalidAccessKeyId"));

    let service = service.kill_and_restart();
    let moved = |key: &S3Client| service.root.with_key(&key.access_key_id, &key.secret_access_key);
    assert_eq!(status(&moved(&key), &S3Request::new("GET", path("mine", "a"))).await, 403);
    assert_eq!(status(&moved(&kept), &S3Request::new("GET", path("mine", "a"))).await, 200);

    let again = service.run(&format!("key revoke {}", key.access_key_id));
    assert_eq!((again.code, again.output.as_str()), (1, ""));
    assert!(again.error.starts_with("cairn: there is no key") && again.error.contains("cairn admin key list"), "{}", again.error);
}

#[tokio::test]
async fn tenants_know_nothing_of_each_other() {
    let service = Service::start();
    let scene = Scene::make(&service.root, "photos").await;
    assert_eq!(service.text("tenant create acme --uid 1f2e"), "Made the tenant acme.\n");
    let theirs = service.key("--whole-tenant --tenant acme");

    let before = scene.state(&service.root).await;
    assert_eq!(names_of_buckets(&theirs).await, Vec::<String>::new());
    for requests in [scene.reads(), scene.writes("photos"), scene.bucket_changes()] {
        for request in requests {
            // In their tenant there is no such bucket, and who may make buckets is told so.
            assert_eq!(status(&theirs, &request).await, 404, "{request:?}");
        }
    }
    assert_eq!(status(&theirs, &S3Request::new("PUT", path("photos", ""))).await, 200);
    assert_eq!(status(&theirs, &S3Request::new("PUT", path("photos", "object")).body("theirs")).await, 200);
    assert_eq!(scene.state(&service.root).await, before);
    assert_eq!(names_of_buckets(&theirs).await, ["photos"]);

    // Their key of the like-named bucket opens theirs.
    let key = service.key("--bucket photos --tenant acme");
    assert_eq!(key.send(&S3Request::new("GET", path("photos", "object"))).await.unwrap().text(), "theirs");
    assert_eq!(service.json("bucket list --tenant acme")["items"][0]["usage"]["objectBytes"], 6);
    assert_eq!(service.json("bucket list")["items"][0]["usage"]["noncurrentVersions"], 2);
    assert_eq!(service.json("key list --tenant acme")["items"].as_array().unwrap().len(), 2);
    assert_eq!(service.json("key list --tenant acme --bucket photos")["items"][0]["accessKeyId"], key.access_key_id.as_str());

    let refused = service.run("tenant delete acme");
    assert_eq!(refused.code, 1);
    assert!(refused.error.contains("has buckets or accounts"), "{}", refused.error);
    assert!(service.text("tenant list").contains("acme"));
    assert_eq!(service.run("tenant delete default").code, 1);
    assert_eq!(service.run("tenant create acme").code, 1);
    assert_eq!(service.run("tenant create Acme!").code, 1);
    assert_eq!(service.run("key create --bucket photos --tenant nobody").code, 1);
    assert_eq!(service.run("key create --bucket missing").code, 1);
}

#[tokio::test]
async fn keys_are_imported_shown_and_logged_without_their_secrets() {
    let service = Service::start();
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", ""))).await, 200);
    service.text(&format!("key import --bucket mine --access-key-id OLD=ONE+1 --secret-access-key {}", SECRETS[0]));
    let by_variable =
        Ran::of(service.command("key import").env("CAIRN_ACCESS_KEY_ID", "OLD2").env("CAIRN_SECRET_ACCESS_KEY", SECRETS[1]));
    assert_eq!(by_variable.code, 0, "{}", by_variable.error);
    assert_eq!(
        by_variable.output,
        "Imported. The key OLD2 opens every bucket (all rights) in the tenant default, and nothing else.\n"
    );
    let mut command = service.command("key import --bucket mine --readonly --access-key-id OLD3 --secret-access-key -");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", SECRETS[2]).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());

    let put = S3Request::new("PUT", path("mine", "a")).body("a");
    for (id, secret, expected) in [("OLD=ONE+1", SECRETS[0], 200), ("OLD2", SECRETS[1], 200), ("OLD3", SECRETS[2], 403)] {
        assert_eq!(status(&service.root.with_key(id, secret), &put).await, expected, "{id}");
    }
    assert_eq!(status(&service.root.with_key("OLD3", SECRETS[2]), &S3Request::new("GET", path("mine", "a"))).await, 200);

    let taken = service.run("key import --access-key-id OLD2 --secret-access-key another-secret");
    assert!(taken.code == 1 && taken.error.contains("there is a key OLD2 already"), "{taken:?}");
    assert_eq!(status(&service.root.with_key("OLD2", SECRETS[1]), &put).await, 200);
    assert_eq!(service.run("key import --access-key-id OLD4 --secret-access-key short").code, 1);
    assert_eq!(service.run("key import --access-key-id OLD/5 --secret-access-key long-enough").code, 1);

    let made = service.key("--bucket mine");
    let shown = service.text("key list") + &service.text("key list --output json") + &service.log();
    for secret in SECRETS.into_iter().chain([&*made.secret_access_key, &*service.root.secret_access_key]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let log = service.log();
    let uid = rustix::process::geteuid().as_raw();
    assert!(
        log.contains(&format!("administration: done uid={uid} ")) && log.contains("import a key") && log.contains("OLD2"),
        "{log}"
    );

    assert_eq!(service.run("key revoke OLD=ONE+1").code, 0);
    assert_eq!(status(&service.root.with_key("OLD=ONE+1", SECRETS[0]), &put).await, 403);
}

// K2: who may administer.
#[tokio::test]
async fn only_the_serving_user_and_root_reach_the_socket() {
    let service = Service::start();
    let socket = service.data.join("admin.sock");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&service.data), mode(&socket)), (0o700, 0o600));

    if rustix::process::geteuid().is_root() {
        // Another user, with every permission of the file system that somebody might have given away.
        let outside = tempfile::tempdir().unwrap();
        let binary = outside.path().join("cairn");
        // By a process of its own: a file that this one writes could not be run while another thread starts a process.
        copy(Path::new(CAIRN), &binary);
        for open in [outside.path(), service.data.parent().unwrap(), &service.data, &socket] {
            std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut command = std::process::Command::new(binary);
        command.args(["admin", "key", "create", "--root", "--data"]).arg(&service.data).uid(65534).gid(65534);
        let ran = Ran::of(&mut command);
        assert_eq!((ran.code, ran.output.as_str()), (1, ""));
        assert_eq!(ran.error, "cairn: user 65534 may not administer this service: only user 0 and root may\n");
        assert_eq!(service.json("key list")["items"].as_array().unwrap().len(), 1);
        assert!(service.log().contains("refused uid=65534"));
    }

    // A socket that a killed process left behind is replaced; one that is stopped takes its own along.
    let service = service.kill_and_restart();
    assert!(service.text("zone status").contains("voting"));
    let (socket, data) = (service.data.join("admin.sock"), service.data.clone());
    let copy = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(copy.path().join("admin.sock")).unwrap());
    let (well, said) = service.stop();
    assert!(well && said.contains("Stopped."), "{said}");
    assert!(!socket.exists());

    // Without a service: words, and how to start one.
    for (data, words) in [(data.as_path(), "There is no data directory"), (copy.path(), "is left from one that ended")] {
        let ran = Ran::of(cairn(copy.path()).args(["admin", "zone", "status", "--data"]).arg(data));
        assert_eq!((ran.code, ran.output.as_str()), (1, ""));
        assert!(ran.error.contains(words) && ran.error.contains("cairn serve"), "{}", ran.error);
    }
    let json = Ran::of(cairn(copy.path()).args(["admin", "key", "list", "--output", "json", "--data"]).arg(copy.path()));
    let failure: serde_json::Value = serde_json::from_str(&json.error).unwrap();
    assert_eq!((json.code, &failure["code"]), (1, &"Unavailable".into()));
    assert_eq!(Ran::of(cairn(copy.path()).args(["admin", "key", "create"])).code, 2);
}

/// The zones in which the master key has its shares.
const ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];

fn copy(from: &Path, to: &Path) {
    let ran = std::process::Command::new("cp").arg("--archive").arg(from).arg(to).status().unwrap();
    assert!(ran.success());
}

// K1: any two shares make the master key; without it nothing is changed. As docs/administration.md says.
#[tokio::test]
async fn the_master_key_is_had_from_two_shares_and_the_store_from_a_backup() {
    let service = Service::start();
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", ""))).await, 200);
    let key = service.key("--bucket mine");
    let opens = async |service: &Service, expected: u16, name: &str| {
        let key = service.root.with_key(&key.access_key_id, &key.secret_access_key);
        assert_eq!(status(&key, &S3Request::new("GET", path("mine", name))).await, expected, "{name}");
        assert_eq!(status(&key, &S3Request::new("PUT", path("mine", name)).body("x")).await, 200, "{name}");
    };
    opens(&service, 404, "first").await;

    // Every secret that a zone holds: no file has the key's in clear.
    let holding =
        std::process::Command::new("grep").args(["-r", "-l", "-F", &key.secret_access_key]).arg(&service.data).output().unwrap();
    assert!(holding.stdout.is_empty(), "{holding:?}");

    // Two of the three shares are lost: it does not start, and says so. One of them put back: it starts.
    let kept = tempfile::tempdir().unwrap();
    let share = |data: &Path, zone: &str| data.join(zone).join("key-share-1");
    let refused = service.stop_and_restart(|data| {
        copy(data, &kept.path().join("backup"));
        for zone in &ZONES[..2] {
            std::fs::remove_file(share(data, zone)).unwrap();
        }
    });
    let Err((said, stopped)) = refused else { panic!("it started with one share") };
    assert!(said.contains("The master key cannot be had") && said.contains("Nothing was changed"), "{said}");
    let backup = kept.path().join("backup");
    let service = stopped.restart(|data| copy(&share(&backup, "gland"), &share(data, "gland")));
    let service = service.unwrap_or_else(|(said, _)| panic!("{said}"));
    opens(&service, 200, "first").await;
    opens(&service, 404, "second").await;
    // The lost share is made up for by new ones.
    eventually("three new shares", async || {
        ZONES.iter().all(|zone| service.data.join(zone).join("key-share-2").exists()).then_some(())
    })
    .await;

    // The backup, put back as a whole: the store is what it was.
    let service = service.stop_and_restart(|data| {
        std::fs::remove_dir_all(data).unwrap();
        copy(&backup, data);
    });
    let service = service.unwrap_or_else(|(said, _)| panic!("{said}"));
    opens(&service, 200, "first").await;
    opens(&service, 404, "second").await;

    // Another root key: the old one lives until it is revoked.
    let old = service.root.access_key_id.clone();
    let service = service.stop_and_restart(|data| std::fs::remove_file(data.join("root-credentials")).unwrap());
    let service = service.unwrap_or_else(|(said, _)| panic!("{said}"));
    assert_ne!(service.root.access_key_id, old);
    assert_eq!(names_of_buckets(&service.root).await, ["mine"]);
    assert!(service.text("key list").contains(&old));
    service.text(&format!("key revoke {old}"));
    assert!(!service.text("key list").contains(&old));
}

/// Removes a directory in which the service may just make a file.
fn remove(directory: &Path) {
    while let Err(error) = std::fs::remove_dir_all(directory) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty);
    }
}

#[tokio::test]
async fn zones_and_health_are_told_in_words() {
    let service = Service::start();
    let healthy = service.health("/healthz").await;
    assert_eq!((healthy.status, healthy.text().as_str()), (200, "alive\n"));
    let ready = eventually("ready", async || Some(service.health("/readyz").await).filter(|answer| answer.status == 200)).await;
    assert_eq!(ready.text(), "ready\n");
    // The API is not there.
    for path in ["/", "/v1/zones", "/v1/keys", "/metrics", "/healthz/x"] {
        assert_eq!(service.health(path).await.status, 404, "{path}");
    }

    let text = service.text("zone status");
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("geneva   voting  incarnation 1  0 chunks, 0 B"), "{text}");
    assert!(line.ends_with(&service.data.join("geneva").display().to_string()), "{text}");
    assert!(text.contains("\nWrites are taken.\nChunks: nothing to repair.\n"), "{text}");

    // A zone's directory is removed while the service runs: it begins a new life by itself, and its chunks come back (L7, B2).
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", ""))).await, 200);
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("mine", "a")).body(vec![7; 1 << 20])).await, 200);
    remove(&service.data.join("gland"));
    let rebuilt = eventually("gland is rebuilt", async || {
        let status = service.json("zone status");
        let zones = status["zones"].as_array().unwrap();
        assert!(zones.iter().all(|zone| zone["name"] == "gland" || zone["incarnation"] == 1), "{status}");
        (zones[1]["incarnation"] == 2 && zones[1]["phase"] == "voting" && zones[1]["chunks"]["count"] == 1).then_some(status)
    });
    assert_eq!(rebuilt.await["ready"], true);
    assert!(
        service.text("zone status").contains("gland    voting  incarnation 2  1 chunk, 1.0 MiB"),
        "{}",
        service.text("zone status")
    );

    // Two zones gone and unusable: not ready, in words.
    for zone in ["gland", "lucerne"] {
        remove(&service.data.join(zone));
        std::fs::write(service.data.join(zone), "in the way").unwrap();
    }
    let unready =
        eventually("not ready", async || Some(service.health("/readyz").await).filter(|answer| answer.status == 503)).await;
    let words = unready.text();
    assert!(words.starts_with("not ready: ") && words.contains("gland is") && words.contains("lucerne is"), "{words}");
    assert!(!words.contains(&*service.data.display().to_string()), "{words}");
    assert_eq!(service.health("/healthz").await.status, 200);
    let text = service.text("zone status");
    assert!(text.contains("Writes are NOT taken: "), "{text}");
}

/// Secrets that exist already, each given in another way.
const SECRETS: [&str; 3] = ["on-the-line-of-commands", "in/the+environment", "from-standard-input"];

/// Sends a request over the socket; the answer's status and body.
fn exchange(service: &Service, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(service.data.join("admin.sock")).unwrap();
    // The server may have answered, and closed, before it has read all.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    (status.unwrap_or_else(|| panic!("{answer}")), body.to_owned())
}

#[tokio::test]
async fn requests_to_the_api_are_bounded_and_checked() {
    let service = Service::start();
    let post = |path: &str, body: &str| {
        let length = body.len();
        exchange(
            &service,
            &format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"),
        )
    };
    let get = |path: &str| exchange(&service, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));

    assert_eq!(post("/v1/tenants", &format!(r#"{{"name":"{}"}}"#, "a".repeat(70_000))).0, 413);
    let many = "x: y\r\n".repeat(100);
    assert_eq!(exchange(&service, &format!("GET /v1/zones HTTP/1.1\r\nhost: x\r\n{many}\r\n")).0, 431);
    for (body, words) in [
        ("", "does not fit"),
        ("{", "does not fit"),
        (r#"{"name":"a","name":"b"}"#, "duplicate"),
        (r#"{"name":"a","quota":1}"#, "unknown field"),
        (r#"{"name":"A"}"#, "a tenant's name"),
    ] {
        let (status, answer) = post("/v1/tenants", body);
        assert!(status == 400 && answer.contains(r#""code":"Invalid""#) && answer.contains(words), "{body}: {answer}");
    }
    assert_eq!(post("/v1/tenants?dry-run=true", r#"{"name":"a"}"#).0, 400);
    assert_eq!(get("/v1/tenants?limit=0").0, 400);
    assert_eq!(get("/v2/tenants").0, 404);
    assert_eq!(get("/v1/").0, 404);
    assert_eq!(post("/v1/zones", "").0, 405);
    assert_eq!(get("/v1/keys/%zz").0, 400);
    for grants in [
        "[]",
        r#"[{"scope":"bucket","access":"read"}]"#,
        r#"[{"scope":"tenant","bucket":"b","access":"read"}]"#,
        r#"[{"scope":"store","access":"read"}]"#,
        r#"[{"scope":"tenant","access":"read"},{"scope":"tenant","access":"write"}]"#,
    ] {
        let (status, answer) = post("/v1/keys", &format!(r#"{{"grants":{grants}}}"#));
        assert_eq!(status, 400, "{grants}: {answer}");
    }
    assert_eq!(service.json("tenant list")["items"].as_array().unwrap().len(), 1, "nothing was made");
    assert_eq!(service.json("key list")["items"].as_array().unwrap().len(), 1, "nothing was made");

    // Pages: the client follows them to the end.
    for index in 0..5 {
        service.text(&format!("account create team-{index}"));
    }
    let (_, page) = get("/v1/accounts?limit=4");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
    let (_, rest) = get(&format!("/v1/accounts?limit=4&after={}", page["next"].as_str().unwrap()));
    let rest: serde_json::Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (2, &serde_json::Value::Null));
    assert_eq!(service.run("account create team-1").code, 1);
    let all = service.json("account list");
    let id_of = |name: &str| {
        let found = all["items"].as_array().unwrap().iter().find(|account| account["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    service.text(&format!("account delete {}", id_of("team-1")));
    let in_use = service.run(&format!("account delete {}", id_of("root")));
    assert!(in_use.code == 1 && in_use.error.contains("has keys or buckets"), "{in_use:?}");
    assert_eq!(service.json("account list")["items"].as_array().unwrap().len(), 5);
}
