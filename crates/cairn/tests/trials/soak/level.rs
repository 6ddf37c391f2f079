//! Whether something has levelled off. Pure.
//!
//! Of the second half of a run, the last quarter is held against the quarter before, by a number that stands for each: the median; of latencies the
//! lower quartile, since what others do on the machine only ever adds to them. What still fills (caches, garbage that waits for its grace, the
//! live set itself) has had half of the run; what grows without end has grown by two fifths from the middle of the one quarter to the middle
//! of the next, whatever its rate. An allowance is a ratio, for noise that goes with the size, and something on top, for what comes in steps.

use super::sample::Sample;

/// How much more the last quarter may have than the one before.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Which of a quarter's samples stands for it, percent of them being lower.
    pub percent: usize,
    /// Times so much.
    pub ratio: f64,
    /// And so much on top.
    pub more: f64,
    /// No sample may ever have more than this.
    pub most: f64,
}

/// What stands for a number of some samples; none where none has it.
fn of_samples(samples: &[Sample], number: usize, percent: usize) -> Option<f64> {
    let values = samples.iter().filter_map(|sample| sample.numbers.get(number).copied());
    let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() * percent / 100).copied()
}

/// The samples of one quarter of the time, of four.
fn quarter(samples: &[Sample], index: u32) -> &[Sample] {
    let end = samples.last().map_or(0.0, |sample| sample.at);
    let bound = |index: u32| samples.partition_point(|sample| sample.at < end * f64::from(index) / 4.0);
    let to = if index == 3 { samples.len() } else { bound(index + 1) };
    &samples[bound(index)..to]
}

/// A number in the third and in the last quarter; none where one of them has none.
pub fn quarters(samples: &[Sample], number: usize, percent: usize) -> Option<(f64, f64)> {
    Some((of_samples(quarter(samples, 2), number, percent)?, of_samples(quarter(samples, 3), number, percent)?))
}

/// Judges a number, and gives what stands for the two quarters.
///
/// # Errors
/// Where it has not levelled off, was never looked at, or was ever too high.
pub fn judge(samples: &[Sample], number: usize, allowance: Allowance) -> Result<(f64, f64), String> {
    let (third, last) = quarters(samples, number, allowance.percent).ok_or("it was not looked at")?;
    let highest = samples.iter().filter_map(|sample| sample.numbers.get(number)).copied().fold(0.0, f64::max);
    if last > third * allowance.ratio + allowance.more {
        return Err(format!("{third:.1} in the third quarter and {last:.1} in the last"));
    }
    if highest > allowance.most {
        return Err(format!("{highest:.1}, and {} are the most", allowance.most));
    }
    Ok((third, last))
}

fn samples(value: impl Fn(f64) -> f64) -> Vec<Sample> {
    (0..=100).map(f64::from).map(|at| Sample { at, numbers: vec![value(at)] }).collect()
}

const NOISE: Allowance = Allowance { percent: 50, ratio: 1.1, more: 0.0, most: 1000.0 };

#[test]
fn what_fills_and_stays_full_has_levelled_off() {
    let filling = samples(|at| 100.0 * (1.0 - (-at / 15.0).exp()) + if at.rem_euclid(10.0) < 1.0 { 90.0 } else { 0.0 });
    assert!(judge(&filling, 0, NOISE).is_ok(), "{:?}", judge(&filling, 0, NOISE));
    let falling = samples(|at| 200.0 - at);
    assert!(judge(&falling, 0, NOISE).is_ok());
}

#[test]
fn what_goes_on_growing_has_not() {
    for growing in [samples(|at| at), samples(|at| 0.001 * at), samples(|at| 50.0 + at), samples(|at| at * at / 20.0)] {
        let judged = judge(&growing, 0, NOISE);
        assert!(judged.as_ref().is_err_and(|what| what.contains("in the last")), "{judged:?}");
    }
    let stepping = samples(|at| if at < 80.0 { 10.0 } else { 20.0 });
    assert!(judge(&stepping, 0, NOISE).is_err());
}

#[test]
fn noise_that_comes_and_goes_is_not_growth() {
    let noisy = samples(|at| if at > 75.0 && at.rem_euclid(3.0) < 2.0 { 90.0 } else { 10.0 });
    assert!(judge(&noisy, 0, NOISE).is_err(), "by its median");
    assert_eq!(judge(&noisy, 0, Allowance { percent: 25, ..NOISE }), Ok((10.0, 10.0)));
    let slower = samples(|at| if at > 75.0 { 30.0 } else { 10.0 });
    assert!(judge(&slower, 0, Allowance { percent: 25, ..NOISE }).is_err());
}

#[test]
fn what_was_too_high_once_or_never_looked_at_is_told() {
    let peak = samples(|at| if (30.0..31.0).contains(&at) { 1001.0 } else { 10.0 });
    assert_eq!(judge(&peak, 0, NOISE), Err("1001.0, and 1000 are the most".to_owned()));
    assert!(judge(&samples(|_| f64::NAN), 0, NOISE).is_err());
    assert!(judge(&[], 0, NOISE).is_err());
}
