//! Who may do what. Nothing is allowed that is not granted.

use cairn_store::api::{Access, AccessKey, Bucket, GrantScope};

/// What a request wants to do, named as in IAM (AWS, "Actions, resources, and condition keys for Amazon S3").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in IAM")]
pub enum Action {
    ListAllMyBuckets,
    CreateBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    ListBucket,
    ListBucketVersions,
    ListBucketMultipartUploads,
    ListMultipartUploadParts,
    AbortMultipartUpload,
    GetObject,
    GetObjectVersion,
    PutObject,
    DeleteObject,
    DeleteObjectVersion,
    GetObjectTagging,
    GetObjectVersionTagging,
    PutObjectTagging,
    PutObjectVersionTagging,
    DeleteObjectTagging,
    DeleteObjectVersionTagging,
    GetBucketTagging,
    PutBucketTagging,
    /// `s3:GetBucketCORS`.
    GetBucketCors,
    /// `s3:PutBucketCORS`.
    PutBucketCors,
    /// Ask for a bucket's configuration that Cairn does not keep.
    GetBucketConfiguration,
    /// Change a bucket's configuration that Cairn does not keep.
    PutBucketConfiguration,
}

impl Action {
    /// The access that a grant must allow.
    #[must_use]
    pub fn access(self) -> Access {
        match self {
            Self::ListAllMyBuckets
            | Self::GetBucketLocation
            | Self::GetBucketVersioning
            | Self::ListBucket
            | Self::ListBucketVersions
            | Self::ListBucketMultipartUploads
            | Self::ListMultipartUploadParts
            | Self::GetObject
            | Self::GetObjectVersion
            | Self::GetObjectTagging
            | Self::GetObjectVersionTagging
            | Self::GetBucketTagging
            | Self::GetBucketCors
            | Self::GetBucketConfiguration => Access::Read,
            Self::AbortMultipartUpload
            | Self::PutObject
            | Self::DeleteObject
            | Self::DeleteObjectVersion
            | Self::PutObjectTagging
            | Self::PutObjectVersionTagging
            | Self::DeleteObjectTagging
            | Self::DeleteObjectVersionTagging => Access::Write,
            Self::CreateBucket
            | Self::DeleteBucket
            | Self::PutBucketVersioning
            | Self::PutBucketTagging
            | Self::PutBucketCors
            | Self::PutBucketConfiguration => Access::Administer,
        }
    }
}

/// What a request wants to do it to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The bucket; `None` where it does not exist (yet), or for an action on all.
    pub bucket: Option<&'a Bucket>,
    /// The object.
    pub key: Option<&'a str>,
}

/// Decides whether a request may go on. Implementations deny what they do not know.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether this key (`None`: nobody) may do this.
    fn allows(&self, key: Option<&AccessKey>, action: Action, target: Target<'_>) -> bool;
}

/// Decides by the grants of the key alone: a key opens what it was given and nothing else, and nobody opens nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrantAuthorizer;

impl Authorizer for GrantAuthorizer {
    fn allows(&self, key: Option<&AccessKey>, action: Action, target: Target<'_>) -> bool {
        let Some(key) = key else { return false };
        if let Some(bucket) = target.bucket
            && bucket.tenant != key.tenant
        {
            return false;
        }
        if action == Action::ListAllMyBuckets {
            // Everyone with a key may ask; the answer shows what the key may see.
            return true;
        }
        key.grants.iter().any(|grant| {
            let in_scope = match grant.scope {
                GrantScope::Tenant => true,
                GrantScope::Bucket(id) => target.bucket.is_some_and(|bucket| bucket.id == id),
            };
            in_scope && grant.access >= action.access()
        })
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::api::{Grant, SecretAccessKey, Versioning};
    use cairn_types::{AccountId, BucketId, TenantId};

    use super::*;

    fn key(grants: Vec<Grant>) -> AccessKey {
        AccessKey {
            access_key_id: "k".into(),
            secret: SecretAccessKey::new("s"),
            tenant: TenantId(1),
            account: AccountId([0; 32]),
            account_name: "a".into(),
            grants,
        }
    }

    fn bucket(id: u64, tenant: u64) -> Bucket {
        Bucket {
            id: BucketId(id),
            tenant: TenantId(tenant),
            name: "abc".parse().unwrap(),
            owner: AccountId([0; 32]),
            owner_name: "a".into(),
            created_ms: 0,
            versioning: Versioning::Unversioned,
            cors: None,
            public_access_block: None,
            has_ownership_controls: false,
        }
    }

    fn allows(key: Option<&AccessKey>, action: Action, bucket: Option<&Bucket>) -> bool {
        GrantAuthorizer.allows(key, action, Target { bucket, key: Some("x") })
    }

    #[test]
    fn a_key_opens_what_it_was_given_and_nothing_else() {
        let (own, other, foreign) = (bucket(7, 1), bucket(8, 1), bucket(7, 2));
        let reader = key(vec![Grant { scope: GrantScope::Bucket(BucketId(7)), access: Access::Read }]);
        assert!(allows(Some(&reader), Action::GetObject, Some(&own)));
        for action in [
            Action::PutObject,
            Action::DeleteObject,
            Action::AbortMultipartUpload,
            Action::DeleteBucket,
            Action::PutBucketVersioning,
        ] {
            assert!(!allows(Some(&reader), action, Some(&own)), "{action:?}");
        }
        let writer = key(vec![Grant { scope: GrantScope::Bucket(BucketId(7)), access: Access::Write }]);
        assert!(allows(Some(&writer), Action::PutObject, Some(&own)));
        assert!(!allows(Some(&writer), Action::DeleteBucket, Some(&own)));
        for key in [&reader, &writer] {
            assert!(!allows(Some(key), Action::GetObject, Some(&other)));
            assert!(!allows(Some(key), Action::GetObject, Some(&foreign)));
            assert!(!allows(Some(key), Action::GetObject, None));
            assert!(!allows(Some(key), Action::CreateBucket, None));
        }
        let administrator = key(vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }]);
        assert!(allows(Some(&administrator), Action::CreateBucket, None));
        assert!(allows(Some(&administrator), Action::DeleteBucket, Some(&other)));
        assert!(!allows(Some(&administrator), Action::GetObject, Some(&foreign)));
        assert!(!allows(Some(&key(Vec::new())), Action::GetObject, Some(&own)));
        assert!(!allows(None, Action::GetObject, Some(&own)));
        assert!(!allows(None, Action::ListAllMyBuckets, None));
    }
}
