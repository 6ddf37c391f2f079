//! A server on loopback over a store in memory, for the tests beside it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use cairn_disk::Environment;
use cairn_s3::{Config, GrantAuthorizer, Handshake, Limits, Protocol, S3Service, Server, Shaken};
use cairn_store::api::{Access, AccessKey, Bucket, Grant, GrantScope, ObjectStore as _, SecretAccessKey};
use cairn_testkit::memory_store::MemoryStore;
use cairn_testkit::s3_client::{Answer, S3Client, S3Request, http2, path};
use cairn_types::{AccountId, TenantId};
use futures::future::BoxFuture;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running server.
pub struct Fixture {
    /// Signs with a key that may do everything.
    pub client: S3Client,
    /// What the server serves from.
    pub store: Arc<MemoryStore>,
    /// What answers.
    pub service: S3Service,
    /// Stops the server.
    pub stop: watch::Sender<bool>,
    /// Ends when the server has.
    pub server: JoinHandle<()>,
}

/// The id of the key that may do everything.
pub const ROOT: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Whether this program asks everything by HTTP/2: `tests/http2.rs` has the other programs' tests in it.
pub const IS_HTTP2: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"http2");

/// A handshake that agrees on HTTP/2 without a word. What TLS agrees upon is tested with the binary.
pub struct PlainHttp2;

impl Handshake for PlainHttp2 {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'static, std::io::Result<Shaken>> {
        Box::pin(async move { Ok(Shaken { stream: Box::new(stream), protocol: Protocol::Http2 }) })
    }
}

/// Bounds that tests can reach.
pub fn small_limits() -> Limits {
    Limits {
        body_idle_timeout: Duration::from_secs(1),
        header_timeout: Duration::from_secs(1),
        part_bytes_min: 100,
        object_bytes_max: 1 << 20,
        put_bytes_max: 1 << 20,
        drain_bytes_max: 64 << 10,
        shutdown_timeout: Duration::from_secs(10),
        ..Limits::default()
    }
}

impl Fixture {
    /// Starts a server.
    pub async fn start() -> Self {
        Self::with(Config { domains: vec!["s3.test".to_owned()], limits: small_limits(), ..Config::default() }).await
    }

    /// Starts a server that is configured so, with a bucket `bucket` in it.
    pub async fn with(config: Config) -> Self {
        let environment = Environment::real();
        let region = config.region.clone();
        let store = Arc::new(MemoryStore::new(environment.clock.clone(), environment.random.clone()));
        let service =
            S3Service::new(store.clone(), Arc::new(GrantAuthorizer), config, environment.clock.clone(), &*environment.random);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut server = Server::new(service.clone());
        if IS_HTTP2 {
            server = server.with_handshake(Arc::new(PlainHttp2));
            http2::speak_at(address);
        }
        let server = tokio::spawn(server.run(listener, stopped));
        let client = S3Client {
            address,
            host: address.to_string(),
            access_key_id: ROOT.to_owned(),
            secret_access_key: SECRET.to_owned(),
            region,
            clock: environment.clock,
        };
        let fixture = Self { client, store, service, stop, server };
        fixture.add_key(ROOT, vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }]);
        assert_eq!(fixture.send(&S3Request::new("PUT", "/bucket")).await.status, 200);
        fixture
    }

    /// Adds a key with the same secret as all.
    pub fn add_key(&self, id: &str, grants: Vec<Grant>) {
        self.store.add_key(AccessKey {
            access_key_id: id.into(),
            secret: SecretAccessKey::new(SECRET),
            tenant: TenantId::DEFAULT,
            account: AccountId([0x11; 32]),
            account_name: "tester".into(),
            grants,
        });
    }

    /// A client with another key.
    pub fn client_of(&self, id: &str) -> S3Client {
        self.client.with_key(id, SECRET)
    }

    /// The bucket of this name.
    pub async fn bucket(&self, name: &str) -> Arc<Bucket> {
        self.store.bucket(TenantId::DEFAULT, name).await.unwrap().unwrap()
    }

    /// Sends a signed request.
    pub async fn send(&self, request: &S3Request) -> Answer {
        self.client.send(request).await.unwrap()
    }

    /// Status and code of the answer to a signed request.
    pub async fn outcome(&self, request: &S3Request) -> (u16, String) {
        let answer = self.send(request).await;
        (answer.status, answer.code())
    }

    /// Sends a request without its last bytes, and goes away.
    pub async fn send_all_but(&self, bytes: &[u8], count: usize) {
        let mut stream = TcpStream::connect(self.client.address).await.unwrap();
        if !IS_HTTP2 {
            return stream.write_all(&bytes[..bytes.len() - count]).await.unwrap();
        }
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = http2::request(bytes).unwrap();
        let (_answering, mut sending) = sender.send_request(head, false).unwrap();
        sending.send_data(body.slice(..body.len() - count), false).unwrap();
        while self.service.running() == 0 {
            tokio::task::yield_now().await;
        }
        connection.abort();
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> Answer {
        let answer = self.send(&S3Request::new("PUT", path("bucket", key)).body(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// Reads an object.
    pub async fn get(&self, key: &str) -> Answer {
        self.send(&S3Request::new("GET", path("bucket", key))).await
    }
}

/// A request to an object in `bucket`.
pub fn object(method: &str, key: &str) -> S3Request {
    S3Request::new(method, path("bucket", key))
}

/// A request to `bucket`.
pub fn bucket(method: &str) -> S3Request {
    S3Request::new(method, "/bucket")
}

/// Status and code as they are expected.
pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
