use super::super::settings::{Life, Place};
use super::*;

const PREFIX: &str = "/service/cairn/";

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// What etcd 3.4 answers, as it was written down.
fn answer(leader: Option<&str>, settings: &str, members: &[(&str, &str)]) -> Value {
    let leader: Vec<Value> = leader
        .map(|name| json!({ "key": encoded("/service/cairn/leader"), "value": encoded(name), "lease": "7587", "version": "1" }))
        .into_iter()
        .collect();
    let members: Vec<Value> = members
        .iter()
        .map(
            |(name, data)| json!({ "key": encoded(&format!("{PREFIX}members/{name}")), "value": encoded(data), "lease": "7587" }),
        )
        .collect();
    json!({
        "header": { "cluster_id": "1", "member_id": "2", "revision": "30", "raft_term": "4" },
        "succeeded": true,
        "responses": [
            { "response_range": { "kvs": leader, "count": "1" } },
            { "response_range": { "kvs": [{ "key": encoded("/service/cairn/config"), "value": encoded(settings) }], "count": "1" } },
            { "response_range": { "kvs": members, "count": "2" } },
        ]
    })
}

const ONE: (&str, &str) =
    ("one", r#"{"conn_url":"postgres://10.0.0.1:5432/postgres","state":"running","role":"primary","timeline":3}"#);
const OTHER: (&str, &str) = ("other", r#"{"conn_url":"postgres://10.0.0.2:5432/postgres","state":"running","role":"replica"}"#);

#[test]
fn reads_who_has_the_lock() {
    let kept = read(&answer(Some("other"), r#"{"ttl":30}"#, &[ONE, OTHER]), PREFIX).expect("a leader");
    let connection = "postgres://10.0.0.2:5432/postgres".to_owned();
    let expected =
        Kept { term: "4".to_owned(), leader: "other".to_owned(), lease: "7587".to_owned(), connection, timeline: None };
    assert_eq!(kept, expected);
    assert_eq!(read(&answer(Some("one"), r#"{"pause":false}"#, &[ONE]), PREFIX).expect("a leader").timeline, Some(3));
}

/// P4: who cannot vouch says so.
#[test]
fn vouches_for_nobody_where_nobody_has_to_have_the_lock() {
    let refused = [
        ("nobody has the lock", answer(None, "{}", &[ONE])),
        ("it is paused", answer(Some("one"), r#"{"pause":true}"#, &[ONE])),
        ("whatever that means", answer(Some("one"), r#"{"pause":"on"}"#, &[ONE])),
        ("the settings are none", answer(Some("one"), "ttl: 30", &[ONE])),
        ("the leader is no member", answer(Some("one"), "{}", &[OTHER])),
        ("the leader says nothing of himself", answer(Some("one"), "{}", &[("one", "{}")])),
        ("nothing", json!({})),
        ("an error", json!({ "error": "etcdserver: request timed out", "code": 14 })),
    ];
    for (why, answer) in refused {
        assert!(read(&answer, PREFIX).is_err(), "{why}");
    }
}

#[tokio::test]
async fn a_server_is_where_its_member_says() {
    let address: SocketAddr = "10.0.0.2:5432".parse().expect("an address");
    assert!(leads_to("postgres://10.0.0.2:5432/postgres", address).await);
    for other in
        ["postgres://10.0.0.1:5432/postgres", "postgres://10.0.0.2:5433/postgres", "postgres:///postgres", "nonsense", ""]
    {
        assert!(!leads_to(other, address).await, "{other}");
    }
    assert!(leads_to("postgres://localhost:77/postgres", "127.0.0.1:77".parse().expect("an address")).await);
    assert!(leads_to("postgres://[::1]:77/postgres", "[::1]:77".parse().expect("an address")).await);
    let patroni = |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|text| (*text).to_owned()).collect();
        Patroni::new(PatroniSettings { endpoints, namespace: "service".to_owned(), scope: "cairn".to_owned(), tls: None })
    };
    for none in [&[][..], &["10.0.0.1:2379"], &["ftp://10.0.0.1"], &["http://"]] {
        assert!(patroni(none).is_err(), "{none:?}");
    }
    let socket = Place { host: "/run/postgresql".to_owned(), port: 5432, address: None };
    let primary = Primary { place: socket, life: Life { system: 1, timeline: 1, started_us: 1 } };
    let at = patroni(&["http://127.0.0.1:9"]).expect("a witness");
    assert!(at.keeps_its_right(primary).await.is_err(), "it has no address");
}
