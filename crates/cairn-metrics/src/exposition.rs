//! Prometheus's text format, version 0.0.4 (Prometheus, "Exposition formats").

use std::fmt::{Display, Write};

use crate::HistogramSnapshot;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What sort of number a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 at the start of the process.
    Counter,
    /// As it is now.
    Gauge,
    /// Counts in classes, with their sum.
    Histogram,
}

impl Kind {
    /// As the format names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Numbers of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name; a counter's ends in `_total`.
    pub name: &'static str,
    /// What sort.
    pub kind: Kind,
    /// The labels that each sample has, in order.
    pub labels: &'static [&'static str],
    /// What the number says, one line.
    pub help: &'static str,
}

/// The text as it grows: a family is begun, then its samples follow.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { text: String::with_capacity(32 << 10) }
    }

    /// Begins a family. Each is begun once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        let _ = writeln!(self.text, "\n# TYPE {name} {}", kind.name());
        Samples { text: &mut self.text, family }
    }

    /// A family with one sample and no labels.
    pub fn single(&mut self, family: &'static Family, value: impl Display) {
        self.family(family).sample(&[], value);
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// The samples of one family.
pub struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// Adds a sample; `values` are those of the family's labels, in order.
    pub fn sample(&mut self, values: &[&str], value: impl Display) -> &mut Self {
        self.line("", values, None, value);
        self
    }

    /// Adds a histogram's samples. Its bounds and sum are divided by `unit`: 1,000,000 makes seconds of microseconds.
    #[allow(clippy::cast_precision_loss, reason = "a sum above 2^53 may lose its last digits")]
    pub fn histogram(&mut self, values: &[&str], snapshot: &HistogramSnapshot, unit: u32) -> &mut Self {
        let unit = f64::from(unit);
        let mut count = 0;
        for (class, in_class) in snapshot.counts.iter().enumerate() {
            count += in_class;
            let bound = snapshot.bounds.get(class).map(|bound| (*bound as f64 / unit).to_string());
            self.line("_bucket", values, Some(bound.as_deref().unwrap_or("+Inf")), count);
        }
        self.line("_sum", values, None, snapshot.sum as f64 / unit);
        self.line("_count", values, None, count);
        self
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        self.text.push_str(self.family.name);
        self.text.push_str(suffix);
        let labels = self.family.labels.iter().copied().zip(values.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (name, value) in labels {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, true);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Label values escape `\`, `"` and the line feed; help texts the first and the last.
fn escape(text: &mut String, value: &str, is_label: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if is_label => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;

    static REQUESTS: Family =
        Family { name: "requests_total", kind: Kind::Counter, labels: &["bucket", "status"], help: "Requests \\ and\nmore." };
    static TIMES: Family = Family { name: "time_seconds", kind: Kind::Histogram, labels: &["zone"], help: "Times." };
    static UP: Family = Family { name: "up", kind: Kind::Gauge, labels: &[], help: "Whether." };

    #[test]
    fn the_format_is_what_its_page_says() {
        let histogram = Histogram::new(&[250, 1_000_000]);
        for value in [250, 300, 2_000_000] {
            histogram.observe(value);
        }
        let mut exposition = Exposition::new();
        exposition.family(&REQUESTS).sample(&["a\"b\\c\nd", "2xx"], 7).sample(&["é", "4xx"], 0);
        exposition.family(&TIMES).histogram(&["geneva"], &histogram.snapshot(), 1_000_000);
        exposition.single(&UP, 1);
        assert_eq!(
            exposition.finish(),
            "\
# HELP requests_total Requests \\\\ and\\nmore.
# TYPE requests_total counter
requests_total{bucket=\"a\\\"b\\\\c\\nd\",status=\"2xx\"} 7
requests_total{bucket=\"é\",status=\"4xx\"} 0
# HELP time_seconds Times.
# TYPE time_seconds histogram
time_seconds_bucket{zone=\"geneva\",le=\"0.00025\"} 1
time_seconds_bucket{zone=\"geneva\",le=\"1\"} 2
time_seconds_bucket{zone=\"geneva\",le=\"+Inf\"} 3
time_seconds_sum{zone=\"geneva\"} 2.00055
time_seconds_count{zone=\"geneva\"} 3
# HELP up Whether.
# TYPE up gauge
up 1
"
        );
    }
}
