//! The targets, by what their bytes are.

mod administration;
mod frames;
mod log;
mod log_directory;
mod records;
mod requests;
mod rows;
mod secrets;
mod segment_directory;
mod segments;
mod service;

use crate::Target;

/// Every target.
#[must_use]
pub fn all() -> Vec<Target> {
    let of_disk = [records::TARGET, rows::TARGET, log::TARGET, segments::TARGET, frames::TARGET, secrets::TARGET];
    [
        &of_disk[..],
        &[segment_directory::TARGET, log_directory::TARGET, service::TARGET, administration::TARGET],
        requests::TARGETS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;
    use crate::Target;

    #[test]
    fn every_target_and_part_has_a_name_of_its_own_and_seeds() {
        let targets = all();
        let mut names = BTreeSet::new();
        for target in &targets {
            assert!(names.insert(target.name), "two targets are called {}", target.name);
            assert!((1..=Target::PARTS_MAX).contains(&target.parts.len()), "{} has no or too many parts", target.name);
            let mut parts = BTreeSet::new();
            for part in target.parts {
                assert!(parts.insert(part.name), "two parts of {} are called {}", target.name, part.name);
                assert!(!(part.seeds)().is_empty(), "{} of {} has no seeds", part.name, target.name);
            }
            let reached: BTreeSet<_> = target.seeds().iter().filter_map(|seed| Some(target.part(seed)?.0.name)).collect();
            assert_eq!(reached, parts, "the seeds of {} do not reach every part", target.name);
        }
    }
}
