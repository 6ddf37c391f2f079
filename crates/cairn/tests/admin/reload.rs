//! S3 over TLS: certificates that are replaced while it serves, and the protocol that is agreed upon.

#![allow(clippy::float_cmp, reason = "counts are whole")]

use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_testkit::s3_client::{S3Client, S3Request, http2, path, read_answer};
use rustix::process::Signal;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::certificates::{Authority, Files, Kind};
use crate::service::{Service, eventually};

/// Connects as somebody who trusts this authority and speaks these protocols.
async fn connect(service: &Service, trusted: &Path, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_protocol_versions(&[&version::TLS12, &version::TLS13]);
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(service.address).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
}

async fn ask(connection: &mut BufReader<TlsStream<TcpStream>>, client: &S3Client, request: &S3Request) -> u16 {
    connection.get_mut().write_all(&client.signed(request)).await.unwrap();
    connection.get_mut().flush().await.unwrap();
    read_answer(connection, request.method == "HEAD").await.unwrap().status
}

fn replace(own: &Files, by: &Files) {
    std::fs::copy(&by.certificate, &own.certificate).unwrap();
    std::fs::copy(&by.key, &own.key).unwrap();
}

fn start(own: &Files, more: &[&str]) -> Service {
    let (certificate, key) = (own.certificate.to_str().unwrap(), own.key.to_str().unwrap());
    Service::start_with(&[&["--tls-cert", certificate, "--tls-key", key], more].concat(), &[])
}

#[tokio::test]
async fn certificates_are_replaced_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(directory.path(), "old"), Authority::new(directory.path(), "new"));
    let own = old.issue("service", Kind::Service);
    let service = start(&own, &[]);
    let mut begun = BufReader::new(connect(&service, &old.file, &[]).await.unwrap());
    assert_eq!(ask(&mut begun, &service.root, &S3Request::new("PUT", path("photos", ""))).await, 200);
    assert!(connect(&service, &new.file, &[]).await.is_err());

    // Broken: the old one stays, and it is said where people and programs look.
    let (whole, whole_key) = (std::fs::read(&own.certificate).unwrap(), std::fs::read(&own.key).unwrap());
    std::fs::write(&own.certificate, &whole[..whole.len() / 2]).unwrap();
    service.signal(Signal::HUP);
    let tls = [("listener", "s3")];
    eventually("it is said", async || (service.metrics().await.1.value("cairn_tls_stale", &tls) == 1.0).then_some(())).await;
    let log = service.log();
    assert!(log.contains("ERROR") && log.contains("the TLS certificates cannot be read anew, and stay as they were"), "{log}");
    connect(&service, &old.file, &[]).await.unwrap();

    // Put right, by another's; without a signal.
    replace(&own, &new.issue("service", Kind::Service));
    eventually("the new one is in force", async || connect(&service, &new.file, &[]).await.ok().map(drop)).await;
    assert!(connect(&service, &old.file, &[]).await.is_err());
    assert_eq!(ask(&mut begun, &service.root, &S3Request::new("HEAD", path("photos", ""))).await, 200, "what was open goes on");
    let exposed = service.metrics().await.1;
    assert_eq!(exposed.value("cairn_tls_stale", &tls), 0.0);
    assert!(exposed.value("cairn_tls_reloads_total", &[tls[0], ("result", "failed")]) >= 1.0);
    assert_eq!(exposed.value("cairn_tls_reloads_total", &[tls[0], ("result", "replaced")]), 1.0);
    assert!(exposed.value("cairn_tls_not_after_seconds", &tls) > 2e9);

    // And back, as soon as it is told.
    std::fs::write(&own.certificate, whole).unwrap();
    std::fs::write(&own.key, whole_key).unwrap();
    service.signal(Signal::HUP);
    eventually("the old one is in force", async || connect(&service, &old.file, &[]).await.ok().map(drop)).await;
    drop(begun);
    let (well, said) = service.stop();
    assert!(well, "{said}");
}

/// The page's own line makes a certificate that strict clients take: for some, one of an authority is none of a service.
#[tokio::test]
async fn the_certificate_that_the_page_makes_is_good() {
    const PAGE: &str = include_str!("../../../../docs/administration.md");
    let section = PAGE.split_once("\n## HTTPS\n").unwrap().1;
    let line: String = section
        .lines()
        .skip_while(|line| !line.starts_with("    openssl req -x509 "))
        .scan(true, |goes_on, line| std::mem::replace(goes_on, line.ends_with('\\')).then(|| format!("{line}\n")))
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("sh").args(["-c", &line]).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "{line}{}", String::from_utf8_lossy(&made.stderr));
    let own = Files { certificate: directory.path().join("chain.pem"), key: directory.path().join("key.pem") };
    let service = start(&own, &[]);
    let mut connection = BufReader::new(connect(&service, &own.certificate, &[]).await.unwrap());
    assert_eq!(ask(&mut connection, &service.root, &S3Request::new("GET", "/")).await, 200);
}

#[tokio::test]
async fn http2_is_agreed_upon_by_those_who_ask_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "authority");
    let own = authority.issue("service", Kind::Service);
    let service = start(&own, &[]);
    let agreed = |stream: &TlsStream<TcpStream>| {
        let protocol = stream.get_ref().1.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned());
        protocol.unwrap_or_default()
    };
    for (asked, expected) in [(&["http/1.1"][..], "http/1.1"), (&[], ""), (&["http/1.1", "h2"], "h2")] {
        let stream = connect(&service, &authority.file, asked).await.unwrap();
        assert_eq!(agreed(&stream), expected, "{asked:?}");
    }
    let stream = connect(&service, &authority.file, &["h2"]).await.unwrap();
    let mut connection = http2::Connection::over(stream).await.unwrap();
    let send = |request: S3Request| service.root.signed(&request);
    assert_eq!(connection.send(&send(S3Request::new("PUT", path("photos", "")))).await.unwrap().status, 200);
    let body: Vec<u8> = (0..3_000_000u32).map(|number| number.to_le_bytes()[0]).collect();
    assert_eq!(connection.send(&send(S3Request::new("PUT", path("photos", "k")).body(body.clone()))).await.unwrap().status, 200);
    let many = (0..20).map(|_| {
        let (mut connection, get) = (connection.clone(), send(S3Request::new("GET", path("photos", "k"))));
        async move { connection.send(&get).await.unwrap() }
    });
    for answer in futures::future::join_all(many).await {
        assert!(answer.status == 200 && answer.body == body);
    }
    drop(connection);

    let without = start(&own, &["--http2", "false"]);
    let stream = connect(&without, &authority.file, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(agreed(&stream), "http/1.1");
}
