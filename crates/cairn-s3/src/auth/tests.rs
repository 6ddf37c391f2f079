//! The signatures are those of AWS's pages ("Examples: Signature Calculations" and the pages on chunked uploads and trailers).

use std::sync::Arc;

use bytes::Bytes;
use cairn_store::api::{Access, Grant, GrantScope, ObjectBodyExt as _, SecretAccessKey};
use cairn_testkit::memory_store::MemoryStore;
use cairn_types::{AccountId, TenantId};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::presigned::EXPIRES_SECONDS_MAX;
use super::*;
use crate::body::{Expectations, Inbound, VerifiedBody};
use crate::checksum::headers::Promised;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z, the day of all examples.
const NOW: u64 = 1_369_353_600;
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";

fn store() -> MemoryStore {
    let environment = cairn_disk::Environment::real();
    let store = MemoryStore::new(environment.clock, environment.random);
    store.add_key(AccessKey {
        access_key_id: KEY.into(),
        secret: SecretAccessKey::new(SECRET),
        tenant: TenantId::DEFAULT,
        account: AccountId([1; 32]),
        account_name: "a".into(),
        grants: vec![Grant { scope: GrantScope::Tenant, access: Access::Read }],
    });
    store
}

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

async fn check_at(now: u64, method: &str, target: &str, headers: &HeaderMap) -> S3Result<Authenticated> {
    let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::parse(query).unwrap();
    let request = Request { method, raw_path, query: &query, headers, virtual_bucket: None };
    Authenticator::new("us-east-1".to_owned()).authenticate(&store(), &request, now).await
}

async fn code(now: u64, method: &str, target: &str, headers: &[(&str, &str)]) -> &'static str {
    check_at(now, method, target, &map(headers)).await.err().map_or("", |error| error.code().name)
}

fn get_object(authorization: &str) -> Vec<(&'static str, String)> {
    vec![
        ("host", "examplebucket.s3.amazonaws.com".to_owned()),
        ("range", "bytes=0-9".to_owned()),
        ("x-amz-content-sha256", EMPTY_SHA256_HEXADECIMAL.to_owned()),
        ("x-amz-date", "20130524T000000Z".to_owned()),
        ("authorization", authorization.to_owned()),
    ]
}

const GET_SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

fn get_authorization() -> String {
    format!("{CREDENTIAL},SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={GET_SIGNATURE}")
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test]
async fn the_published_requests_are_accepted() {
    let host = ("host", "examplebucket.s3.amazonaws.com");
    let date = ("x-amz-date", "20130524T000000Z");
    let empty = ("x-amz-content-sha256", EMPTY_SHA256_HEXADECIMAL);
    let signed = |names: &str, signature: &str| format!("{CREDENTIAL}, SignedHeaders={names}, Signature={signature}");
    assert_eq!(code(NOW, "GET", "/test.txt", &borrowed(&get_object(&get_authorization()))).await, "");
    let put = signed(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    let headers = [
        host,
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        date,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ("authorization", &put),
    ];
    assert_eq!(code(NOW, "PUT", "/test%24file.text", &headers).await, "");
    // `$` may stand for itself in a path; the canonical form is the same.
    assert_eq!(code(NOW, "PUT", "/test$file.text", &headers).await, "");
    let names = "host;x-amz-content-sha256;x-amz-date";
    let lifecycle = signed(names, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    assert_eq!(code(NOW, "GET", "/?lifecycle", &[host, date, empty, ("authorization", &lifecycle)]).await, "");
    let list = signed(names, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    assert_eq!(code(NOW, "GET", "/?max-keys=2&prefix=J", &[host, date, empty, ("authorization", &list)]).await, "");
    assert_eq!(code(NOW, "GET", "/?prefix=J&max-keys=2", &[host, date, empty, ("authorization", &list)]).await, "");
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[tokio::test]
async fn the_published_url_is_accepted_for_its_time() {
    let host = [("host", "examplebucket.s3.amazonaws.com")];
    assert_eq!(code(NOW, "GET", PRESIGNED, &host).await, "");
    assert_eq!(code(NOW + 86_400, "GET", PRESIGNED, &host).await, "");
    let expired = check_at(NOW + 86_401, "GET", PRESIGNED, &map(&host)).await.err().unwrap();
    assert_eq!((expired.code().name, expired.message()), ("AccessDenied", "Request has expired"));
    assert_eq!(expired.fields()[1], ("Expires", "2013-05-25T00:00:00Z".to_owned()));
    assert_eq!(code(NOW - CLOCK_SKEW_SECONDS_MAX, "GET", PRESIGNED, &host).await, "");
    assert_eq!(code(NOW - CLOCK_SKEW_SECONDS_MAX - 1, "GET", PRESIGNED, &host).await, "AccessDenied");
    assert_eq!(code(NOW, "PUT", PRESIGNED, &host).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", PRESIGNED, &[("host", "otherbucket.s3.amazonaws.com")]).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", &format!("{PRESIGNED}&versionId=null"), &host).await, "SignatureDoesNotMatch");
    // A header that AWS acts upon cannot be slipped in.
    assert_eq!(code(NOW, "GET", PRESIGNED, &[host[0], ("x-amz-acl", "public-read")]).await, "AccessDenied");
    let both = [host[0], ("authorization", "AWS4-HMAC-SHA256 x")];
    assert_eq!(code(NOW, "GET", PRESIGNED, &both).await, "InvalidArgument");
}

#[tokio::test]
async fn malformed_urls_are_told_apart() {
    let host = [("host", "examplebucket.s3.amazonaws.com")];
    let parameters: Vec<&str> = PRESIGNED.split_once('?').unwrap().1.split('&').collect();
    for missing in 0..parameters.len() {
        let mut rest = parameters.clone();
        rest.remove(missing);
        let target = format!("/test.txt?{}", rest.join("&"));
        assert_eq!(code(NOW, "GET", &target, &host).await, "AuthorizationQueryParametersError", "{target}");
        let doubled = format!("{PRESIGNED}&{}", parameters[missing]);
        assert_eq!(code(NOW, "GET", &doubled, &host).await, "AuthorizationQueryParametersError", "{doubled}");
    }
    for (from, to, expected) in [
        ("Expires=86400", "Expires=604801", "AuthorizationQueryParametersError"),
        ("Expires=86400", "Expires=-1", "AuthorizationQueryParametersError"),
        ("Expires=86400", "Expires=x", "AuthorizationQueryParametersError"),
        ("Expires=86400", "Expires=99999999999999999999999999", "AuthorizationQueryParametersError"),
        ("Expires=86400", "Expires=86401", "SignatureDoesNotMatch"),
        ("us-east-1", "eu-west-1", "AuthorizationQueryParametersError"),
        ("%2Fs3%2F", "%2Fsns%2F", "AuthorizationQueryParametersError"),
        ("aws4_request", "aws5_request", "AuthorizationQueryParametersError"),
        ("HMAC-SHA256", "HMAC-SHA1", "AuthorizationQueryParametersError"),
        ("Date=20130524T000000Z", "Date=20130524", "AuthorizationQueryParametersError"),
        ("Date=20130524T000000Z", "Date=20130525T000000Z", "AuthorizationQueryParametersError"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF", "InvalidAccessKeyId"),
        ("aeeed9", "aeeeda", "SignatureDoesNotMatch"),
        ("=aeeed9", "=AEEED9", "SignatureDoesNotMatch"),
        ("=host", "=range", "AccessDenied"),
    ] {
        assert!(PRESIGNED.contains(from));
        assert_eq!(code(NOW, "GET", &PRESIGNED.replace(from, to), &host).await, expected, "{from} -> {to}");
    }
}

/// Signs the path and query of a `GET` with version 2, as Amazon's page says.
fn version_2(text: &str, target: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut state = Hmac::<sha1::Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
    state.update(text.as_bytes());
    let signature = crate::text::base64::encode(&state.finalize().into_bytes());
    let separator = if target.contains('?') { '&' } else { '?' };
    let signature = crate::text::percent::encode(&signature, false).into_owned();
    format!("{target}{separator}AWSAccessKeyId={KEY}&Expires={}&Signature={signature}", NOW + 100)
}

#[tokio::test]
async fn urls_of_version_2_are_taken_where_all_of_them_is_signed() {
    let expires = NOW + 100;
    let good = version_2(&format!("GET\n\n\n{expires}\n/b/a%20b"), "/b/a%20b");
    assert_eq!(code(NOW, "GET", &good, &[("host", "any")]).await, "");
    assert_eq!(code(NOW + 100, "GET", &good, &[]).await, "");
    assert_eq!(code(NOW + 101, "GET", &good, &[]).await, "AccessDenied");
    assert_eq!(code(NOW - EXPIRES_SECONDS_MAX - CLOCK_SKEW_SECONDS_MAX, "GET", &good, &[]).await, "AccessDenied");
    assert_eq!(code(NOW, "PUT", &good, &[]).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", &good.replace("a%20b", "a%20c"), &[]).await, "SignatureDoesNotMatch");
    assert_eq!(
        code(NOW, "GET", &good.replace(&expires.to_string(), &(expires + 1).to_string()), &[]).await,
        "SignatureDoesNotMatch"
    );
    assert_eq!(code(NOW, "GET", &good.replace(KEY, "other"), &[]).await, "InvalidAccessKeyId");
    assert_eq!(code(NOW, "GET", &format!("{good}&versionId=null"), &[]).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", &format!("{good}&list-type=2"), &[]).await, "InvalidArgument");
    assert_eq!(code(NOW, "GET", &format!("{good}&Expires=1"), &[]).await, "AccessDenied");
    assert_eq!(code(NOW, "GET", &good, &[("x-amz-meta-a", "b")]).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", &good, &[("content-type", "b")]).await, "SignatureDoesNotMatch");
    assert_eq!(code(NOW, "GET", &good, &[("x-amz-security-token", "b")]).await, "InvalidToken");
    // Subresources in their order with decoded values, headers of Amazon's in the query or sent.
    let text = format!("GET\n\ntext/plain\n{expires}\nx-amz-meta-a:b c\n/b/k?response-content-type=a/b&versionId=null");
    let target = version_2(&text, "/b/k?versionId=null&response-content-type=a%2Fb&content-type=text/plain");
    assert_eq!(code(NOW, "GET", &target, &[("x-amz-meta-a", "b c")]).await, "");
    assert_eq!(code(NOW, "GET", &format!("{target}&x-amz-meta-a=b%20c"), &[]).await, "");
    // One value that could be read as two.
    let target =
        version_2(&text, "/b/k?response-content-type=a%2Fb%26versionId%3Dnull&content-type=text/plain&x-amz-meta-a=b%20c");
    assert_eq!(code(NOW, "GET", &target, &[]).await, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn what_was_not_signed_is_refused() {
    let good = get_object(&get_authorization());
    let with = |name: &'static str, value: &str| {
        let mut headers = good.clone();
        headers.retain(|(own, _)| *own != name);
        if !value.is_empty() {
            headers.push((name, value.to_owned()));
        }
        headers
    };
    let get = |headers: Vec<(&'static str, String)>| async move { code(NOW, "GET", "/test.txt", &borrowed(&headers)).await };
    assert_eq!(get(good.clone()).await, "");
    assert_eq!(get(with("range", "bytes=0-10")).await, "SignatureDoesNotMatch");
    assert_eq!(get(with("range", "")).await, "SignatureDoesNotMatch");
    assert_eq!(get(with("x-amz-meta-a", "b")).await, "AccessDenied");
    assert_eq!(get(with("host", "other")).await, "SignatureDoesNotMatch");
    assert_eq!(get(with("x-amz-content-sha256", "UNSIGNED-PAYLOAD")).await, "SignatureDoesNotMatch");
    assert_eq!(get(with("x-amz-content-sha256", "")).await, "InvalidRequest");
    assert_eq!(get(with("x-amz-content-sha256", "x")).await, "InvalidArgument");
    assert_eq!(get(with("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")).await, "NotImplemented");
    assert_eq!(get(with("x-amz-date", "")).await, "AccessDenied");
    assert_eq!(get(with("x-amz-date", "x")).await, "AccessDenied");
    assert_eq!(get(with("x-amz-date", "20130524T001501Z")).await, "RequestTimeTooSkewed");
    assert_eq!(get(with("x-amz-date", "20130523T235959Z")).await, "AuthorizationHeaderMalformed");
    assert_eq!(get(with("x-amz-security-token", "t")).await, "InvalidToken");
    assert_eq!(get(with("authorization", "")).await, "");
    assert_eq!(code(NOW, "HEAD", "/test.txt", &borrowed(&good)).await, "SignatureDoesNotMatch");
    for path in ["//test.txt", "/test.txt/", "/./test.txt", "/TEST.txt", "/test%2Etxt?a", "/test.txt?acl"] {
        assert_eq!(code(NOW, "GET", path, &borrowed(&good)).await, "SignatureDoesNotMatch", "{path}");
    }
    let skew = CLOCK_SKEW_SECONDS_MAX;
    for (now, expected) in
        [(NOW + skew, ""), (NOW - skew, ""), (NOW + skew + 1, "RequestTimeTooSkewed"), (NOW - skew - 1, "RequestTimeTooSkewed")]
    {
        assert_eq!(code(now, "GET", "/test.txt", &borrowed(&good)).await, expected);
    }
}

#[tokio::test]
async fn malformed_headers_are_told_apart() {
    let good = get_authorization();
    for (from, to, expected) in [
        ("Signature=f0", "Signature=F0", "SignatureDoesNotMatch"),
        ("Signature=f0", "Signature=", "SignatureDoesNotMatch"),
        ("Signature=f0", "Signature=f1", "SignatureDoesNotMatch"),
        (",Signature=", ",Signatur=", "AuthorizationHeaderMalformed"),
        (",SignedHeaders=", ",Signature=", "AuthorizationHeaderMalformed"),
        ("SignedHeaders=host;", "SignedHeaders=", "AccessDenied"),
        (";x-amz-date", "", "AccessDenied"),
        ("us-east-1", "us-west-1", "AuthorizationHeaderMalformed"),
        ("/s3/", "/ec2/", "AuthorizationHeaderMalformed"),
        ("/aws4_request", "/aws5_request", "AuthorizationHeaderMalformed"),
        ("/20130524/", "/2013524/", "AuthorizationHeaderMalformed"),
        ("/20130524/", "/20130523/", "AuthorizationHeaderMalformed"),
        ("Credential=AKIAIOSFODNN7EXAMPLE/", "Credential=", "AuthorizationHeaderMalformed"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLF", "InvalidAccessKeyId"),
        ("AWS4-HMAC-SHA256 ", "AWS ", "InvalidRequest"),
        ("AWS4-HMAC-SHA256 ", "Basic ", "InvalidArgument"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "InvalidArgument"),
    ] {
        assert!(good.contains(from), "{from}");
        let headers = get_object(&good.replacen(from, to, 1));
        assert_eq!(code(NOW, "GET", "/test.txt", &borrowed(&headers)).await, expected, "{from} -> {to}");
    }
    let wrong = get_object(&good.replace("us-east-1", "us-west-1"));
    let error = check_at(NOW, "GET", "/test.txt", &map(&borrowed(&wrong))).await.err().unwrap();
    assert!(error.message().ends_with("the region 'us-west-1' is wrong; expecting 'us-east-1'"), "{error}");
}

#[tokio::test]
async fn errors_hold_no_secret() {
    let wrong = get_object(&get_authorization().replace("=f0", "=f1"));
    let error = check_at(NOW, "GET", "/test.txt", &map(&borrowed(&wrong))).await.err().unwrap();
    let shown = format!("{error:?} {:?}", error.fields());
    assert!(shown.contains("StringToSign") && shown.contains("20130524T000000Z"));
    // Who signs wrongly finds the difference in these.
    let field = |name: &str| error.fields().iter().find(|(field, _)| *field == name).unwrap().1.clone();
    assert!(field("CanonicalRequest").starts_with("GET\n/test.txt\n\nhost:"), "{shown}");
    assert!(field("CanonicalRequestBytes").starts_with("47 45 54 0a 2f 74"), "{shown}");
    assert!(field("StringToSignBytes").starts_with("41 57 53 34 2d"), "{shown}");
    assert!(!shown.contains(SECRET));
    // The right signature is as good as a secret for this request.
    assert!(!shown.contains(GET_SIGNATURE));
}

/// Pulls a body that is signed as AWS's example is.
async fn pull(target: &str, headers: &[(&str, &str)], body: Bytes, promised: Promised) -> Result<Vec<u8>, &'static str> {
    let authenticated = check_at(NOW, "PUT", target, &map(headers)).await.map_err(|error| error.code().name)?;
    let mut inbound = Inbound::from_memory(body.chunks(1000).map(Bytes::copy_from_slice).collect::<Vec<_>>());
    let expectations = Expectations {
        payload: authenticated.payload,
        chunk_signer: authenticated.chunk_signer,
        length: 66_560,
        length_min: None,
        promised,
        wants_etag: true,
        default_checksum: None,
        idle_timeout: std::time::Duration::from_secs(1),
    };
    let mut verified = VerifiedBody::new(&mut inbound, expectations);
    let mut out = Vec::new();
    while let Some(piece) = verified.next().await {
        match piece {
            Ok(piece) => out.extend_from_slice(&piece),
            Err(failed) => return Err(verified.failure(failed).code().name),
        }
    }
    match verified.finish().await {
        Ok(_) => Ok(out),
        Err(failed) => Err(verified.failure(failed).code().name),
    }
}

fn chunked(chunks: [&str; 3], trailer: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (size, signature) in [65_536, 1024, 0].into_iter().zip(chunks) {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend_from_slice(&vec![b'a'; size]);
        if size > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(trailer.as_bytes());
    body.extend_from_slice(b"\r\n");
    body
}

#[tokio::test]
async fn the_published_chunks_are_accepted_and_no_others() {
    let authorization = format!(
        "{CREDENTIAL},SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,\
         Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    );
    let headers = [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
    ];
    let body = chunked(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        "",
    );
    assert_eq!(body.len(), 66_824);
    let put = |body: Vec<u8>| pull("/examplebucket/chunkObject.txt", &headers, body.into(), Promised::default());
    assert_eq!(put(body.clone()).await.unwrap(), vec![b'a'; 66_560]);
    // Any byte of the data or of a signature.
    for at in [100, 65_000, 65_700, 66_000, 66_750, 66_800] {
        let mut forged = body.clone();
        forged[at] ^= 1;
        assert!(matches!(put(forged).await, Err("SignatureDoesNotMatch" | "IncompleteBody")), "{at}");
    }
    let mut forged = body.clone();
    forged[1000] = b'b';
    assert_eq!(put(forged).await, Err("SignatureDoesNotMatch"));
    // Cut, with the last chunk or without.
    for length in [10, 60_000, 65_623, 66_730, 66_822, 66_823] {
        assert_eq!(put(body[..length].to_vec()).await, Err("IncompleteBody"), "{length}");
    }
    let mut longer = body.clone();
    longer.extend_from_slice(b"x");
    assert_eq!(put(longer).await, Err("IncompleteBody"));
}

#[tokio::test]
async fn the_published_trailer_is_accepted_and_no_other() {
    let authorization = format!(
        "{CREDENTIAL},SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,\
         Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    );
    let headers = [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", &authorization),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
    ];
    let chunks = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ];
    let promised = Promised::parse(&map(&headers)).unwrap();
    let put = |trailer: &str| pull("/examplebucket/chunkObject.txt", &headers, chunked(chunks, trailer).into(), promised);
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    let good = format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{signature}\r\n");
    assert_eq!(put(&good).await.unwrap(), vec![b'a'; 66_560]);
    assert_eq!(put(&good.replace("sOO8", "sOO9")).await, Err("SignatureDoesNotMatch"));
    assert_eq!(put(&good.replace(":d8", ":d9")).await, Err("SignatureDoesNotMatch"));
    assert_eq!(put("x-amz-checksum-crc32c:sOO8/Q==\r\n").await, Err("MalformedTrailerError"));
    assert_eq!(put("").await, Err("MalformedTrailerError"));
}

#[test]
fn a_key_is_derived_again_when_its_secret_changes() {
    let key = |secret: &str| {
        Arc::new(AccessKey {
            access_key_id: KEY.into(),
            secret: SecretAccessKey::new(secret),
            tenant: TenantId::DEFAULT,
            account: AccountId([1; 32]),
            account_name: "a".into(),
            grants: Vec::new(),
        })
    };
    let cache = SigningKeyCache::new();
    let sign = |secret: &str, date: &str| cache.get(&key(secret), date, "us-east-1").sign(b"x");
    let first = sign("a", "20130524");
    assert_eq!(sign("a", "20130524"), first);
    assert_eq!(first, SigningKey::derive(b"a", "20130524", "us-east-1").sign(b"x"));
    assert_ne!(sign("b", "20130524"), first);
    assert_ne!(sign("a", "20130525"), first);
    assert_eq!(sign("a", "20130524"), first);
}

proptest! {
    #[test]
    fn parsers_never_panic(header: Vec<u8>, text in "AWS4-HMAC-SHA256 (Credential=|SignedHeaders=|Signature=|[a-z0-9/;,= ]){0,12}", query: String) {
        let _ = parse_authorization_header(&header);
        let _ = parse_authorization_header(text.as_bytes());
        if let Ok(query) = Query::parse(&query) {
            let _ = parse_presigned_query(&query);
        }
    }

    #[test]
    fn canonical_paths_say_what_was_read(key in "\\PC{0,60}", extra in "[%/.+ -~]{0,10}") {
        // Two paths that are read as different keys never have one canonical form.
        let encoded = crate::text::percent::encode(&key, true).into_owned();
        let other = crate::text::percent::encode(&format!("{key}{extra}"), true).into_owned();
        let query = Query::default();
        let headers = HeaderMap::new();
        let canonical = |raw_path: &str| {
            let request = Request { method: "GET", raw_path, query: &query, headers: &headers, virtual_bucket: None };
            canonical_request(&request, "host", b"", SlashForm::Plain)
        };
        prop_assert_eq!(extra.is_empty(), canonical(&format!("/{encoded}")) == canonical(&format!("/{other}")));
    }
}

/// A request may be dated by `Date` alone, in the forms of HTTP and of mail: botocore writes the latter where a caller sets a date.
#[test]
fn a_date_is_read_in_every_form_that_signers_write() {
    let moment = |text: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::DATE, text.parse().unwrap());
        super::request_moment(&headers).ok()
    };
    for text in ["20130524T000000Z", "Fri, 24 May 2013 00:00:00 GMT", "Fri, 24 May 2013 00:00:00 -0000"] {
        assert_eq!(moment(text), Some(1_369_353_600), "{text}");
    }
    for text in ["", "Fri, 24 May 2013 00:00:00 +0200", "2013-05-24T00:00:00Z"] {
        assert_eq!(moment(text), None, "{text}");
    }
}
