//! What the kernel says of this process: `proc(5)`.

use std::fs;

/// Ticks a second in `/proc`: what Linux shows to programs, whatever it counts in itself (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// This process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Processor time, hundredths of a second.
    pub cpu_ticks: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// When it started, seconds since 1970.
    pub start_seconds: u64,
    /// Open descriptors.
    pub files: u64,
    /// The most that there may be, where there is a bound.
    pub files_max: Option<u64>,
}

impl Process {
    /// As it is now; `None` where the kernel does not say.
    pub fn look() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        // Looking opens a descriptor itself.
        let files = (fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1);
        let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::parse(&stat, &boot, rustix::param::page_size() as u64).map(|process| Self { files, files_max, ..process })
    }

    fn parse(stat: &str, boot: &str, page_bytes: u64) -> Option<Self> {
        // The second field is the program's name in brackets, and may hold brackets and spaces itself.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        // Numbered from 3, as in proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let booted = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_seconds: booted + field(22)? / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_bytes,
            files: 0,
            files_max: None,
        })
    }

    /// Processor time, seconds.
    #[allow(clippy::cast_precision_loss, reason = "2^53 hundredths of a second are long")]
    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ticks as f64 / TICKS_PER_SECOND as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat =
            "42 (a) b ( c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 12345 1000000 250 18446744073709551615 1 1\n";
        let process = Process::parse(stat, "cpu 1\nbtime 1700000000\nprocesses 1\n", 4096).unwrap();
        assert_eq!((process.cpu_ticks, process.threads, process.start_seconds), (200, 9, 1_700_000_123));
        assert_eq!((process.virtual_bytes, process.resident_bytes), (1_000_000, 1_024_000));
        assert_eq!(Process::parse("42 (a", "btime 1", 4096), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let process = Process::look().unwrap();
        assert!(process.resident_bytes > 100_000 && process.files >= 3 && process.threads >= 1, "{process:?}");
    }
}
