//! Prometheus's text format 0.0.4, read strictly (Prometheus, "Exposition formats"): what its readers would put up with is an error here.
//!
//! It shares no code with what writes the format, so that one misreading cannot hide in both.

use std::collections::{BTreeMap, BTreeSet};

/// A line with a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name, with a histogram's suffix.
    pub name: String,
    /// The labels, in order.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: f64,
}

/// A text that was read.
#[derive(Debug, Clone, Default)]
pub struct Exposed {
    /// Names of families with their sorts, in order.
    pub families: Vec<(String, String)>,
    /// The samples, in order.
    pub samples: Vec<Sample>,
}

impl Exposed {
    /// The number of the sample with this name that has at least these labels; panics where there is not exactly one.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.find(name, labels).as_slice() {
            [one] => one.value,
            found => panic!("{} samples of {name} with {labels:?}", found.len()),
        }
    }

    /// The samples with this name that have at least these labels.
    #[must_use]
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.iter().any(|(own, own_value)| own == label && own_value == value)
        };
        let fits = |sample: &&Sample| sample.name == name && labels.iter().all(|label| has(sample, label));
        self.samples.iter().filter(fits).collect()
    }
}

/// Reads a text; the error says which line is wrong, and why.
pub fn parse(text: &str) -> Result<Exposed, String> {
    if !text.ends_with('\n') {
        return Err("the text does not end with the end of a line".to_owned());
    }
    let mut exposed = Exposed::default();
    let mut helped: Option<String> = None;
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: &str| format!("line {}: {why}: {line}", number + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if !is_name(name, true) || help.is_empty() || unescape(help, false).is_none() {
                return Err(wrong("not a name and a help text"));
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("no sort"))?;
            if helped.take().as_deref() != Some(name) {
                return Err(wrong("its help does not stand before it"));
            }
            if !matches!(kind, "counter" | "gauge" | "histogram") || (kind == "counter") != name.ends_with("_total") {
                return Err(wrong("not a sort that goes with the name"));
            }
            if exposed.families.iter().any(|(other, _)| other == name) {
                return Err(wrong("it was told before"));
            }
            exposed.families.push((name.to_owned(), kind.to_owned()));
        } else {
            let sample = sample(line).ok_or_else(|| wrong("not a sample"))?;
            let (family, kind) = exposed.families.last().filter(|_| helped.is_none()).ok_or_else(|| wrong("of no family"))?;
            let suffix = sample.name.strip_prefix(family.as_str()).ok_or_else(|| wrong("of another family"))?;
            let is_suffix = if kind == "histogram" { matches!(suffix, "_bucket" | "_sum" | "_count") } else { suffix.is_empty() };
            if !is_suffix || (suffix == "_bucket") != sample.labels.iter().any(|(name, _)| name == "le") {
                return Err(wrong("not a name of its family"));
            }
            if kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
                return Err(wrong("a count cannot be so"));
            }
            let mut labels = sample.labels.clone();
            labels.sort();
            if !seen.insert((sample.name.clone(), labels)) {
                return Err(wrong("it was told before"));
            }
            exposed.samples.push(sample);
        }
    }
    check_histograms(&exposed)?;
    Ok(exposed)
}

/// Classes rise, each includes those before it, and the last one holds all.
fn check_histograms(exposed: &Exposed) -> Result<(), String> {
    type Series = BTreeMap<Vec<(String, String)>, Vec<(f64, f64)>>;
    for (family, _) in exposed.families.iter().filter(|(_, kind)| kind == "histogram") {
        let mut series: Series = BTreeMap::new();
        for sample in exposed.samples.iter().filter(|sample| sample.name == format!("{family}_bucket")) {
            let (bound, others): (Vec<_>, Vec<_>) = sample.labels.iter().cloned().partition(|(name, _)| name == "le");
            let bound = bound.first().and_then(|(_, value)| number(value)).ok_or_else(|| format!("{family}: no bound"))?;
            series.entry(others).or_default().push((bound, sample.value));
        }
        for (labels, classes) in &series {
            let rises = classes.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            let exact = |suffix: &str| {
                let mut found = exposed
                    .samples
                    .iter()
                    .filter(|sample| sample.name == format!("{family}{suffix}") && sample.labels == *labels);
                found.next().map(|sample| sample.value)
            };
            let all = classes.last().filter(|(bound, _)| *bound == f64::INFINITY).map(|(_, count)| *count);
            if !rises || all.is_none() || exact("_count") != all || exact("_sum").is_none() {
                return Err(format!("{family} with {labels:?} is no histogram: {classes:?}"));
            }
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, value) = inside.split_once("=\"")?;
            // The quote that ends it is the first that is not escaped.
            let mut escaped = false;
            let end = value.char_indices().find_map(|(at, character)| {
                let ends = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                ends.then_some(at)
            })?;
            if !is_name(label, false) || label.starts_with("__") || labels.iter().any(|(other, _)| other == label) {
                return None;
            }
            labels.push((label.to_owned(), unescape(&value[..end], true)?));
            inside = &value[end + 1..];
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            inside = inside.strip_prefix(',')?;
        }
    }
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name, true).then(|| Sample { name: name.to_owned(), labels, value })
}

fn is_name(text: &str, may_have_colons: bool) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || character == '_' || may_have_colons && character == ':';
    !text.is_empty() && text.chars().all(fits) && !text.starts_with(|first: char| first.is_ascii_digit())
}

fn unescape(text: &str, is_label: bool) -> Option<String> {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                '\\' => out.push('\\'),
                'n' => out.push('\n'),
                '"' if is_label => out.push('"'),
                _ => return None,
            },
            '"' if is_label => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte)).then(|| text.parse().ok())?,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "counts are whole")]

    use super::*;

    const GOOD: &str = "\
# HELP a_total Some.
# TYPE a_total counter
a_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 7
# HELP t Times.
# TYPE t histogram
t_bucket{le=\"0.5\"} 1
t_bucket{le=\"+Inf\"} 3
t_sum 2.5
t_count 3
";

    #[test]
    fn what_is_right_is_read() {
        let exposed = parse(GOOD).unwrap();
        assert_eq!(exposed.value("a_total", &[("x", "1"), ("y", "q\"\\\n")]), 7.0);
        assert_eq!(exposed.value("t_count", &[]), 3.0);
        assert_eq!(exposed.families.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_not() {
        for (good, bad) in [
            ("3\n", "3"),
            ("# HELP a_total Some.\n", ""),
            ("a_total counter", "a_total gauge"),
            ("a_total{", "b_total{"),
            ("x=\"1\"", "x=1"),
            ("x=\"1\"", "y=\"1\""),
            ("x=\"1\"", "1x=\"1\""),
            ("x=\"1\"", "__x=\"1\""),
            ("\\n\"}", "\n\"}"),
            ("\\n\"}", "\\t\"}"),
            ("} 7", "} seven"),
            ("} 7", "} -7"),
            ("} 7", "}  7"),
            ("t_bucket{le=\"0.5\"} 1", "t_bucket{le=\"0.5\"} 4"),
            ("t_count 3", "t_count 2"),
            ("t_sum 2.5\n", ""),
            ("t_bucket{le=\"+Inf\"} 3\n", ""),
            ("t_count 3\n", "t_count 3\nt_count 3\n"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            assert!(parse(&GOOD.replacen(good, bad, 1)).is_err(), "{good:?} became {bad:?}");
        }
    }
}
