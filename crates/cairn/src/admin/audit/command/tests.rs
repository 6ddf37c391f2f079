use super::*;
use crate::admin::api::AuditedObjects;

fn zone(name: &str) -> AuditedZone {
    let (good, good_bytes) = (1200, 4 << 20);
    AuditedZone { name: name.to_owned(), good, good_bytes, listed: Some(1201), listed_bytes: 5 << 20, ..AuditedZone::default() }
}

fn audit() -> Audit {
    Audit {
        state: AuditState::Done,
        reason: None,
        seconds: 61,
        whole: true,
        objects: AuditedObjects { buckets: 2, versions: 1500, bytes: 3 << 20, broken: 0 },
        chunks: 1200,
        chunks_without_copy: 0,
        zones: ["geneva", "gland", "lucerne"].map(zone).into(),
        findings: Vec::new(),
    }
}

#[test]
fn what_is_whole_is_said_to_be_so() {
    let mut audit = audit();
    (audit.zones[2].waiting, audit.zones[2].waiting_bytes) = (1, 1 << 20);
    assert_eq!(
        text(&audit),
        "\
Whole: every object's bytes are there, and each of its chunks was read and is whole in all three zones.
1,500 objects in 2 buckets, other versions included, 3.0 MiB; 1,200 chunks; 61 s.

ZONE     WHOLE COPIES    ABSENT  DAMAGED  NOT READ  WAITING     LEFT OVER
geneva   1,200, 4.0 MiB  0       0        0         none        none
gland    1,200, 4.0 MiB  0       0        0         none        none
lucerne  1,200, 4.0 MiB  0       0        0         1, 1.0 MiB  none
"
    );
}

#[test]
fn what_is_wrong_is_told() {
    let mut audit = Audit { whole: false, chunks_without_copy: 1, ..audit() };
    audit.objects.broken = 2;
    (audit.zones[0].damaged, audit.zones[0].replaced, audit.zones[1].absent) = (1, 3, 1);
    (audit.zones[1].left_over, audit.zones[1].left_over_bytes, audit.zones[2].listed) = (1, 512, None);
    audit.findings = vec!["geneva: chunk 1.2.0 is damaged here".to_owned()];
    let text = text(&audit);
    for line in [
        "NOT WHOLE.",
        "ATTENTION: 2 objects have bytes that are in no place.",
        "ATTENTION: 1 chunk has no good copy in any zone that answers. Bring back the zones that are away, or a backup of one; remove nothing.",
        "geneva   1,200, 4.0 MiB  0       1 (3 replaced)  0         none     none",
        "gland    1,200, 4.0 MiB  1       0               0         none     1, 512 B",
        "lucerne  1,200, 4.0 MiB  0       0               0         none     not listed",
        "geneva: chunk 1.2.0 is damaged here",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    let running = Audit { state: AuditState::Copies, whole: false, ..audit };
    assert!(
        super::text(&running).starts_with("It runs. Reading copies: 12.0 MiB of 1,200 chunks so far."),
        "{}",
        super::text(&running)
    );
}
