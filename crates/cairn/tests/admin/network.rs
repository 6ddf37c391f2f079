//! Administration over the network, of the real binary: who gets nothing, that the rest is as over the socket, what is bounded, and what is
//! said (K2).

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cairn_testkit::s3_client::{Answer, S3Request, path as s3_path, read_answer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Files, Kind, self_signed_client};
use crate::schema;
use crate::service::{Ran, Service, cairn, eventually, status};

const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const OTHER_TOKEN: &str = "1f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A service with its API on the network, for a token and for client certificates.
struct Scene {
    service: Service,
    authority: Authority,
    clients: Authority,
    client: Files,
    tokens: PathBuf,
    directory: tempfile::TempDir,
}

fn write_tokens(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Scene {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "authority");
        let clients = Authority::new(directory.path(), "clients");
        let own = authority.issue("service", Kind::Service);
        let client = clients.issue("operator", Kind::Client);
        let tokens = directory.path().join("tokens");
        write_tokens(&tokens, &format!("operator {TOKEN}\n"));
        let options = [
            ("listen", "127.0.0.1:0"),
            ("tls-cert", text(&own.certificate)),
            ("tls-key", text(&own.key)),
            ("token-file", text(&tokens)),
            ("client-ca", text(&clients.file)),
        ];
        let arguments: Vec<String> = options.iter().map(|(name, value)| format!("--admin-api-{name}={value}")).collect();
        let service = Service::start_with(&arguments, &[]);
        Self { service, authority, clients, client, tokens, directory }
    }

    fn address(&self) -> SocketAddr {
        self.service.network.unwrap()
    }

    /// A `cairn admin` for this service over the network, with nothing to be known by.
    fn bare(&self, line: &str) -> Command {
        let mut command = cairn(self.directory.path());
        command.args(["admin", "--admin-endpoint", &format!("https://{}", self.address()), "--ca-cert"]);
        command.arg(&self.authority.file).args(line.split(' '));
        command
    }

    /// The same with the token.
    fn run(&self, line: &str) -> Ran {
        Ran::of(self.bare(line).arg("--token-file").arg(&self.tokens))
    }

    fn run_with_certificate(&self, line: &str, files: &Files) -> Ran {
        Ran::of(self.bare(line).arg("--client-cert").arg(&files.certificate).arg("--client-key").arg(&files.key))
    }

    async fn connect(&self, client: Option<&Files>) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority.file).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address()).await?;
        // Else what follows the handshake may wait in this kernel until the service's has acknowledged the handshake, some 40 ms later.
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    }

    async fn send(&self, client: Option<&Files>, request: &str) -> io::Result<Answer> {
        let mut stream = BufReader::new(self.connect(client).await?);
        // The server may have answered, and closed, before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.flush().await;
        read_answer(&mut stream, false).await
    }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Every request that the API's document tells of, with a body that would be taken, and some that it does not.
fn all_routes(document: &Value) -> Vec<(String, String, &'static str)> {
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let body = match (method.as_str(), path.as_str()) {
                ("post", "/v1/keys") => r#"{"grants":[{"scope":"store","access":"administer"}]}"#,
                ("post", _) => r#"{"name":"made-by-nobody"}"#,
                _ => "",
            };
            routes.push((method.to_uppercase(), path.replace("{name}", "default").replace(['{', '}'], ""), body));
        }
    }
    assert!(routes.len() >= 13, "{routes:?}");
    for (method, path) in
        [("GET", "/"), ("GET", "/v2/zones"), ("GET", "/healthz"), ("OPTIONS", "*"), ("PUT", "/v1/keys"), ("GET", "/v1/%zz")]
    {
        routes.push((method.to_owned(), path.to_owned(), ""));
    }
    routes
}

fn state(scene: &Scene) -> String {
    ["tenant list", "account list", "key list", "bucket list"]
        .map(|line| scene.service.text(&format!("{line} --output json")))
        .concat()
}

// K2: over the network it takes a token or a client certificate, and TLS.
#[tokio::test]
async fn without_a_credential_nothing_is_reached_by_any_route() {
    let scene = Scene::start();
    let before = state(&scene);
    let document: Value = serde_json::from_str(&scene.service.text("openapi")).unwrap();
    let bad_headers = [
        String::new(),
        bearer(OTHER_TOKEN),
        bearer(&TOKEN[..63]),
        bearer(&format!("{TOKEN}0")),
        bearer(""),
        format!("authorization: Basic {TOKEN}\r\n"),
        bearer(TOKEN) + &bearer(TOKEN),
        format!("x-token: {TOKEN}\r\ncookie: token={TOKEN}\r\n"),
    ];
    let mut statuses = Vec::new();
    for (method, path, body) in all_routes(&document) {
        for headers in &bad_headers {
            let answer = scene.send(None, &request(&method, &path, headers, body)).await.unwrap();
            // So many failures are too many at some point; not one is let through.
            assert!(matches!(answer.status, 401 | 429), "{method} {path} {headers:?}: {}", answer.text());
            assert_eq!(answer.header("connection"), Some("close"), "{method} {path}");
            assert!(answer.header("server").is_none() && !answer.text().contains(&TOKEN[..8]), "{}", answer.text());
            statuses.push(answer.status);
        }
        // Without TLS nobody is anybody.
        let mut stream = BufReader::new(TcpStream::connect(scene.address()).await.unwrap());
        stream.write_all(request(&method, &path, &bearer(TOKEN), body).as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, false).await.unwrap();
        assert_eq!(answer.status, 400, "{method} {path}");
        assert!(answer.text().contains("TLS only: use https://"), "{}", answer.text());
    }
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.contains(&429), "{} failures in a row were none too many", statuses.len());

    // Certificates that do not open: of another authority, of no one, of the past, for a service, and of the authority itself.
    let others = Authority::new(scene.directory.path(), "others");
    let bad = [
        ("another authority's", others.issue("operator", Kind::Client), "was not issued by the authority"),
        ("self-signed", self_signed_client(scene.directory.path()), "was not issued by the authority"),
        ("expired", scene.clients.issue("former", Kind::ExpiredClient), "has expired"),
        ("a service's", scene.clients.issue("server", Kind::Service), "it is not one for clients"),
        ("the service's own", scene.authority.issue("client", Kind::Client), "was not issued by the authority"),
    ];
    for (which, files, words) in &bad {
        for (method, path, body) in all_routes(&document) {
            // Also beside a token that is right.
            let answer = scene.send(Some(files), &request(&method, &path, &bearer(TOKEN), body)).await;
            assert!(answer.is_err(), "{which}: {method} {path}: {}", answer.unwrap().text());
        }
        let ran = scene.run_with_certificate("zone status", files);
        assert_eq!((ran.code, ran.output.as_str()), (1, ""), "{which}");
        assert!(
            ran.error.contains("does not take the client certificate") && ran.error.contains(words),
            "{which}: {}",
            ran.error
        );
    }

    // Whoever is right is let in all the while, and nothing has changed.
    assert_eq!(scene.run("zone status").code, 0, "{}", scene.run("zone status").error);
    assert_eq!(scene.run_with_certificate("zone status", &scene.client).code, 0);
    assert_eq!(state(&scene), before);
    let log = scene.service.log();
    let refused = log.matches("administration: refused").count();
    assert!((10..statuses.len()).contains(&refused), "{refused} of {} failures are in the log", statuses.len());
    assert!(log.contains("from=127.0.0.1:") && log.contains("the token is not one of this service's"), "{log}");
    for secret in [&TOKEN[..16], &OTHER_TOKEN[..16]] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// That an answer is as the document says that this operation answers.
fn assert_answers(document: &Value, operation: &Value, answer: &Answer) {
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    let said = &operation["responses"][answer.status.to_string()];
    let said = said["$ref"].as_str().map_or(said, |reference| document.pointer(&reference[1..]).unwrap());
    let schema = &said["content"]["application/json"]["schema"];
    schema::check(document, schema, &body)
        .unwrap_or_else(|error| panic!("{} answers {}: {error}: {body}", operation["operationId"], answer.status));
}

#[tokio::test]
async fn every_command_over_the_network_is_as_over_the_socket() {
    let scene = Scene::start();
    assert_eq!(status(&scene.service.root, &S3Request::new("PUT", s3_path("photos", ""))).await, 200);
    let by_token = |line: &str| scene.run(line);
    let by_certificate = |line: &str| scene.run_with_certificate(line, &scene.client);
    let by_socket = |line: &str| scene.service.run(line);
    // What differs between two that are made one after the other.
    let plain = |text: &str, values: &[String]| values.iter().fold(text.to_owned(), |text, value| text.replace(value, "…"));

    // Each way makes and removes the same, under names of its own.
    let mut said = Vec::new();
    for (way, run) in [("s", &by_socket as &dyn Fn(&str) -> Ran), ("t", &by_token), ("c", &by_certificate)] {
        let mut ran = Vec::new();
        let mut done = |line: &str| {
            ran.push(run(line));
            ran[ran.len() - 1].output.clone()
        };
        done(&format!("tenant create tenant-{way} --uid 1"));
        done(&format!("tenant create tenant-{way}"));
        let account = done(&format!("account create team-{way} --tenant tenant-{way}")).lines().last().unwrap().to_owned();
        let key = run(&format!("key create --whole-tenant --readonly --tenant tenant-{way} --output json"));
        let key: Value = serde_json::from_str(&key.output).unwrap_or_else(|_| panic!("{}", key.error));
        let id = key["accessKeyId"].as_str().unwrap().to_owned();
        assert_eq!(key["secretAccessKey"].as_str().unwrap().len(), 40);
        done(&format!("key import --tenant tenant-{way} --access-key-id OLD-{way} --secret-access-key imported-secret"));
        done("key create --bucket missing");
        done(&format!("key revoke {id}"));
        done(&format!("key revoke {id}"));
        done(&format!("tenant delete tenant-{way}"));
        done(&format!("account delete {account}"));
        done(&format!("account delete {account}"));
        done("account delete 12");
        let values = [format!("tenant-{way}"), format!("team-{way}"), format!("OLD-{way}"), account, id];
        let lines = ran.iter().map(|ran| (ran.code, plain(&ran.output, &values), plain(&ran.error, &values)));
        said.push(lines.collect::<Vec<_>>());
    }
    assert!(said[0].iter().any(|(code, ..)| *code == 0) && said[0].iter().any(|(code, ..)| *code == 1));
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0], said[2]);

    for form in ["text", "json"] {
        for line in [
            "tenant list",
            "account list",
            "account list --tenant tenant-t",
            "key list",
            "key list --tenant tenant-c",
            "bucket list",
        ] {
            let line = format!("{line} --output {form}");
            let (socket, token, certificate) = (by_socket(&line), by_token(&line), by_certificate(&line));
            assert!(socket.code == 0 && !socket.output.is_empty(), "{line}: {}", socket.error);
            assert_eq!((&socket.output, socket.code), (&token.output, token.code), "{line}");
            assert_eq!((&socket.output, socket.code), (&certificate.output, certificate.code), "{line}");
        }
    }
    let store =
        |ran: Ran| serde_json::from_str::<Value>(&ran.output).unwrap_or_else(|_| panic!("{}", ran.error))["store"].clone();
    assert_eq!(store(by_token("zone status --output json")), store(by_socket("zone status --output json")));
    assert!(by_certificate("zone status").output.contains("voting"));

    // The document tells the truth of what is answered.
    let document: Value = serde_json::from_str(&by_socket("openapi").output).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("get") else { continue };
        let answer = scene.send(None, &request("GET", &path.replace("{name}", "photos"), &bearer(TOKEN), "")).await.unwrap();
        assert_answers(&document, operation, &answer);
    }
    for (path, body) in [
        ("/v1/tenants", r#"{"name":"one-more","uid":"1-2"}"#),
        ("/v1/tenants", r#"{"name":"one-more"}"#),
        ("/v1/accounts", r#"{"name":"one-more"}"#),
        ("/v1/keys", r#"{"grants":[{"scope":"bucket","bucket":"photos","access":"read"}],"description":"made"}"#),
        ("/v1/keys", r#"{"grants":[]}"#),
        ("/v1/audit", r#"{"bytesPerSecond":1000000,"settleSeconds":60}"#),
    ] {
        let answer = scene.send(None, &request("POST", path, &bearer(TOKEN), body)).await.unwrap();
        let operation = &document["paths"][path]["post"];
        assert_answers(&document, operation, &answer);
        if answer.status == 200 {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            schema::check(&document, schema, &serde_json::from_str(body).unwrap()).unwrap();
        }
    }

    // What is printed is what is served, and who asked stands in the log.
    let served = scene.send(None, &request("GET", "/v1/openapi.json", &bearer(TOKEN), "")).await.unwrap();
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/json")));
    assert_eq!(serde_json::from_str::<Value>(&served.text()).unwrap(), document);
    let log = scene.service.log();
    let changes = |who: &str| log.lines().filter(|line| line.contains("administration: done") && line.contains(who)).count();
    assert_eq!((changes("token=\"operator\""), changes("certificate=\""), changes("uid=")), (10, 6, 6), "{log}");
    assert!(!log.contains("imported-secret") && !log.contains(&TOKEN[..16]), "{log}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let others = Authority::new(directory.path(), "others");
    let own = authority.issue("service", Kind::Service);
    // The certificate is that of S3; the tokens come from the environment.
    let arguments = ["--tls-cert", text(&own.certificate), "--tls-key", text(&own.key), "--admin-api-listen", "0.0.0.0:0"];
    let service = Service::start_with(&arguments, &[("CAIRN_ADMIN_API_TOKEN", &format!("first {TOKEN}\n{OTHER_TOKEN}"))]);
    let network = SocketAddr::from(([127, 0, 0, 1], service.network.unwrap().port()));
    let ask = |endpoint: &str, authority: Option<&Path>, token: &str| {
        let mut command = cairn(directory.path());
        command.args(["admin", "zone", "status", "--admin-endpoint", endpoint]).env("CAIRN_ADMIN_TOKEN", token);
        command.args(authority.into_iter().flat_map(|file| ["--ca-cert", text(file)]));
        Ran::of(&mut command)
    };
    let endpoint = format!("https://{network}");
    for token in [TOKEN, OTHER_TOKEN] {
        let ran = ask(&endpoint, Some(&authority.file), token);
        assert!(ran.code == 0 && ran.output.contains("voting"), "{}", ran.error);
    }
    let wrong_token = TOKEN.replace('0', "5");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (endpoint, authority, token, words) in [
        (&endpoint, Some(&authority.file), wrong_token.as_str(), "the token is not one of this service's. It takes a token"),
        (&endpoint, Some(&others.file), TOKEN, "is not trusted: its certificate was not issued by an authority of --ca-cert"),
        (
            &endpoint,
            None,
            TOKEN,
            "not issued by an authority that this machine trusts. Give that authority's certificate with --ca-cert",
        ),
        (
            &format!("https://127.0.0.2:{}", network.port()),
            Some(&authority.file),
            TOKEN,
            "its certificate is not for \"127.0.0.2\"",
        ),
        (&format!("https://{free}"), Some(&authority.file), TOKEN, "Is the service running, with --admin-api-listen"),
        (&format!("https://{}", service.health), Some(&authority.file), TOKEN, "it does not speak TLS"),
        (&format!("https://{}", service.address), Some(&authority.file), TOKEN, "not as the administration API does"),
        (&format!("http://{network}"), Some(&authority.file), TOKEN, "must not be sent without TLS"),
        (&endpoint, Some(&authority.file), "short-secret", "a token is made of at least 32 random bytes"),
    ] {
        let ran = ask(endpoint, authority.map(PathBuf::as_path), token);
        assert_eq!((ran.code, ran.output.as_str()), (1, ""), "{endpoint} {words}");
        assert!(ran.error.starts_with("cairn: ") && ran.error.contains(words), "{words}: {}", ran.error);
        assert!(!ran.error.contains(&token[..12]), "{}", ran.error);
    }
    // By its name, which the certificate has, too.
    let named = ask(&format!("https://localhost:{}", network.port()), Some(&authority.file), TOKEN);
    assert_eq!(named.code, 0, "{}", named.error);

    // A token in a file that others can read is not sent.
    let file = directory.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = Ran::of(
        cairn(directory.path()).args(["admin", "zone", "status", "--admin-endpoint", &endpoint, "--token-file"]).arg(&file),
    );
    assert!(ran.code == 1 && ran.error.contains("its mode is 0644"), "{}", ran.error);
}

#[tokio::test]
async fn tokens_and_certificates_are_replaced_while_it_serves() {
    let scene = Scene::start();
    let status = async |token: &str| scene.send(None, &request("GET", "/v1/tenants", &bearer(token), "")).await.unwrap().status;
    assert_eq!((status(TOKEN).await, status(OTHER_TOKEN).await), (200, 401));
    write_tokens(&scene.tokens, &format!("old {TOKEN}\nnew {OTHER_TOKEN}\n"));
    assert_eq!((status(TOKEN).await, status(OTHER_TOKEN).await), (200, 200));
    // On one connection: the very next request is refused.
    let mut stream = BufReader::new(scene.connect(None).await.unwrap());
    let ask = request("GET", "/v1/tenants", &bearer(TOKEN), "");
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 200);
    write_tokens(&scene.tokens, &format!("new {OTHER_TOKEN}\n"));
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 401);
    assert_eq!((status(TOKEN).await, status(OTHER_TOKEN).await), (401, 200));

    // A file that cannot be used opens nothing, rather than what was in it before; certificates do.
    std::fs::set_permissions(&scene.tokens, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!((status(TOKEN).await, status(OTHER_TOKEN).await), (503, 503));
    assert!(scene.service.log().contains("chmod 600"), "{}", scene.service.log());
    assert_eq!(scene.run_with_certificate("tenant list", &scene.client).code, 0);
    write_tokens(&scene.tokens, &format!("{TOKEN}\n"));
    assert_eq!(status(TOKEN).await, 200);

    // Another authority: certificates of the old one open nothing, not even on a connection that is there.
    let mut stream = BufReader::new(scene.connect(Some(&scene.client)).await.unwrap());
    let ask = request("GET", "/v1/tenants", "", "");
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 200);
    let old = std::fs::read(&scene.clients.file).unwrap();
    let others = Authority::new(scene.directory.path(), "others");
    let other_client = others.issue("operator", Kind::Client);
    std::fs::copy(&others.file, &scene.clients.file).unwrap();
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, false).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")), "{}", answer.text());
    assert_eq!(scene.run_with_certificate("tenant list", &scene.client).code, 1);
    assert_eq!(scene.run_with_certificate("tenant list", &other_client).code, 0);

    // What cannot be used leaves what was in force.
    std::fs::write(&scene.clients.file, "no certificate").unwrap();
    assert_eq!(scene.run_with_certificate("tenant list", &other_client).code, 0);
    assert!(scene.service.log().contains("the TLS certificates cannot be read anew"), "{}", scene.service.log());
    std::fs::write(&scene.clients.file, old).unwrap();
    assert_eq!(scene.run_with_certificate("tenant list", &scene.client).code, 0);
}

/// Many silent connections, and whether one more is closed before it is listened to. Held connections end after 10 s by themselves, so that a
/// machine that is slower than that is given another chance.
async fn one_too_many(scene: &Scene) -> (Vec<TcpStream>, bool) {
    let mut many = Vec::new();
    for _ in 0..5 {
        many.clear();
        for _ in 0..32 {
            many.push(TcpStream::connect(scene.address()).await.unwrap());
        }
        let mut last = TcpStream::connect(scene.address()).await.unwrap();
        let _ = last.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        let _ = last.read_to_end(&mut answer).await;
        if answer.is_empty() {
            return (many, true);
        }
    }
    (many, false)
}

#[tokio::test]
async fn large_requests_and_slow_clients_are_bounded() {
    let scene = Scene::start();
    let post = |body: &str| request("POST", "/v1/tenants", &bearer(TOKEN), body);
    let large = scene.send(None, &post(&format!(r#"{{"name":"{}"}}"#, "a".repeat(70_000)))).await.unwrap();
    assert_eq!(large.status, 413, "{}", large.text());
    for headers in ["x: y\r\n".repeat(100), format!("x: {}\r\n", "y".repeat(20 << 10))] {
        let answer = scene.send(None, &request("GET", "/v1/zones", &(bearer(TOKEN) + &headers), "")).await.unwrap();
        assert_eq!(answer.status, 431, "{}", answer.text());
    }
    // Nobody is read from who has not said who they are: the answer is there before the body.
    let mut stream = BufReader::new(scene.connect(None).await.unwrap());
    stream.write_all(b"POST /v1/tenants HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 401);

    // One that says nothing, one that stops in the handshake, one in the head, one in the body: all are ended by the service.
    let mut silent = TcpStream::connect(scene.address()).await.unwrap();
    let mut halting = TcpStream::connect(scene.address()).await.unwrap();
    halting.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut idle = scene.connect(None).await.unwrap();
    let mut in_head = scene.connect(None).await.unwrap();
    in_head.write_all(b"GET /v1/zones HTTP/1.1\r\nhost:").await.unwrap();
    let mut in_body = scene.connect(None).await.unwrap();
    let head = format!("POST /v1/tenants HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n{}\r\n{{\"name\":", bearer(TOKEN));
    in_body.write_all(head.as_bytes()).await.unwrap();
    // Others are served meanwhile, up to so many of one source.
    assert_eq!(scene.run("tenant list").code, 0);
    let (many, was_closed) = one_too_many(&scene).await;
    assert!(was_closed, "more than 32 connections of one source are held");
    let ended = async {
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        let _ = halting.read_to_end(&mut rest).await;
        let _ = idle.read_to_end(&mut rest).await;
        let _ = in_head.read_to_end(&mut rest).await;
        let mut answer = Vec::new();
        let _ = in_body.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("took too long to arrive"), "{answer}");
        for mut stream in many {
            let _ = stream.read_to_end(&mut rest).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended).await.expect("slow connections are held for ever");
    eventually("there is room again", async || (scene.run("tenant list").code == 0).then_some(())).await;
    assert_eq!(scene.service.json("tenant list")["items"].as_array().unwrap().len(), 1, "nothing was made");
}

#[tokio::test]
async fn a_change_that_is_being_asked_for_is_made_before_it_stops() {
    let mut scene = Scene::start();
    let mut stream = BufReader::new(scene.connect(None).await.unwrap());
    let body = r#"{"name":"last"}"#;
    let whole = request("POST", "/v1/tenants", &bearer(TOKEN), body);
    let (head, rest) = whole.split_at(whole.len() - 5);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut idle = scene.connect(None).await.unwrap();
    let mut silent = TcpStream::connect(scene.address()).await.unwrap();
    // So that the service has the head: it answers others that came later.
    assert_eq!(scene.run("tenant list").code, 0);
    scene.service.begin_to_stop();
    // It has heard of it once it closes what is idle.
    let mut nothing = Vec::new();
    let _ = idle.read_to_end(&mut nothing).await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, false).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{}", answer.text());
    let _ = silent.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    let (well, said) = scene.service.stop();
    assert!(well && said.contains("Stopped."), "{said}");
}
