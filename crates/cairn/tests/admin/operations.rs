//! Every operation of S3 as a request, to be denied.

use cairn_testkit::s3_client::{Checksum, S3Client, S3Request, path};

const CRC32: Checksum = Checksum::Crc32;

/// A bucket with something of everything in it.
pub struct Scene {
    pub bucket: String,
    /// An open upload of the key `upload`.
    pub upload_id: String,
    /// A version of the key `object` that is not the current one.
    pub version_id: String,
}

/// Requests that only ask.
const QUESTIONS: &[&str] = &[
    "acl",
    "abac",
    "accelerate",
    "analytics",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "session",
    "tagging",
    "website",
];
const OBJECT_QUESTIONS: &[&str] = &["acl", "attributes", "legal-hold", "retention", "tagging", "torrent"];

impl Scene {
    /// Makes the bucket, with versioning on, two versions of `object`, a delete marker on `deleted`, and an open upload with a part.
    pub async fn make(owner: &S3Client, bucket: &str) -> Self {
        let send = async |request: S3Request| {
            let answer = owner.send(&request).await.unwrap();
            assert!(answer.status < 300, "{request:?}: {}", answer.text());
            answer
        };
        send(S3Request::new("PUT", path(bucket, ""))).await;
        let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        send(S3Request::new("PUT", path(bucket, "")).query("versioning", "").body(enabled)).await;
        let first = send(S3Request::new("PUT", path(bucket, "object")).body("one")).await;
        send(S3Request::new("PUT", path(bucket, "object")).body("two")).await;
        send(S3Request::new("PUT", path(bucket, "deleted")).body("gone")).await;
        send(S3Request::new("DELETE", path(bucket, "deleted"))).await;
        let upload = send(S3Request::new("POST", path(bucket, "upload")).query("uploads", "")).await;
        let upload_id = upload.element("UploadId").unwrap();
        let part = S3Request::new("PUT", path(bucket, "upload")).query("partNumber", "1").query("uploadId", &upload_id);
        send(part.body("part")).await;
        Self { bucket: bucket.to_owned(), upload_id, version_id: first.header("x-amz-version-id").unwrap().to_owned() }
    }

    fn on_bucket(&self, method: &str) -> S3Request {
        S3Request::new(method, path(&self.bucket, ""))
    }

    fn on(&self, method: &str, key: &str) -> S3Request {
        S3Request::new(method, path(&self.bucket, key))
    }

    /// Every operation that reads.
    pub fn reads(&self) -> Vec<S3Request> {
        let mut all = vec![
            self.on_bucket("HEAD"),
            self.on_bucket("GET"),
            self.on_bucket("GET").query("list-type", "2"),
            self.on_bucket("GET").query("versions", ""),
            self.on_bucket("GET").query("uploads", ""),
            self.on_bucket("GET").query("location", ""),
            self.on_bucket("GET").query("versioning", ""),
            self.on("GET", "object"),
            self.on("GET", "object").header("range", "bytes=0-0"),
            self.on("GET", "object").query("versionId", &self.version_id),
            self.on("GET", "object").query("partNumber", "1"),
            self.on("HEAD", "object"),
            self.on("HEAD", "object").query("versionId", &self.version_id),
            self.on("GET", "missing"),
            self.on("GET", "upload").query("uploadId", &self.upload_id),
        ];
        all.extend(QUESTIONS.iter().map(|name| self.on_bucket("GET").query(name, "")));
        all.extend(OBJECT_QUESTIONS.iter().map(|name| self.on("GET", "object").query(name, "")));
        all
    }

    /// Every operation that changes objects or uploads. `own` is a bucket with a key `source` that whoever asks may read.
    pub fn writes(&self, own: &str) -> Vec<S3Request> {
        let delete = "<Delete><Object><Key>object</Key></Object></Delete>";
        let version = format!("<Delete><Object><Key>object</Key><VersionId>{}</VersionId></Object></Delete>", self.version_id);
        let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
        let source = format!("/{own}/source");
        let part = |request: S3Request| request.query("partNumber", "2").query("uploadId", &self.upload_id);
        vec![
            self.on("PUT", "object").body("three"),
            self.on("PUT", "new").body("new"),
            self.on("PUT", "new").body("new").header("if-none-match", "*"),
            self.on("PUT", "new").header("x-amz-copy-source", &source),
            self.on("DELETE", "object"),
            self.on("DELETE", "object").query("versionId", &self.version_id),
            self.on_bucket("POST").query("delete", "").body(delete).header(CRC32.header(), CRC32.value(delete.as_bytes())),
            self.on_bucket("POST").query("delete", "").body(&*version).header(CRC32.header(), CRC32.value(version.as_bytes())),
            self.on("POST", "new").query("uploads", ""),
            part(self.on("PUT", "upload")).body("part"),
            part(self.on("PUT", "upload")).header("x-amz-copy-source", &source),
            self.on("POST", "upload").query("uploadId", &self.upload_id).body(complete),
            self.on("DELETE", "upload").query("uploadId", &self.upload_id),
        ]
    }

    /// Every operation that changes the bucket, of those that exist.
    pub fn bucket_changes(&self) -> Vec<S3Request> {
        let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        let mut all = vec![self.on_bucket("DELETE"), self.on_bucket("PUT").query("versioning", "").body(suspended)];
        let removable = ["cors", "encryption", "lifecycle", "policy", "publicAccessBlock", "replication", "tagging", "website"];
        all.extend(removable.map(|name| self.on_bucket("DELETE").query(name, "")));
        all
    }

    /// Changes that S3 has and Cairn has not: whoever may not read the bucket is not even told so.
    pub fn missing_changes(&self) -> Vec<S3Request> {
        let mut all: Vec<_> = QUESTIONS.iter().map(|name| self.on_bucket("PUT").query(name, "")).collect();
        all.extend(OBJECT_QUESTIONS.iter().map(|name| self.on("PUT", "object").query(name, "")));
        all.push(self.on("POST", "object").query("restore", ""));
        all.push(self.on("POST", "object").query("select", "").query("select-type", "2"));
        all
    }

    /// Copies out of the bucket into `own`, which whoever asks may write to.
    pub fn copies_out(&self, own: &str, own_upload_id: &str) -> Vec<S3Request> {
        let source = format!("/{}/object", self.bucket);
        vec![
            S3Request::new("PUT", path(own, "stolen")).header("x-amz-copy-source", &source),
            S3Request::new("PUT", path(own, "stolen"))
                .header("x-amz-copy-source", format!("{source}?versionId={}", self.version_id)),
            S3Request::new("PUT", path(own, "upload"))
                .query("partNumber", "1")
                .query("uploadId", own_upload_id)
                .header("x-amz-copy-source", &source),
        ]
    }

    /// All that the bucket's owner can see of it.
    pub async fn state(&self, owner: &S3Client) -> Vec<String> {
        let mut state = Vec::new();
        for request in [
            self.on_bucket("GET").query("versions", ""),
            self.on_bucket("GET").query("uploads", ""),
            self.on_bucket("GET").query("versioning", ""),
            self.on("GET", "upload").query("uploadId", &self.upload_id),
            self.on("GET", "object"),
            self.on("GET", "object").query("versionId", &self.version_id),
            S3Request::new("GET", "/"),
        ] {
            let answer = owner.send(&request).await.unwrap();
            assert_eq!(answer.status, 200, "{request:?}: {}", answer.text());
            state.push(answer.text());
        }
        state
    }
}
