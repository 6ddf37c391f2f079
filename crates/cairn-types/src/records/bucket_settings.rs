//! What buckets are told to do beside keeping objects. In rows of their own: a bucket's record is decoded with every request, and these may be
//! as long as 64 KiB.

use crate::codec::{fields, numbered, record};

/// Names and values that people give to objects and buckets, in the order of the names, which differ.
pub type Tags = Vec<(String, String)>;

/// A bucket's tags. A bucket without any has no row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BucketTagsRecord {
    /// The tags.
    pub tags: Tags,
}

/// A method that a rule of CORS allows: those that S3 knows (AWS, "Elements of a CORS configuration").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CorsMethod {
    /// `GET`.
    Get,
    /// `PUT`.
    Put,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
    /// `HEAD`.
    Head,
}

impl CorsMethod {
    /// All methods.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Post, Self::Delete, Self::Head];

    /// As it stands in requests and in XML.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }

    /// The inverse of [`CorsMethod::name`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == text)
    }
}

/// What pages of other origins may do to a bucket's objects by a browser. A pattern is a text with at most one `*`, which stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRule {
    /// Its name, for people.
    pub id: Option<String>,
    /// Which origins: patterns.
    pub allowed_origins: Vec<String>,
    /// Which methods.
    pub allowed_methods: Vec<CorsMethod>,
    /// Which headers of requests: patterns, in any case.
    pub allowed_headers: Vec<String>,
    /// Which headers of answers the page may see.
    pub expose_headers: Vec<String>,
    /// For how long the browser need not ask again, seconds.
    pub max_age_seconds: Option<u32>,
}

/// A bucket's rules of CORS; the first that fits counts. A bucket without any has no row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CorsRecord {
    /// The rules.
    pub rules: Vec<CorsRule>,
}

numbered!(CorsMethod, "a method" { 1 => Get, 2 => Put, 3 => Post, 4 => Delete, 5 => Head });
fields!(BucketTagsRecord { tags });
fields!(CorsRule { id, allowed_origins, allowed_methods, allowed_headers, expose_headers, max_age_seconds });
fields!(CorsRecord { rules });
record!(BucketTagsRecord, "bucket's tags");
record!(CorsRecord, "cors");
