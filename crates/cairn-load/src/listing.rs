//! What an answer to `ListObjectsV2` says, read by hand: a load generator must not spend more on XML than the service does. Keys of the
//! bench hold nothing that XML escapes.

use anyhow::{Context as _, ensure};

/// A page of a listing.
pub struct Page<'text> {
    /// The keys, in their order.
    pub keys: Vec<&'text str>,
    /// Where the next page goes on.
    pub continuation: Option<&'text str>,
}

/// Reads a page.
///
/// # Errors
/// Where an element does not end, or the page says that there are more keys and not where.
pub fn page(text: &str) -> anyhow::Result<Page<'_>> {
    let keys = keys(text, "ListBucketResult")?;
    let continuation = element(text, "NextContinuationToken");
    let is_truncated = element(text, "IsTruncated") == Some("true");
    ensure!(is_truncated == continuation.is_some(), "the listing does not say where it goes on, or goes on after its end");
    Ok(Page { keys, continuation })
}

/// The keys of an answer whose outermost element is this, in their order.
///
/// # Errors
/// Where an element does not end.
pub fn keys<'text>(text: &'text str, outermost: &str) -> anyhow::Result<Vec<&'text str>> {
    ensure!(text.contains(&format!("</{outermost}>")), "the listing does not end");
    let mut keys = Vec::with_capacity(1000);
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<Key>") {
        let (key, after) = after.split_once("</Key>").context("a key does not end")?;
        keys.push(key);
        rest = after;
    }
    Ok(keys)
}

fn element<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    after.split_once('<').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn keys_come_in_their_order_with_the_token() {
        let text = "<ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t0</NextContinuationToken>\
                    <Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents></ListBucketResult>";
        let page = page(text).unwrap();
        assert_eq!((page.keys, page.continuation), (vec!["b", "a"], Some("t0")));
    }

    #[test]
    fn a_page_that_is_not_whole_is_an_error() {
        for text in [
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>b</Key></Contents>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ] {
            assert!(page(text).is_err(), "{text}");
        }
    }
}
