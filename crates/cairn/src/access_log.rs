//! Where lines of the access log go: to standard error, by a thread of their own, so that whoever reads them slowly holds up nobody.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};

use cairn_metrics::Counter;
use cairn_s3::observe::{AccessLog, AccessLogConfig};

/// Lines that may wait to be written; with more, lines are dropped and counted.
const LINES_MAX: usize = 8192;

/// Takes lines.
#[derive(Default)]
pub struct Lines {
    dropped: Counter,
}

impl Lines {
    /// Lines that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// A log that writes here.
    pub fn log(self: &Arc<Self>, config: AccessLogConfig, output: impl Write + Send + 'static) -> std::io::Result<AccessLog> {
        let (sender, receiver) = mpsc::sync_channel(LINES_MAX);
        std::thread::Builder::new().name("access log".to_owned()).spawn(move || write_all(&receiver, output))?;
        Ok(AccessLog::new(config, self.sink(sender)))
    }

    fn sink(self: &Arc<Self>, sender: SyncSender<String>) -> cairn_s3::observe::access_log::Sink {
        let lines = self.clone();
        Box::new(move |line| {
            if sender.try_send(line).is_err() {
                lines.dropped.add(1);
            }
        })
    }
}

/// Writes until nobody can send any more. What waits is written together: one call for many lines.
fn write_all(receiver: &mpsc::Receiver<String>, mut output: impl Write) {
    let mut together = String::new();
    while let Ok(line) = receiver.recv() {
        together.push_str(&line);
        while together.len() < 64 << 10
            && let Ok(more) = receiver.try_recv()
        {
            together.push_str(&more);
        }
        // Nobody is left to be told.
        let _ = output.write_all(together.as_bytes()).and_then(|()| output.flush());
        together.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing before it is let go.
    struct Stuck(mpsc::Receiver<()>, Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_holds_up_nobody() {
        let (go_on, stuck) = mpsc::channel();
        let written = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let lines = Arc::new(Lines::default());
        let (sender, receiver) = mpsc::sync_channel(LINES_MAX);
        let output = Stuck(stuck, written.clone());
        let writer = std::thread::spawn(move || write_all(&receiver, output));
        let sink = lines.sink(sender);
        // More than wait in the queue and in the writer's hands.
        let count = 3 * LINES_MAX;
        for number in 0..count {
            sink(format!("{number:020}\n"));
        }
        assert!(lines.dropped() > 0);
        drop((sink, go_on));
        writer.join().unwrap();
        let written = String::from_utf8(written.lock().clone()).unwrap();
        assert_eq!(written.lines().count() as u64 + lines.dropped(), count as u64);
        assert!(written.lines().all(|line| line.len() == 20));
    }
}
