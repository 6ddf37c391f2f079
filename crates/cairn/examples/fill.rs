//! Fills a bucket with millions of objects, for `cargo xtask bench --size`: through the catalog, past HTTP and bodies. It opens the engines of a
//! data directory that no service has open (L10), so it is no way into a store that runs, and it is never shipped.
//!
//! Of N objects without bytes N/10 are in the folder `many/`, and the others in 90 folders `folder-NN/`, under eight digits each. So a listing by
//! delimiter at the bucket's root has 91 lines whatever N is, and one of them stands for N/10 keys. (`crates/cairn-load/src/keys.rs` knows these
//! keys too.) With more than one version of each object all objects are in `many/`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use cairn::embedded::{EngineSettings, Engines};
use cairn_catalog::embedded::log::replicated::ZonePlace;
use cairn_catalog::{Catalog, CloseSilentSessions, NewContent, OpenSession, PutVersion, VersionAttributes, WriteCondition};
use cairn_disk::Environment;
use cairn_store::administration::Credentials;
use cairn_store::api::{CreateBucket, ObjectStore, Versioning};
use cairn_store::{Store, StoreConfig, StoreParts};
use cairn_types::records::StorageClass;
use cairn_types::{BucketId, ETag, ObjectKey, ObjectMetadata, TenantId};
use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};

/// Fill a bucket of a data directory that is not in use. The root key comes from CAIRN_ROOT_ACCESS_KEY_ID and CAIRN_ROOT_SECRET_ACCESS_KEY.
#[derive(Parser)]
struct CommandLine {
    /// The data directory; made when it is not there.
    #[arg(long)]
    data: PathBuf,
    /// The bucket; made when it is not there.
    #[arg(long)]
    bucket: String,
    /// How many versions there are to be, of all objects together.
    #[arg(long)]
    objects: u64,
    /// How many of them each object has; the bucket's versioning is enabled where these are several.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    versions: u64,
    /// How many commits are under way at a time.
    #[arg(long, default_value_t = 2048)]
    at_once: usize,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(fill(CommandLine::parse()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fill: {error}");
            ExitCode::FAILURE
        }
    }
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn fill(command: CommandLine) -> Result<(), String> {
    let environment = Environment::real();
    let mut places = Vec::new();
    for name in ["geneva", "gland", "lucerne"] {
        places.push(ZonePlace { name: name.parse().map_err(in_words)?, path: command.data.join(name) });
    }
    std::fs::create_dir_all(&command.data).map_err(in_words)?;
    let places = places.try_into().map_err(|_| "three places")?;
    let engines = Engines::open(&environment, &places, EngineSettings::default()).await.map_err(in_words)?;
    let bucket = bucket(&environment, &engines, &command).await?;
    let catalog = engines.catalog.as_ref();
    let session = catalog.open_session(OpenSession { gateway: "fill".to_owned() }).await.map_err(in_words)?;
    let keys = command.objects / command.versions;
    let many = if command.versions > 1 { keys } else { keys / 10 };
    stream::iter(0..command.objects)
        .map(|number| async move {
            // An object's versions are written far apart, as they are in a bucket that lives.
            let number = number % keys.max(1);
            let key = if number < many {
                format!("many/{number:08}")
            } else {
                let rest = number - many;
                format!("folder-{:02}/{:08}", rest % 90, rest / 90)
            };
            let key: ObjectKey = key.parse().map_err(in_words)?;
            let attributes = VersionAttributes {
                etag: ETag::of_bytes(u128::from(number).to_be_bytes()),
                checksum: None,
                metadata: ObjectMetadata {
                    content_type: Some(Bytes::from_static(b"application/octet-stream")),
                    ..ObjectMetadata::default()
                },
                tags: Vec::new(),
                storage_class: StorageClass::Standard,
            };
            let (content, condition) = (NewContent::Inline(Bytes::new()), WriteCondition::None);
            let put = catalog.put_version(PutVersion { session, bucket, key, content, attributes, condition });
            put.await.map_err(in_words)?;
            Ok::<_, String>(())
        })
        .buffer_unordered(command.at_once.max(1))
        .try_collect::<()>()
        .await?;
    catalog.close_session(session).await.map_err(in_words)?;
    engines.close().await;
    Ok(())
}

/// The bucket, owned by the root key's account, as the service makes both.
async fn bucket(environment: &Environment, engines: &Engines, command: &CommandLine) -> Result<BucketId, String> {
    let name = command.bucket.as_str();
    let keys = cairn::master_key::load_or_make(environment, engines).await.map_err(in_words)?;
    let store = Store::start(StoreParts {
        catalog: engines.catalog.clone(),
        zones: engines.zones(),
        random: environment.random.clone(),
        keys,
        config: StoreConfig::default(),
    });
    let variable = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let (id, secret) = (variable("CAIRN_ROOT_ACCESS_KEY_ID")?, variable("CAIRN_ROOT_SECRET_ACCESS_KEY")?);
    let root = Credentials::existing(&id, &secret).map_err(in_words)?;
    let account = store.ensure_root(&"default".parse().map_err(in_words)?, "root", &root).await.map_err(in_words)?;
    let found = store.bucket(TenantId::DEFAULT, name).await.map_err(in_words)?;
    let bucket = if let Some(bucket) = found {
        bucket
    } else {
        let name = name.parse().map_err(in_words)?;
        let request = CreateBucket { tenant: TenantId::DEFAULT, name, owner: account, tags: Vec::new() };
        store.create_bucket(request).await.map_err(in_words)?
    };
    if command.versions > 1 {
        store.set_versioning(bucket.id, Versioning::Enabled).await.map_err(in_words)?;
    }
    store.stop(Duration::from_secs(10)).await;
    // Its session is closed; what was left of earlier ones goes too.
    let silent_for = Duration::ZERO;
    engines.catalog.close_silent_sessions(CloseSilentSessions { silent_for }).await.map_err(in_words)?;
    Ok(bucket.id)
}
