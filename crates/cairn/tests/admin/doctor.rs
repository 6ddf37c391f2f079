//! `cairn doctor` of the real binary: what is well, what is not, and that it leaves no trace.

use std::path::Path;

use serde_json::Value;

use crate::service::{Ran, Service, cairn};

fn doctor(data: &Path, arguments: &[&str]) -> (i32, Value) {
    let ran = Ran::of(cairn(data).arg("doctor").arg("--data").arg(data).arg("--json").args(arguments));
    let report = serde_json::from_str(&ran.output).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran.code, report)
}

fn levels<'a>(report: &'a Value, check: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    findings.map(|finding| finding["level"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_running_service_is_well_but_for_its_one_disk() {
    let service = Service::start();
    let (code, report) = doctor(&service.data, &[]);
    // The limit of open files is the machine's.
    let few_files = levels(&report, "openFiles") == ["warning"];
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(report["level"], "warning");
    assert_eq!(levels(&report, "disks"), ["warning"], "three directories of one disk");
    assert_eq!(levels(&report, "zone"), ["good"; 3], "{report:#}");
    assert_eq!((levels(&report, "service"), levels(&report, "clock")), (vec!["good"], vec!["good"]));
    assert_eq!((levels(&report, "zoneState"), levels(&report, "repair")), (vec!["good"; 3], vec!["good"]), "{report:#}");
    assert!(few_files || levels(&report, "openFiles") == ["good"]);

    // The zones in a wrong order: said, and nothing is touched.
    let path = |name: &str| service.data.join(name).display().to_string();
    let mixed = ["--zone", &format!("geneva={}", path("gland")), "--zone", &format!("gland={}", path("geneva"))];
    let third = format!("lucerne={}", path("lucerne"));
    let (code, report) = doctor(&service.data, &[mixed[0], mixed[1], mixed[2], mixed[3], "--zone", &third]);
    assert_eq!((code, levels(&report, "zone")), (1, vec!["problem", "problem", "good"]), "{report:#}");
    let text = Ran::of(cairn(&service.data).arg("doctor").arg("--data").arg(&service.data)).output;
    assert!(text.contains("WARNING  The zones geneva, gland, lucerne are on one file system.\n         It means: "), "{text}");
}

#[tokio::test]
async fn before_the_first_start_and_after_damage_it_says_what_comes() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = ["--listen", "127.0.0.1:0"];
    let (code, report) = doctor(&data, &free);
    assert_eq!((code, levels(&report, "zone"), levels(&report, "service")), (3, vec!["good"; 3], vec!["good"]), "{report:#}");
    assert!(!data.exists(), "it makes nothing");

    let (code, report) = doctor(&data, &["--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!((code, levels(&report, "service")), (1, vec!["problem"]), "{report:#}");

    // Something that is no zone's.
    std::fs::create_dir_all(data.join("gland")).unwrap();
    std::fs::write(data.join("gland/thesis.tex"), "x").unwrap();
    let (code, report) = doctor(&data, &free);
    assert_eq!((code, levels(&report, "zone")), (1, vec!["good", "problem", "good"]), "{report:#}");
    assert_eq!(std::fs::read_dir(data.join("gland")).unwrap().count(), 1, "it leaves no trace");

    std::fs::write(root.path().join("bad.pem"), "x").unwrap();
    let bad = root.path().join("bad.pem").display().to_string();
    let (_, report) = doctor(&data, &["--tls-cert", &bad, "--tls-key", &bad]);
    assert_eq!(levels(&report, "certificate"), ["problem"]);
    let (code, report) = doctor(&data, &["--zone", "geneva=a"]);
    assert_eq!((code, levels(&report, "zones")), (1, vec!["problem"]));
}
