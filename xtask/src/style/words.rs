//! What must not stand in the tree: unfinished work, and anything that is true of one machine only.

use super::sources::{SourceFile, Sources};

/// Macros that mark unfinished work; a request or a disk must never meet one.
const UNFINISHED: &[&str] = &[concat!("todo", "!"), concat!("unimplemented", "!"), concat!("dbg", "!")];

/// Starts of paths that exist on somebody's machine only.
const MACHINE_PATHS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Hosts of package registries: which one a client asks is its own configuration.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("py", "pi.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("proxy.", "golang.org"),
    concat!("sum.", "golang.org"),
    concat!("deb.", "debian.org"),
    concat!("registry.", "npmjs.org"),
    concat!("repo1.", "maven.org"),
    concat!("repo.", "maven.apache.org"),
    concat!("arti", "factory"),
];

/// What lies outside the checkout, which readers of the tree do not have.
const OUTSIDE: &[&str] = &[concat!("../", "shared"), concat!("sha", "red/protocol"), concat!("sha", "red/design")];

/// Macros that mark unfinished work.
pub fn unfinished(sources: &Sources) -> Vec<String> {
    sources.rust().flat_map(|file| lines_with(file, UNFINISHED, starts_a_word)).collect()
}

/// Absolute paths of one machine.
pub fn machine_paths(sources: &Sources) -> Vec<String> {
    sources.all().flat_map(|file| lines_with(file, MACHINE_PATHS, starts_a_path)).collect()
}

/// Hosts of package registries.
pub fn registry_hosts(sources: &Sources) -> Vec<String> {
    sources.all().flat_map(|file| lines_with(file, REGISTRY_HOSTS, |_| true)).collect()
}

/// References to what is not in the checkout.
pub fn outside(sources: &Sources) -> Vec<String> {
    sources.all().flat_map(|file| lines_with(file, OUTSIDE, |_| true)).collect()
}

/// The lines that hold one of `needles` where what stands before it says so.
fn lines_with<'file>(
    file: &'file SourceFile,
    needles: &'static [&'static str],
    counts_after: fn(&str) -> bool,
) -> impl Iterator<Item = String> + 'file {
    file.text.lines().enumerate().filter_map(move |(number, line)| {
        let found = needles.iter().find(|needle| line.match_indices(**needle).any(|(at, _)| counts_after(&line[..at])))?;
        Some(format!("{}:{}: {found}", file.path, number + 1))
    })
}

fn starts_a_word(before: &str) -> bool {
    !before.ends_with(|character: char| character.is_alphanumeric() || character == '_')
}

/// A path starts where no other name runs into it; in `docs/work/` and `https://host/root/` it does not start.
fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|character: char| character.is_alphanumeric() || "_-./~}>".contains(character))
}

#[cfg(test)]
mod tests;
