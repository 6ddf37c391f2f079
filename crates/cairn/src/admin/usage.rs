//! `cairn admin usage`: what tenants and their buckets take, from the same numbers that `GET /v1/buckets` gives.

use serde::Serialize;

use super::api::{Bucket, Tenant, Usage};
use super::client::{Client, ClientResult, encode};
use super::render::{bytes, count, number, row, table};

/// What one tenant's buckets take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantUsage {
    /// Its name.
    pub tenant: String,
    /// All its buckets together.
    pub usage: Usage,
    /// Each bucket, in the order of their names.
    pub buckets: Vec<Bucket>,
}

/// What everything takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// All tenants together.
    pub usage: Usage,
    /// Each tenant.
    pub tenants: Vec<TenantUsage>,
}

/// Asks the service for the usage of one tenant, or of all.
pub async fn ask(client: &Client, tenant: Option<String>) -> ClientResult<UsageReport> {
    let names = match tenant {
        Some(name) => vec![name],
        None => client.list::<Tenant>("/v1/tenants?").await?.into_iter().map(|tenant| tenant.name).collect(),
    };
    let mut tenants = Vec::new();
    for tenant in names {
        let buckets: Vec<Bucket> = client.list(&format!("/v1/buckets?tenant={}", encode(&tenant))).await?;
        tenants.push(TenantUsage { usage: sum(buckets.iter().map(|bucket| &bucket.usage)), tenant, buckets });
    }
    Ok(UsageReport { usage: sum(tenants.iter().map(|tenant| &tenant.usage)), tenants })
}

fn sum<'a>(all: impl Iterator<Item = &'a Usage>) -> Usage {
    all.fold(Usage::default(), |sum, usage| Usage {
        objects: sum.objects + usage.objects,
        object_bytes: sum.object_bytes + usage.object_bytes,
        noncurrent_versions: sum.noncurrent_versions + usage.noncurrent_versions,
        noncurrent_bytes: sum.noncurrent_bytes + usage.noncurrent_bytes,
        delete_markers: sum.delete_markers + usage.delete_markers,
        uploads: sum.uploads + usage.uploads,
        part_bytes: sum.part_bytes + usage.part_bytes,
        total_bytes: sum.total_bytes + usage.total_bytes,
    })
}

fn line(tenant: &str, bucket: &str, usage: &Usage) -> Vec<String> {
    let of = |many: u64, size: u64| if many == 0 { "none".to_owned() } else { format!("{}, {}", number(many), bytes(size)) };
    let versions = of(usage.noncurrent_versions, usage.noncurrent_bytes);
    let uploads = of(usage.uploads, usage.part_bytes);
    let (objects, size, total) = (number(usage.objects), bytes(usage.object_bytes), bytes(usage.total_bytes));
    row([tenant, bucket, &objects, &size, &versions, &uploads, &total])
}

/// For people: a line for each bucket, one for each tenant that has several, and what the total is.
pub fn text(report: &UsageReport) -> String {
    let mut rows = vec![row(["TENANT", "BUCKET", "OBJECTS", "SIZE", "OTHER VERSIONS", "UPLOADS UNDER WAY", "TOTAL"])];
    for tenant in &report.tenants {
        rows.extend(tenant.buckets.iter().map(|bucket| line(&tenant.tenant, &bucket.name, &bucket.usage)));
        if tenant.buckets.len() != 1 {
            rows.push(line(
                &tenant.tenant,
                &format!("({})", count(tenant.buckets.len() as u64, "bucket", "buckets")),
                &tenant.usage,
            ));
        }
    }
    format!(
        "{}\n{} in all: every version, and the parts of uploads that are not completed, each byte counted once although it stands in \
         three zones.\n",
        table(&rows),
        bytes(report.usage.total_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::Versioning;

    fn bucket(name: &str, usage: Usage) -> Bucket {
        Bucket {
            name: name.to_owned(),
            tenant: "default".to_owned(),
            owner: "root".to_owned(),
            owner_id: "0".repeat(64),
            versioning: Versioning::Enabled,
            created: "2026-03-01T09:08:07.006Z".to_owned(),
            usage,
        }
    }

    #[test]
    fn usage_stands_in_columns_and_adds_up() {
        let photos = Usage {
            objects: 1200,
            object_bytes: 3072,
            noncurrent_versions: 3,
            noncurrent_bytes: 1024,
            delete_markers: 1,
            uploads: 2,
            part_bytes: 512,
            total_bytes: 4608,
        };
        let films = Usage { objects: 1, object_bytes: 1024, total_bytes: 1024, ..Usage::default() };
        let buckets = vec![bucket("films", films), bucket("photos", photos)];
        let both = sum(buckets.iter().map(|bucket| &bucket.usage));
        assert_eq!((both.objects, both.total_bytes, both.uploads, both.delete_markers), (1201, 5632, 2, 1));
        let tenants = vec![
            TenantUsage { tenant: "acme".to_owned(), usage: Usage::default(), buckets: Vec::new() },
            TenantUsage { tenant: "default".to_owned(), usage: both, buckets },
        ];
        assert_eq!(
            text(&UsageReport { usage: both, tenants }),
            "\
TENANT   BUCKET       OBJECTS  SIZE     OTHER VERSIONS  UPLOADS UNDER WAY  TOTAL
acme     (0 buckets)  0        0 B      none            none               0 B
default  films        1        1.0 KiB  none            none               1.0 KiB
default  photos       1,200    3.0 KiB  3, 1.0 KiB      2, 512 B           4.5 KiB
default  (2 buckets)  1,201    4.0 KiB  3, 1.0 KiB      2, 512 B           5.5 KiB

5.5 KiB in all: every version, and the parts of uploads that are not completed, each byte counted once although it stands in three zones.
"
        );
    }
}
