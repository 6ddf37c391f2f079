use http::HeaderValue;

use super::*;

fn find(method: &str, path: &str, copy: bool) -> Result<Operation, &'static str> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut headers = HeaderMap::new();
    if copy {
        headers.insert("x-amz-copy-source", HeaderValue::from_static("a/b"));
    }
    let (has_bucket, has_key) = (path.len() > 1, path.matches('/').count() > 1);
    route(&method, has_bucket, has_key, &Query::parse(query).unwrap(), &headers).map_err(|error| error.code().name)
}

#[test]
fn every_operation_is_found() {
    use Operation as O;
    for (method, path, operation) in [
        ("GET", "/", O::ListBuckets),
        ("PUT", "/b", O::CreateBucket),
        ("HEAD", "/b", O::HeadBucket),
        ("DELETE", "/b", O::DeleteBucket),
        ("GET", "/b?location", O::GetBucketLocation),
        ("GET", "/b?versioning=", O::GetBucketVersioning),
        ("PUT", "/b?versioning", O::PutBucketVersioning),
        ("GET", "/b", O::ListObjects),
        ("GET", "/b?list-type=1", O::ListObjects),
        ("GET", "/b?list-type=2&prefix=policy", O::ListObjectsV2),
        ("GET", "/b?versions&prefix=a", O::ListObjectVersions),
        ("GET", "/b?uploads", O::ListMultipartUploads),
        ("POST", "/b?delete", O::DeleteObjects),
        ("GET", "/b/k", O::GetObject),
        ("GET", "/b/k?unknown=1", O::GetObject),
        ("HEAD", "/b/k", O::HeadObject),
        ("PUT", "/b/k", O::PutObject),
        ("DELETE", "/b/k?versionId=null", O::DeleteObject),
        ("POST", "/b/k?uploads", O::CreateMultipartUpload),
        ("PUT", "/b/k?partNumber=1&uploadId=x", O::UploadPart),
        ("POST", "/b/k?uploadId=x", O::CompleteMultipartUpload),
        ("DELETE", "/b/k?uploadId=x", O::AbortMultipartUpload),
        ("GET", "/b/k?uploadId=x", O::ListParts),
        ("PUT", "/b?acl", O::Unconfigured(Unconfigured::Settle(super::super::unconfigured::Settled::Acl))),
        ("PUT", "/b?encryption", O::NotImplemented("PutBucketEncryption")),
        ("PUT", "/b?policy", O::NotImplemented("PutBucketPolicy")),
        ("GET", "/b?policy", O::Unconfigured(Unconfigured::Absent(&code::NO_SUCH_BUCKET_POLICY))),
        ("GET", "/b?publicAccessBlock", O::GetPublicAccessBlock),
        ("PUT", "/b?publicAccessBlock", O::PutPublicAccessBlock),
        ("DELETE", "/b?publicAccessBlock", O::DeletePublicAccessBlock),
        ("GET", "/b?ownershipControls", O::GetBucketOwnershipControls),
        ("PUT", "/b?ownershipControls", O::PutBucketOwnershipControls),
        ("DELETE", "/b?ownershipControls", O::DeleteBucketOwnershipControls),
        ("PUT", "/b?cors", O::PutBucketCors),
        ("GET", "/b?cors", O::GetBucketCors),
        ("DELETE", "/b?cors", O::DeleteBucketCors),
        ("PUT", "/b?tagging", O::PutBucketTagging),
        ("GET", "/b?tagging", O::GetBucketTagging),
        ("DELETE", "/b?tagging", O::DeleteBucketTagging),
        ("GET", "/b/k?tagging", O::GetObjectTagging),
        ("PUT", "/b/k?tagging&versionId=null", O::PutObjectTagging),
        ("POST", "/b/k?select&select-type=2", O::NotImplemented("SelectObjectContent")),
        ("POST", "/b", O::PostObject),
        ("GET", "/b/k?attributes", O::GetObjectAttributes),
        ("DELETE", "/b/k?tagging", O::DeleteObjectTagging),
    ] {
        assert_eq!(find(method, path, false), Ok(operation), "{method} {path}");
    }
    assert_eq!(find("PUT", "/b/k", true), Ok(Operation::CopyObject));
    assert_eq!(find("PUT", "/b/k?partNumber=1&uploadId=x", true), Ok(Operation::UploadPartCopy));
}

#[test]
fn a_subresource_never_falls_through_to_the_object() {
    // A PUT of tags that became a PUT of the object would destroy it; a DELETE of a policy the bucket.
    for (table, path) in [(BUCKET_SUBRESOURCES, "/b"), (OBJECT_SUBRESOURCES, "/b/k")] {
        for (name, get, put, delete) in table {
            for (method, own) in [("GET", get), ("PUT", put), ("POST", &""), ("DELETE", delete), ("HEAD", &"")] {
                let found = find(method, &format!("{path}?{name}"), false).unwrap();
                assert!(
                    matches!(found, Operation::NotImplemented(_) | Operation::Unconfigured(_)) || format!("{found:?}") == *own,
                    "{method} {path}?{name}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn other_methods_are_refused() {
    for (method, path) in [("POST", "/"), ("PUT", "/"), ("PATCH", "/b"), ("PATCH", "/b/k"), ("POST", "/b/k"), ("TRACE", "/b/k")] {
        assert_eq!(find(method, path, false), Err("MethodNotAllowed"), "{method} {path}");
    }
    assert_eq!(find("PUT", "/b/k?partNumber=1", false), Err("InvalidArgument"));
    assert_eq!(find("GET", "/b/k?uploads", false), Err("InvalidRequest"));
}
