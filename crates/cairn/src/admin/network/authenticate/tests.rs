use http::StatusCode;
use http_body_util::BodyExt;

use super::*;

const ONE: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const OTHER: &str = "1f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn gate(tokens: Option<&str>, takes_certificates: bool) -> Gate {
    let tokens = tokens.map(|text| TokenSource::Given(Tokens::parse(text).unwrap()));
    Gate { tokens, takes_certificates, attempts: Attempts::default() }
}

fn peer(certificate: Option<&str>) -> Peer {
    Peer { address: "192.0.2.1:5000".parse().unwrap(), certificate: certificate.map(str::to_owned) }
}

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).collect()
}

/// The credential that opened, or the status and body of the refusal.
async fn admit(gate: &Gate, certificate: Option<&str>, values: &[&str]) -> Result<Credential, (StatusCode, String)> {
    match gate.admit(&peer(certificate), &headers(values)) {
        Ok(Caller::Network { credential, .. }) => Ok(credential),
        Ok(caller @ Caller::Local { .. }) => panic!("{caller:?}"),
        Err(answer) => {
            assert_eq!(answer.headers()[CONNECTION], "close");
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            Err((status, String::from_utf8(body.to_vec()).unwrap()))
        }
    }
}

#[tokio::test]
async fn a_token_opens_where_it_is_the_one() {
    let gate = gate(Some(&format!("operator {ONE}")), false);
    let open = Ok(Credential::Token("operator".to_owned()));
    assert_eq!(admit(&gate, None, &[&format!("Bearer {ONE}")]).await, open);
    assert_eq!(admit(&gate, None, &[&format!("bEARER  {ONE} ")]).await, open);
    let refused = [
        vec![],
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![ONE.to_owned()],
        vec![format!("Basic {ONE}")],
        vec![format!("Bearer{ONE}")],
        vec![format!("Bearer {OTHER}")],
        vec![format!("Bearer {}", &ONE[..63])],
        vec![format!("Bearer {ONE}0")],
        vec![format!("Bearer {ONE},")],
        vec![format!("Bearer operator {ONE}")],
        vec![format!("Bearer {}", "a".repeat(TOKEN_LENGTH_MAX + 1))],
        vec![format!("Bearer {ONE}"), format!("Bearer {ONE}")],
        vec![format!("Bearer {ONE}"), format!("Bearer {OTHER}")],
    ];
    for (number, values) in refused.into_iter().enumerate() {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let (status, body) = admit(&gate, None, &values).await.unwrap_err();
        let expected = if number < 10 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(status, expected, "{values:?}");
        assert!(!body.contains(&ONE[..8]) && body.ends_with("}\n"), "{body}");
    }
    // Whoever shares an address with that one is not kept out.
    assert_eq!(admit(&gate, None, &[&format!("Bearer {ONE}")]).await, open);
}

#[tokio::test]
async fn a_certificate_opens_where_nothing_wrong_is_beside_it() {
    let both = gate(Some(ONE), true);
    let open = Ok(Credential::Certificate("c0ffee".to_owned()));
    assert_eq!(admit(&both, Some("c0ffee"), &[]).await, open);
    assert!(matches!(admit(&both, Some("c0ffee"), &[&format!("Bearer {ONE}")]).await, Ok(Credential::Token(_))));
    let (status, body) = admit(&both, Some("c0ffee"), &[&format!("Bearer {OTHER}")]).await.unwrap_err();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("--token-file) or a client certificate"), "{body}");

    let alone = gate(None, true);
    assert_eq!(admit(&alone, Some("c0ffee"), &[]).await, open);
    let (status, body) = admit(&alone, None, &[&format!("Bearer {ONE}")]).await.unwrap_err();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("It takes a client certificate") && !body.contains("--token-file"), "{body}");
}

/// What was taken out of the file opens nothing from then on, and a file that cannot be used opens nothing at all.
#[tokio::test]
async fn the_file_as_it_is_now_says_what_opens() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("tokens");
    let write = |text: &str, mode| {
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let tokens = Some(TokenSource::File(file.clone()));
    let gate = Gate { tokens, takes_certificates: false, attempts: Attempts::default() };
    let status = async |token: &str| match admit(&gate, None, &[&format!("Bearer {token}")]).await {
        Ok(_) => StatusCode::OK,
        Err((status, _)) => status,
    };
    for (text, mode, one, other) in [
        (format!("{ONE}\n"), 0o600, 200, 401),
        (format!("{ONE}\n{OTHER}\n"), 0o600, 200, 200),
        (format!("{OTHER}\n"), 0o600, 401, 200),
        (format!("{OTHER}\n"), 0o644, 503, 503),
        (format!("{OTHER}\nshort\n"), 0o600, 503, 503),
        (String::new(), 0o600, 503, 503),
        (format!("{ONE}\n"), 0o400, 200, 401),
    ] {
        write(&text, mode);
        assert_eq!((status(ONE).await.as_u16(), status(OTHER).await.as_u16()), (one, other), "{text:?} {mode:o}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(status(ONE).await, StatusCode::SERVICE_UNAVAILABLE);
}
