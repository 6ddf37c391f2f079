//! Forms that browsers upload files with (`POST` of `multipart/form-data` to a bucket): their encoding, and the policies that say what
//! may be uploaded by whoever has the form.

pub mod multipart;
pub mod policy;
