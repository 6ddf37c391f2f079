//! The labels of operations: a fixed list.

use crate::operation::Operation;

macro_rules! labels {
    ($($name:ident),* $(,)?) => {
        /// An operation as monitoring and logs name it: as AWS's API reference does, with four names for what is none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "named as in AWS's API reference")]
        pub enum OperationLabel {
            $($name,)*
            /// About configuration that no bucket here has.
            Unconfigured,
            /// An operation of S3 that Cairn does not have.
            NotImplemented,
            /// What a browser asks before a page of another site may.
            Preflight,
            /// Refused before it was known what was asked: not signed well, or nothing that S3 has.
            Unknown,
        }

        impl OperationLabel {
            /// Every label, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$name,)* Self::Unconfigured, Self::NotImplemented, Self::Preflight, Self::Unknown].len()] =
                [$(Self::$name,)* Self::Unconfigured, Self::NotImplemented, Self::Preflight, Self::Unknown];

            /// As text.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unconfigured => "Unconfigured",
                    Self::NotImplemented => "NotImplemented",
                    Self::Preflight => "Preflight",
                    Self::Unknown => "Unknown",
                }
            }
        }

        impl From<Operation> for OperationLabel {
            fn from(operation: Operation) -> Self {
                match operation {
                    $(Operation::$name => Self::$name,)*
                    Operation::Unconfigured(_) => Self::Unconfigured,
                    Operation::NotImplemented(_) => Self::NotImplemented,
                }
            }
        }
    };
}

// A new operation has its name here, too: the compiler says so.
labels! {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketCors,
    PutBucketCors,
    DeleteBucketCors,
    GetPublicAccessBlock,
    PutPublicAccessBlock,
    DeletePublicAccessBlock,
    GetBucketOwnershipControls,
    PutBucketOwnershipControls,
    DeleteBucketOwnershipControls,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    DeleteObjects,
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    PostObject,
    GetObjectAttributes,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_numbered_in_their_order() {
        for (index, label) in OperationLabel::ALL.into_iter().enumerate() {
            assert_eq!(label as usize, index, "{}", label.name());
        }
        assert_eq!(OperationLabel::from(Operation::GetObject).name(), "GetObject");
        assert_eq!(OperationLabel::from(Operation::NotImplemented("GetBucketAcl")), OperationLabel::NotImplemented);
    }
}
