//! How much longer a run takes: what its cases cost, and how fast that has gone so far.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::plan::Case;
use crate::plan::cost::cost;
use crate::record::ClockName;

/// Seconds after which a run's own pace counts as much as that of the machine where costs were measured.
const TRUST: f64 = 3.0;

/// What is known of a run's end.
pub(super) struct Estimate {
    begun: Instant,
    clock: ClockName,
    /// Cases side by side.
    jobs: f64,
    cases: Vec<Planned>,
    /// What is over, in seconds of cost.
    done: f64,
    running: BTreeMap<usize, f64>,
    to_do: f64,
}

struct Planned {
    /// In seconds.
    cost: f64,
    /// By its own clock.
    duration: Duration,
    has_fault: bool,
}

impl Estimate {
    /// Of a run of `cases`, so many side by side.
    pub(super) fn new(cases: &[Case], clock: ClockName, jobs: usize) -> Self {
        let planned = cases.iter().map(|case| Planned {
            cost: match clock {
                ClockName::Real => case.lab.duration.as_secs_f64(),
                ClockName::Virtual => cost(case).as_secs_f64(),
            },
            duration: case.lab.duration,
            has_fault: !case.lab.faults.is_empty(),
        });
        let cases: Vec<Planned> = planned.collect();
        Self {
            begun: Instant::now(),
            clock,
            jobs: jobs.min(cases.len()).max(1) as f64,
            to_do: cases.iter().map(|case| case.cost).sum(),
            cases,
            done: 0.0,
            running: BTreeMap::new(),
        }
    }

    /// Whether a case has a fault.
    pub(super) fn has_fault(&self, index: usize) -> bool {
        self.cases.get(index).is_none_or(|case| case.has_fault)
    }

    /// A case begins.
    pub(super) fn started(&mut self, index: usize) {
        self.running.insert(index, 0.0);
    }

    /// A case has come so far, by its own clock.
    pub(super) fn observed(&mut self, index: usize, at: Duration) {
        let Some(case) = self.cases.get(index) else {
            return;
        };
        let share = at.as_secs_f64() / case.duration.as_secs_f64().max(1e-3);
        self.running.insert(index, case.cost * share.min(1.0));
    }

    /// A case begins again later.
    pub(super) fn put_off(&mut self, index: usize) {
        self.running.remove(&index);
    }

    /// A case is over.
    pub(super) fn finished(&mut self, index: usize) {
        self.running.remove(&index);
        if let Some(case) = self.cases.get(index) {
            self.done += case.cost;
        }
    }

    /// How much longer the run takes; `None` if nothing is left.
    pub(super) fn left(&self) -> Option<Duration> {
        self.left_after(self.begun.elapsed().as_secs_f64())
    }

    fn left_after(&self, elapsed: f64) -> Option<Duration> {
        let done = self.done + self.running.values().sum::<f64>();
        let to_do = self.to_do - done;
        if self.to_do - self.done < 1e-9 {
            return None;
        }
        // Seconds of cost in a second: one for each case side by side, as far as the clock goes by itself.
        let pace = match self.clock {
            ClockName::Real => self.jobs,
            ClockName::Virtual => (done + TRUST * self.jobs) / (elapsed + TRUST),
        };
        let of_one = |(index, done): (&usize, &f64)| self.cases.get(*index).map(|c| c.cost - done);
        let longest = self.running.iter().filter_map(of_one).fold(0.0, f64::max);
        let left = (to_do / pace).max(longest / (pace / self.jobs));
        Some(Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{PlanOptions, parse};

    fn cases(number: usize) -> Vec<Case> {
        let text = format!(
            "name: t\nduration: 100s\nnodes: [n1, n2]\nservers: {{ s: {{ node: n2 }} }}\n\
             faults: [{{ at: 1s, fault: {{ power_loss: {{ node: n2 }} }} }}]\n\
             clients: {{ c: {{ node: n1, url: 'http://s/', profile: bare, workload: {{ poll: {{ every: 1s }} }} }} }}\n\
             repeat: {number}\n"
        );
        parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario")
    }

    fn seconds(estimate: &Estimate, elapsed: f64) -> f64 {
        estimate
            .left_after(elapsed)
            .expect("something is left")
            .as_secs_f64()
    }

    #[test]
    fn a_machine_that_is_slow_so_far_stays_slow() {
        let cases = cases(10);
        let mut estimate = Estimate::new(&cases, ClockName::Virtual, 1);
        let before = seconds(&estimate, 0.0);
        for index in 0..5 {
            estimate.started(index);
            estimate.finished(index);
        }
        assert!((seconds(&estimate, before / 2.0) - before / 2.0).abs() < before / 20.0);
        assert!(seconds(&estimate, before * 100.0) > before * 5.0);
    }

    #[test]
    fn on_the_real_clock_the_longest_case_counts() {
        let cases = cases(3);
        let mut estimate = Estimate::new(&cases, ClockName::Real, 50);
        let whole = cases.iter().map(|case| case.lab.duration).max();
        let whole = whole.expect("cases").as_secs_f64();
        (0..3).for_each(|index| estimate.started(index));
        assert!((seconds(&estimate, 0.0) - whole).abs() < 1e-6);
        (0..3).for_each(|index| estimate.observed(index, Duration::from_millis(40)));
        assert!((seconds(&estimate, 0.04) - (whole - 0.04)).abs() < 1e-6);
        (0..3).for_each(|index| estimate.finished(index));
        assert_eq!(estimate.left_after(1.0), None);
    }

    #[test]
    fn of_a_run_of_unknown_length_nothing_is_said() {
        let mut estimate = Estimate::new(&[], ClockName::Virtual, 2);
        estimate.started(7);
        estimate.observed(7, Duration::from_secs(1));
        estimate.finished(7);
        assert_eq!(estimate.left_after(1.0), None);
    }
}
