use super::*;

const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

#[test]
fn an_endpoint_is_a_host_and_a_port_with_tls() {
    for (url, name, port, host) in [
        ("https://cairn.example:9443", "cairn.example", 9443, "cairn.example:9443"),
        ("https://cairn.example/", "cairn.example", 443, "cairn.example"),
        ("HTTPS://192.0.2.1:1", "192.0.2.1", 1, "192.0.2.1:1"),
        ("https://[2001:db8::1]:9443", "2001:db8::1", 9443, "[2001:db8::1]:9443"),
        ("https://[2001:db8::1]", "2001:db8::1", 443, "[2001:db8::1]"),
    ] {
        let (own_name, own_port, own_host) = parse(url).unwrap();
        assert_eq!((own_name.as_str(), own_port, own_host.to_str().unwrap()), (name, port, host), "{url}");
    }
    for (url, words) in [
        ("http://cairn.example:9443", "without TLS"),
        ("cairn.example:9443", "https://"),
        ("cairn.example", "https://"),
        ("ftp://cairn.example", "https://"),
        ("https://", "no URL"),
        ("https://cairn.example:9443/v1", "a path"),
        ("https://cairn.example/?a=b", "a path"),
        ("https://me:secret@cairn.example", "password"),
        ("https://cairn.example:99999", "port"),
        ("https://cairn.example:", "port"),
        ("https://cairn example", "no URL"),
        ("", "no URL"),
    ] {
        let error = parse(url).unwrap_err();
        assert!(error.contains(words), "{url}: {error}");
    }
}

#[test]
fn what_cannot_be_used_is_said_before_anyone_is_asked() {
    let fails = |means: &Means, token: Option<&str>| {
        let made = Endpoint::new("https://cairn.example", means, token.map(str::to_owned));
        made.err().unwrap_or_else(|| panic!("{means:?} can be used")).message
    };
    let none = Means::default();
    assert!(fails(&none, None).contains("--token-file"), "{}", fails(&none, None));
    let short = fails(&none, Some("short-secret"));
    assert!(short.contains("CAIRN_ADMIN_TOKEN: line 1: a token is made of") && !short.contains("short-secret"), "{short}");

    let root = tempfile::tempdir().unwrap();
    let empty = root.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let authority = Means { authority: Some(empty.clone()), ..Means::default() };
    assert!(
        fails(&authority, Some(TOKEN)).contains("empty.pem cannot be used: it holds no certificate"),
        "{}",
        fails(&authority, Some(TOKEN))
    );
    let certificate = Means { certificate: Some((empty.clone(), empty)), ..Means::default() };
    assert!(fails(&certificate, None).contains("empty.pem cannot be used"));
    let missing = Means { token_file: Some(root.path().join("missing")), ..Means::default() };
    assert!(fails(&missing, None).contains("The token file"), "{}", fails(&missing, None));
}

#[test]
fn a_token_is_sent_and_does_not_show_itself() {
    let endpoint = Endpoint::new(
        "https://cairn.example",
        &Means::default(),
        Some(format!("new {TOKEN}\nold {}\n", TOKEN.replace('0', "1"))),
    )
    .unwrap();
    let header = endpoint.authorization().unwrap();
    assert_eq!(header, format!("Bearer {TOKEN}"));
    assert!(!format!("{header:?}").contains(TOKEN));
}

/// What `openssl req -x509` makes was once refused with the verifier's own words.
#[tokio::test]
async fn an_authoritys_certificate_is_not_taken_for_a_services_and_it_is_said_how_to_make_one() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;

    let root = tempfile::tempdir().unwrap();
    for (is_ca, words) in
        [(IsCa::Ca(BasicConstraints::Unconstrained), Some("basicConstraints=critical,CA:FALSE")), (IsCa::ExplicitNoCa, None)]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let certificate = params.self_signed(&key).unwrap();
        let file = root.path().join("certificate.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        });
        let means = Means { authority: Some(file), ..Means::default() };
        let endpoint = Endpoint::new(&url, &means, Some(TOKEN.to_owned())).unwrap();
        match (endpoint.connect().await, words) {
            (Err(failure), Some(words)) => assert!(failure.message.contains(words), "{}", failure.message),
            (Ok(_), None) => {}
            (outcome, _) => panic!("{words:?}: {:?}", outcome.err()),
        }
        serving.await.unwrap();
    }
}
