//! The gateway: one process in each datacentre, described by a command and a configuration file that are given to the lab, which fills in
//! what differs between datacentres. The lab knows of it only that it speaks S3 on one port and answers `/readyz` on another.

use anyhow::{Context as _, ensure};

use super::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Shape, configure, patroni};
use crate::lab::component::{self, Component, Home};
use crate::lab::plan::{Name, Zone, ports};

/// In place of a command: a lab without gateways.
pub const NONE: &str = "none";
/// What the component is called.
pub const NAME: &str = "gateway";

/// The gateway of a datacentre, where the lab has gateways.
///
/// # Errors
/// Where its configuration file cannot be read or written, or a word in braces is not known.
pub fn component(lab: &Name, shape: &Shape, zone: Zone) -> anyhow::Result<Option<Component>> {
    if shape.gateway == NONE {
        return Ok(None);
    }
    let directory = component::directory(lab, Home::Zone(zone), NAME).to_string_lossy().into_owned();
    let mut known = words(zone, &directory);
    if let Some(path) = &shape.gateway_config {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let filled = fill(&text, &known).with_context(|| path.display().to_string())?;
        known.push(("config".to_owned(), configure(lab, Home::Zone(zone), NAME, "cairn.toml", &filled)?));
    }
    let command = shape.gateway.split_whitespace().map(|word| fill(word, &known)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!command.is_empty(), "--gateway is empty; a lab without gateways is --gateway {NONE}");
    Ok(Some(Component {
        home: Home::Zone(zone),
        name: NAME.to_owned(),
        command,
        environment: vec![
            ("CAIRN_ROOT_ACCESS_KEY_ID".to_owned(), ACCESS_KEY_ID.to_owned()),
            ("CAIRN_ROOT_SECRET_ACCESS_KEY".to_owned(), SECRET_ACCESS_KEY.to_owned()),
        ],
        as_postgres: false,
        phase: 3,
    }))
}

/// The words that a command and a configuration may use, in braces, and what stands for them.
fn words(zone: Zone, directory: &str) -> Vec<(String, String)> {
    let mut words = vec![
        ("zone".to_owned(), zone.name().to_owned()),
        ("address".to_owned(), zone.address().to_string()),
        ("port".to_owned(), ports::S3.to_string()),
        ("admin_port".to_owned(), ports::ADMIN.to_string()),
        ("directory".to_owned(), directory.to_owned()),
        ("postgresql".to_owned(), patroni::connection_string()),
    ];
    words.extend(Zone::ALL.map(|zone| (format!("master.{}", zone.name()), zone.at(ports::MASTER).to_string())));
    words
}

/// Puts in place of each `{word}` what it stands for. A brace that does not open a word of letters, dots and underscores stays: TOML has
/// tables in braces.
fn fill(text: &str, words: &[(String, String)]) -> anyhow::Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let word = after.split_once('}').map(|(word, _)| word).filter(|word| {
            !word.is_empty() && word.chars().all(|character| character.is_ascii_lowercase() || "._".contains(character))
        });
        if let Some(word) = word {
            let (_, meaning) = words.iter().find(|(known, _)| known == word).with_context(|| {
                let known: Vec<String> = words.iter().map(|(known, _)| format!("{{{known}}}")).collect();
                format!("nothing is known for {{{word}}}; there are {}", known.join(", "))
            })?;
            filled.push_str(meaning);
            rest = &after[word.len() + 1..];
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::{fill, words};
    use crate::lab::plan::Zone;

    #[test]
    fn a_configuration_is_filled_for_its_datacentre() {
        let words = words(Zone::Gland, "/d");
        let text = "zone = \"{zone}\"\nlisten = \"{address}:{port}\"\nmasters = { geneva = [\"{master.geneva}\"] }\n";
        let filled = "zone = \"gland\"\nlisten = \"10.90.2.1:9000\"\nmasters = { geneva = [\"10.90.1.1:9333\"] }\n";
        assert_eq!(fill(text, &words).expect("filled"), filled);
        assert_eq!(fill("{}{ }{", &words).expect("filled"), "{}{ }{");
        let error = fill("{zoen}", &words).expect_err("not known").to_string();
        assert!(error.contains("{zoen}") && error.contains("{admin_port}"), "{error}");
    }
}
