//! S3 from memory, to try clients against the front alone: `cargo run -p cairn-s3 --example memory_s3 [ADDR:PORT] [DOMAIN]`.
//!
//! The key is the one of AWS's documentation. Nothing is kept.

use std::sync::Arc;

use cairn_disk::Environment;
use cairn_s3::{Config, GrantAuthorizer, S3Service, Server};
use cairn_store::api::{Access, AccessKey, Grant, GrantScope, SecretAccessKey};
use cairn_testkit::memory_store::MemoryStore;
use cairn_types::{AccountId, TenantId};
use tokio::net::TcpListener;
use tokio::sync::watch;

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut arguments = std::env::args().skip(1);
        let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9000".to_owned());
        let environment = Environment::real();
        let store = MemoryStore::new(environment.clock.clone(), environment.random.clone());
        store.add_key(AccessKey {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            tenant: TenantId::DEFAULT,
            account: AccountId([0x11; 32]),
            account_name: "root".into(),
            grants: vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }],
        });
        store.add_key(AccessKey {
            access_key_id: "AKIAI44QH8DHBEXAMPLE".into(),
            secret: SecretAccessKey::new("je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"),
            tenant: TenantId::DEFAULT,
            account: AccountId([0x22; 32]),
            account_name: "other".into(),
            grants: vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }],
        });
        let config = Config { domains: arguments.collect(), ..Config::default() };
        let random = &*environment.random;
        let service = S3Service::new(Arc::new(store), Arc::new(GrantAuthorizer), config, environment.clock.clone(), random);
        let listener = TcpListener::bind(&address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        let (_stop, stopped) = watch::channel(false);
        Server::new(service).run(listener, stopped).await;
        Ok(())
    })
}
