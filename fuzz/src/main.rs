//! libFuzzer over one target, which `CAIRN_FUZZ_TARGET` names; without it, says which there are. Where `CAIRN_FUZZ_SEEDS` names a directory,
//! the target's seeds and regressions are put there first, to be given as a corpus. Where `CAIRN_FUZZ_CPU_SECONDS` is a number, it ends once it
//! has used so much processor time, and says so: how busy the machine is makes no difference to how much is tried.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cairn_fuzz::{Target, all, exercise};

static TARGET: OnceLock<Target> = OnceLock::new();

/// Interrupts this program, as whoever sits before it would, once it has used so many seconds of processor time.
fn end_after(seconds: u64) {
    let used = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec as u64;
    std::thread::spawn(move || {
        while used() < seconds {
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("stat::cpu_seconds: {}", used());
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT);
    });
}

fn choose() -> Target {
    let targets = all();
    let name = std::env::var("CAIRN_FUZZ_TARGET").unwrap_or_else(|_| {
        targets.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0)
    });
    if let Some(seconds) = std::env::var("CAIRN_FUZZ_CPU_SECONDS").ok().and_then(|text| text.parse().ok()) {
        end_after(seconds);
    }
    let target = targets.into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"));
    if let Ok(directory) = std::env::var("CAIRN_FUZZ_SEEDS") {
        let mut seeds = target.seeds();
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
    |data: &[u8]| TARGET.get_or_init(choose).run(data)
);
