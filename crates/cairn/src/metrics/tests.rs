use std::collections::BTreeSet;
use std::fmt::Write;

use cairn_metrics::Kind;
use cairn_testkit::exposition;

use super::families::ALL;
use super::*;

/// The page that lists the metrics.
const PAGE: &str = include_str!("../../../../docs/observing.md");

fn table() -> String {
    let mut table = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (family.name, family.kind.name(), labels.join(", "));
        writeln!(table, "| `{name}` | {kind} | {labels} | {} |", family.help).unwrap();
    }
    table
}

#[test]
fn the_page_lists_what_there_is() {
    let listed = PAGE.split("<!-- metrics: begin -->\n\n").nth(1).and_then(|rest| rest.split("\n<!-- metrics: end -->").next());
    assert_eq!(listed, Some(table().as_str()), "put this table into docs/observing.md:\n\n{}", table());
}

#[test]
fn names_follow_prometheus_manners() {
    let names: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), ALL.len(), "a name stands twice");
    for family in ALL {
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.name.starts_with("cairn_") || family.name.starts_with("process_"), "{}", family.name);
        assert!(!family.help.contains(['|', '\n']) && family.help.ends_with('.'), "{}", family.name);
        assert!(!family.labels.contains(&"le"), "{}", family.name);
    }
}

/// Every metric that the page's rules for alarms speak of is one that there is.
#[test]
fn alarms_are_about_metrics_that_there_are() {
    let rules = PAGE.split("```yaml").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    let words = rules.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let spoken_of: BTreeSet<&str> = words.filter(|word| word.starts_with("cairn_") || word.starts_with("process_")).collect();
    assert!(spoken_of.len() > 8, "{spoken_of:?}");
    for name in spoken_of {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(ALL.iter().any(|family| family.name == base || family.name == name), "{name}");
    }
}

#[tokio::test]
async fn before_the_store_is_open_it_says_so() {
    let metrics = Metrics::new(Admin::new([]), Arc::default(), Vec::new());
    let answer = metrics.answer(&Method::GET, "/metrics").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE_HEADER], CONTENT_TYPE);
    let exposed = exposition::parse(&metrics.text().await).unwrap();
    assert!(exposed.value("cairn_ready", &[]) < 0.5);
    assert!(exposed.value("process_resident_memory_bytes", &[]) > 100_000.0);
    for (method, path, status) in [(Method::GET, "/", 404), (Method::POST, "/metrics", 405), (Method::HEAD, "/metrics", 200)] {
        assert_eq!(metrics.answer(&method, path).await.status().as_u16(), status, "{method} {path}");
    }
}
