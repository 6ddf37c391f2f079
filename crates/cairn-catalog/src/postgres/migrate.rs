//! The schema, and its way from one version to the next.
//!
//! Migrations only add: a version of the program serves on the schema of the next one, so gateways are replaced one by one. What a version no
//! longer needs goes with the version after it.

use super::connection::{Line, first, hosts, quoted, ways};
use super::failure::{Failure, describe};
use super::settings::PostgresSettings;
use crate::{CatalogError, CatalogResult};

/// Each is applied once, in its order, in a transaction of its own. None is ever changed.
const MIGRATIONS: [&str; 1] = [include_str!("schema/0001_rows.sql")];

/// The lock under which schemas are changed: of two gateways that start, one waits.
const LOCK: i64 = 0x6361_6972_6e00_0001;

/// Makes the schema, or brings it to this program's version. Errors: [`CatalogError::Refused`] where it is of a later version than this
/// program can serve on.
pub async fn migrate(settings: &PostgresSettings) -> CatalogResult<()> {
    let line = open(settings).await.map_err(|failure| match failure {
        Failure::Answer(error) => error,
        Failure::Again(reason) | Failure::Gone(reason) | Failure::Unknown(reason) => CatalogError::Unavailable(reason),
    })?;
    let client = line.client();
    let failed = |error: tokio_postgres::Error| {
        CatalogError::Unavailable(format!("the schema of the catalog database could not be made: {}", describe(&error)))
    };
    let schema = quoted(&settings.schema);
    loop {
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS {schema}; \
             CREATE TABLE IF NOT EXISTS {schema}.migrations (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        );
        client.batch_execute(&begin).await.map_err(failed)?;
        let newest = client.query_one("SELECT coalesce(max(version), 0) FROM migrations", &[]).await.map_err(failed)?;
        let newest = usize::try_from(newest.get::<_, i32>(0)).unwrap_or_default();
        let Some(next) = MIGRATIONS.get(newest) else {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            if newest > MIGRATIONS.len() {
                return Err(CatalogError::Refused(format!(
                    "the catalog's schema is of version {newest}, and this program knows {}",
                    MIGRATIONS.len()
                )));
            }
            return Ok(());
        };
        client.batch_execute(next).await.map_err(failed)?;
        client
            .batch_execute(&format!("INSERT INTO migrations (version) VALUES ({}); COMMIT", newest + 1))
            .await
            .map_err(failed)?;
        if line.has_warned() {
            return Err(CatalogError::OutcomeUnknown("the database has changed the schema without its standbys".to_owned()));
        }
    }
}

/// The first server that takes writes, keeps what it acknowledges, and is not known to be replaced.
async fn open(settings: &PostgresSettings) -> Result<Line, Failure> {
    let host = |host| async move {
        let ways = ways(settings, &host).await?;
        first(ways.into_iter().map(|way| Line::open_to_change(settings, way))).await
    };
    first(hosts(settings)?.into_iter().map(host)).await
}
