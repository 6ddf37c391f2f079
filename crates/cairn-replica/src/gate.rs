//! Whether a zone is worth asking. Pure: a gate is told what happened and when, and says whether to send.
//!
//! A gate shuts after a few failures in a row, or when the oldest unanswered operation is older than any healthy zone would take (a
//! hung zone answers nothing, so waiting for failures would wait for deadlines). Shut, it lets one operation through now and then; the
//! first success opens it. Nothing that a client waits for depends on a shut gate, except as a last resort.
//!
//! Times are since some fixed moment.

use std::time::Duration;

/// When a gate shuts and how it tries again.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Failures in a row that shut it.
    pub failures_max: u32,
    /// The age of the oldest unanswered operation that shuts it.
    pub stall_after: Duration,
    /// The first pause before a probe; doubled with each failed one.
    pub probe_after_min: Duration,
    /// The longest pause before a probe.
    pub probe_after_max: Duration,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            failures_max: 3,
            stall_after: Duration::from_millis(1_500),
            probe_after_min: Duration::from_millis(250),
            probe_after_max: Duration::from_secs(10),
        }
    }
}

/// Whether to send an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The zone is well as far as is known.
    Send,
    /// The zone is not well; this operation finds out. Nobody should wait for it.
    Probe,
    /// Leave it alone.
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Shut { probe_at: Duration, pause: Duration },
    Probing { since: Duration, pause: Duration },
}

/// One zone's gate for one sort of operation.
#[derive(Debug, Clone)]
pub struct Gate {
    config: GateConfig,
    failures: u32,
    state: State,
}

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn new(config: GateConfig) -> Self {
        Self { config, failures: 0, state: State::Open }
    }

    /// Whether operations pass as in good times.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether [`Gate::admit`] would let an operation through; changes nothing.
    #[must_use]
    pub fn would_admit(&self, now: Duration) -> bool {
        match self.state {
            State::Open => true,
            State::Shut { probe_at, .. } => now >= probe_at,
            State::Probing { .. } => false,
        }
    }

    /// Asks for one operation. `oldest_unanswered` is when the oldest operation was sent that has no answer yet.
    pub fn admit(&mut self, now: Duration, oldest_unanswered: Option<Duration>) -> Admission {
        let stalled = oldest_unanswered.is_some_and(|sent| now.saturating_sub(sent) > self.config.stall_after);
        match self.state {
            State::Open if stalled => {
                self.shut(now, self.config.probe_after_min);
                Admission::Skip
            }
            State::Open => Admission::Send,
            State::Shut { probe_at, pause } if now >= probe_at => {
                self.state = State::Probing { since: now, pause };
                Admission::Probe
            }
            State::Probing { since, pause } if now.saturating_sub(since) > self.config.stall_after => {
                self.shut(now, self.longer(pause));
                Admission::Skip
            }
            State::Shut { .. } | State::Probing { .. } => Admission::Skip,
        }
    }

    /// An operation was answered well. An answer, however late, shows that the zone works.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.state = State::Open;
    }

    /// An operation failed in a way that speaks against the zone.
    pub fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Open if self.failures >= self.config.failures_max => self.shut(now, self.config.probe_after_min),
            State::Probing { pause, .. } => self.shut(now, self.longer(pause)),
            State::Open | State::Shut { .. } => {}
        }
    }

    /// An operation was given up without an answer after this long.
    pub fn abandoned(&mut self, now: Duration, waited: Duration) {
        if waited >= self.config.stall_after {
            self.failed(now);
        } else if let State::Probing { pause, .. } = self.state {
            // The probe told nothing: the next operation is one.
            self.state = State::Shut { probe_at: now, pause };
        }
    }

    fn longer(&self, pause: Duration) -> Duration {
        (pause * 2).min(self.config.probe_after_max)
    }

    fn shut(&mut self, now: Duration, pause: Duration) {
        self.state = State::Shut { probe_at: now + pause, pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn gate() -> Gate {
        Gate::new(GateConfig::default())
    }

    #[test]
    fn shuts_after_failures_in_a_row_only() {
        let mut gate = gate();
        for _ in 0..10 {
            gate.failed(at(0));
            gate.failed(at(0));
            gate.succeeded();
        }
        assert_eq!(gate.admit(at(0), None), Admission::Send);
        for _ in 0..3 {
            gate.failed(at(0));
        }
        assert_eq!(gate.admit(at(0), None), Admission::Skip);
    }

    #[test]
    fn one_probe_at_a_time_with_longer_pauses() {
        let mut gate = gate();
        for _ in 0..3 {
            gate.failed(at(0));
        }
        assert_eq!(gate.admit(at(249), None), Admission::Skip);
        assert_eq!(gate.admit(at(250), None), Admission::Probe);
        assert_eq!(gate.admit(at(251), None), Admission::Skip);
        gate.failed(at(260));
        assert_eq!(gate.admit(at(759), None), Admission::Skip);
        assert_eq!(gate.admit(at(760), None), Admission::Probe);
        gate.succeeded();
        assert_eq!(gate.admit(at(761), None), Admission::Send);
    }

    #[test]
    fn a_hung_zone_shuts_it_without_any_answer_and_a_hung_probe_does_too() {
        let mut gate = gate();
        assert_eq!(gate.admit(at(1_500), Some(at(0))), Admission::Send);
        assert_eq!(gate.admit(at(1_501), Some(at(0))), Admission::Skip);
        assert_eq!(gate.admit(at(1_751), Some(at(0))), Admission::Probe);
        assert_eq!(gate.admit(at(3_251), Some(at(0))), Admission::Skip);
        assert_eq!(gate.admit(at(3_252), Some(at(0))), Admission::Skip);
        assert_eq!(gate.admit(at(3_752), Some(at(0))), Admission::Probe);
    }

    #[test]
    fn pauses_are_bounded() {
        let mut gate = gate();
        for _ in 0..3 {
            gate.failed(at(0));
        }
        let mut now = at(0);
        for _ in 0..20 {
            now += GateConfig::default().probe_after_max;
            assert_eq!(gate.admit(now, None), Admission::Probe);
            gate.failed(now);
        }
    }

    #[test]
    fn an_abandoned_probe_does_not_wedge_it() {
        let mut gate = gate();
        for _ in 0..3 {
            gate.failed(at(0));
        }
        assert_eq!(gate.admit(at(250), None), Admission::Probe);
        gate.abandoned(at(251), at(1));
        assert_eq!(gate.admit(at(252), None), Admission::Probe);
    }
}
