//! The results: medians over the rounds, as Markdown tables and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::cases::Case;
use super::machine::Machine;
use super::peers::Peer;

/// Where the tables begin in a document, and where they end.
const MARKERS: [&str; 2] = ["<!-- bench: begin -->", "<!-- bench: end -->"];

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    requests_per_second: f64,
    megabytes_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// The service's processor time per request, ms.
    cpu_ms: f64,
    /// The load generator's processor time per request, ms.
    load_cpu_ms: f64,
    failed: u64,
}

impl Measurement {
    /// Reads what the load generator said, and adds the service's processor time.
    ///
    /// # Errors
    /// Where no request succeeded.
    pub fn read(said: &Value, cpu: Duration) -> anyhow::Result<Self> {
        let number = |name: &str| said[name].as_f64().unwrap_or(0.0);
        let (requests, seconds) = (number("requests"), number("seconds").max(1e-9));
        ensure!(requests > 0.0, "no request succeeded: {said}");
        Ok(Self {
            requests_per_second: requests / seconds,
            megabytes_per_second: number("bytes") / seconds / 1e6,
            p50_ms: number("p50_us") / 1e3,
            p99_ms: number("p99_us") / 1e3,
            cpu_ms: cpu.as_secs_f64() * 1e3 / requests,
            load_cpu_ms: number("own_cpu_seconds") * 1e3 / requests,
            failed: said["failed"].as_u64().unwrap_or(0),
        })
    }

    /// In one line.
    pub fn line(&self) -> String {
        format!(
            "{:>9.1}/s {:>8.1} MB/s  p50 {:>8.2} ms  p99 {:>8.2} ms  CPU {:>8.3} ms (load {:.3} ms)  failed {}",
            self.requests_per_second,
            self.megabytes_per_second,
            self.p50_ms,
            self.p99_ms,
            self.cpu_ms,
            self.load_cpu_ms,
            self.failed
        )
    }
}

/// A figure of a measurement.
type Figure = fn(&Measurement) -> f64;

const FIGURES: [(&str, Figure); 6] = [
    ("requests_per_second", |measured| measured.requests_per_second),
    ("megabytes_per_second", |measured| measured.megabytes_per_second),
    ("p50_ms", |measured| measured.p50_ms),
    ("p99_ms", |measured| measured.p99_ms),
    ("cpu_ms_per_request", |measured| measured.cpu_ms),
    ("load_cpu_ms_per_request", |measured| measured.load_cpu_ms),
];

/// All measurements.
pub struct Results {
    machine: Machine,
    peers: Vec<Peer>,
    rounds: BTreeMap<Case, BTreeMap<Peer, Vec<Measurement>>>,
}

impl Results {
    /// Nothing measured yet.
    pub fn new(machine: Machine, mut peers: Vec<Peer>) -> Self {
        peers.sort_unstable();
        peers.dedup();
        Self { machine, peers, rounds: BTreeMap::new() }
    }

    /// Adds a measurement, round after round.
    pub fn add(&mut self, peer: Peer, case: Case, measurement: Measurement) {
        self.rounds.entry(case).or_default().entry(peer).or_default().push(measurement);
    }

    /// Requests that failed.
    pub fn failed(&self, peer: Peer) -> u64 {
        self.rounds.values().filter_map(|of_case| of_case.get(&peer)).flatten().map(|measured| measured.failed).sum()
    }

    fn median(&self, case: Case, peer: Peer, figure: Figure) -> Option<f64> {
        median(self.rounds.get(&case)?.get(&peer)?.iter().map(figure).collect())
    }

    /// The peers that Cairn is compared with.
    fn others(&self) -> impl Iterator<Item = Peer> {
        let with_cairn = self.peers.contains(&Peer::Cairn);
        self.peers.iter().copied().filter(move |peer| with_cairn && *peer != Peer::Cairn)
    }

    /// The median of Cairn's figure over a peer's, round by round: noise that lasts longer than a round divides out.
    fn ratio(&self, case: Case, figure: Figure, peer: Peer) -> Option<f64> {
        let of_case = self.rounds.get(&case)?;
        let (ours, theirs) = (of_case.get(&Peer::Cairn)?, of_case.get(&peer)?);
        median(
            ours.iter()
                .zip(theirs)
                .filter(|(_, theirs)| figure(theirs) > 0.0)
                .map(|(ours, theirs)| figure(ours) / figure(theirs))
                .collect(),
        )
    }

    /// Two tables and the machine.
    pub fn markdown(&self) -> String {
        let rounds = self.rounds.values().flat_map(BTreeMap::values).map(Vec::len).max().unwrap_or(0);
        let mut out = format!("Medians of {rounds} rounds. {}.\n\n", self.machine);
        let [rate, megabytes, p50, p99, cpu, load_cpu] = FIGURES.map(|(_, figure)| figure);
        self.table(
            &mut out,
            &[("requests/s", rate, true), ("MB/s", megabytes, false), ("p50 ms", p50, false), ("p99 ms", p99, false)],
        );
        out.push_str("\nProcessor time per request, all processes of the service; the load generator's own beside it:\n\n");
        self.table(&mut out, &[("CPU ms", cpu, true), ("load CPU ms", load_cpu, false)]);
        for peer in &self.peers {
            let failed = self.failed(*peer);
            if failed > 0 {
                let _ = writeln!(out, "\n{failed} requests of {} failed; they are in no figure.", peer.title());
            }
        }
        out
    }

    fn table(&self, out: &mut String, columns: &[(&str, Figure, bool)]) {
        let mut head = vec!["operation".to_owned(), "connections".to_owned()];
        for (name, _, with_ratio) in columns {
            head.extend(self.peers.iter().map(|peer| format!("{} {name}", peer.title())));
            if *with_ratio {
                head.extend(self.others().map(|peer| format!("over {}", peer.title())));
            }
        }
        let _ = writeln!(out, "| {} |", head.join(" | "));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(head.len() - 1));
        for &case in self.rounds.keys() {
            let mut row = vec![case.operation.title().to_owned(), case.connections.to_string()];
            for (_, figure, with_ratio) in columns {
                row.extend(self.peers.iter().map(|&peer| shown(self.median(case, peer, *figure))));
                if *with_ratio {
                    row.extend(self.others().map(|peer| format!("**{}**", shown(self.ratio(case, *figure, peer)))));
                }
            }
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
    }

    /// Everything, with the medians.
    pub fn json(&self) -> Value {
        let cases: Vec<Value> = self
            .rounds
            .keys()
            .map(|&case| {
                let of_peer = |peer: Peer| {
                    FIGURES
                        .iter()
                        .map(|(name, figure)| ((*name).to_owned(), json!(self.median(case, peer, *figure))))
                        .collect::<Value>()
                };
                let peers: Value = self.peers.iter().map(|&peer| (peer.name().to_owned(), of_peer(peer))).collect();
                let ratios_to = |peer: Peer| {
                    FIGURES
                        .iter()
                        .map(|(name, figure)| ((*name).to_owned(), json!(self.ratio(case, *figure, peer))))
                        .collect::<Value>()
                };
                let ratios: Value = self.others().map(|peer| (peer.name().to_owned(), ratios_to(peer))).collect();
                json!({"case": case.to_string(), "medians": peers, "ratios": ratios})
            })
            .collect();
        let failed: Value = self.peers.iter().map(|&peer| (peer.name().to_owned(), json!(self.failed(peer)))).collect();
        json!({"machine": self.machine.to_string(), "cases": cases, "failed": failed})
    }
}

/// The middle value, or what is between the two in the middle; nothing of no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// A figure with the digits that mean something.
fn shown(figure: Option<f64>) -> String {
    match figure {
        None | Some(0.0) => "–".to_owned(),
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) if figure >= 1.0 => format!("{figure:.2}"),
        Some(figure) => format!("{figure:.3}"),
    }
}

/// Replaces what stands between the markers of a document.
///
/// # Errors
/// Where the document has no markers or cannot be written.
pub fn write_between_markers(path: &Path, text: &str) -> anyhow::Result<()> {
    let document = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let changed = between_markers(&document, text).with_context(|| format!("{} has no markers", path.display()))?;
    std::fs::write(path, changed).with_context(|| format!("{} cannot be written", path.display()))
}

fn between_markers(document: &str, text: &str) -> Option<String> {
    let [begin, end] = MARKERS;
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::{between_markers, median, shown};

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_it() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let document = "a\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nb\n";
        let changed = "a\n<!-- bench: begin -->\n\nnew\n\n<!-- bench: end -->\nb\n";
        assert_eq!(between_markers(document, "new\n").as_deref(), Some(changed));
        assert_eq!(between_markers(changed, "new").as_deref(), Some(changed));
        assert_eq!(between_markers("no markers", "new"), None);
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([1234.5, 99.94, 1.234, 0.0456].map(|figure| shown(Some(figure))), ["1234", "99.9", "1.23", "0.046"]);
    }
}
