//! libFuzzer over one target, which `CAIRN_FUZZ_TARGET` names; without it, says which there are. Where `CAIRN_FUZZ_SEEDS` names a directory,
//! the target's seeds and regressions are put there first, to be given as a corpus.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use cairn_fuzz::{Target, all, exercise};

static TARGET: OnceLock<Target> = OnceLock::new();

fn choose() -> Target {
    let targets = all();
    let name = std::env::var("CAIRN_FUZZ_TARGET").unwrap_or_else(|_| {
        targets.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0)
    });
    let target = targets.into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"));
    if let Ok(directory) = std::env::var("CAIRN_FUZZ_SEEDS") {
        let mut seeds = (target.seeds)();
        seeds.extend(exercise::regressions(&target));
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(Path::new(&directory).join(format!("seed-{number}")), seed).expect("a seed can be written");
        }
    }
    target
}

libfuzzer_sys::fuzz_target!(
    init: {
        TARGET.get_or_init(choose);
    },
    |data: &[u8]| (TARGET.get_or_init(choose).run)(data)
);
