//! What a run of several cases came to.

use crate::result::{CaseResult, Verdict};

/// A run's count of verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunSummary {
    /// Cases of which every expectation held.
    pub passed: usize,
    /// Cases of which one did not.
    pub failed: usize,
    /// Cases of which nothing was expected.
    #[serde(default)]
    pub measured: usize,
    /// Cases that this machine can't run.
    pub skipped: usize,
    /// Cases that the harness could not run, or in which nothing was tested of what was expected.
    pub errors: usize,
}

/// What a run may leave untested and still end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Cases that this machine can't run.
    pub skipped: bool,
    /// Cases of which nothing is expected.
    pub measured: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self {
            skipped: false,
            measured: true,
        }
    }
}

/// How a run ends, by its verdicts. Its number is the command line's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every expectation held.
    Held,
    /// An expectation failed, whatever else happened.
    Failed,
    /// The harness could not run a case, or ran none, or nothing was tested where something was to be.
    NotRun,
}

impl RunSummary {
    /// Counts the verdicts of `results`.
    #[must_use]
    pub fn of(results: &[CaseResult]) -> Self {
        let count = |verdict| {
            results
                .iter()
                // Repetitions count together, as one.
                .filter(|result| result.verdict == verdict && result.repetition.is_none())
                .count()
        };
        Self {
            passed: count(Verdict::Pass),
            failed: count(Verdict::Fail),
            measured: count(Verdict::Measured),
            skipped: count(Verdict::Skipped),
            errors: count(Verdict::Error),
        }
    }

    /// The number of cases.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.passed + self.failed + self.measured + self.skipped + self.errors
    }

    /// How a run with these verdicts ends.
    #[must_use]
    pub fn exit(&self, allowed: Allowed) -> Exit {
        let untested = (self.skipped > 0 && !allowed.skipped)
            || (self.measured > 0 && !allowed.measured)
            || self.passed + self.measured == 0;
        if self.failed > 0 {
            Exit::Failed
        } else if self.errors > 0 || untested {
            Exit::NotRun
        } else {
            Exit::Held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYTHING: Allowed = Allowed {
        skipped: true,
        measured: true,
    };
    const STRICT: Allowed = Allowed {
        skipped: false,
        measured: false,
    };

    fn summary(passed: usize, failed: usize, skipped: usize, errors: usize) -> RunSummary {
        RunSummary {
            passed,
            failed,
            measured: 0,
            skipped,
            errors,
        }
    }

    #[test]
    fn a_failed_expectation_outranks_everything() {
        assert_eq!(summary(5, 1, 2, 3).exit(STRICT), Exit::Failed);
    }

    #[test]
    fn a_broken_rig_is_not_a_failed_expectation() {
        assert_eq!(summary(5, 0, 0, 1).exit(ANYTHING), Exit::NotRun);
    }

    #[test]
    fn a_run_of_nothing_did_not_hold() {
        assert_eq!(summary(0, 0, 0, 0).exit(ANYTHING), Exit::NotRun);
        assert_eq!(summary(0, 0, 4, 0).exit(ANYTHING), Exit::NotRun);
    }

    #[test]
    fn a_skipped_case_is_not_green_unless_it_may_be_skipped() {
        assert_eq!(summary(1, 0, 4, 0).exit(Allowed::default()), Exit::NotRun);
        assert_eq!(summary(1, 0, 4, 0).exit(ANYTHING), Exit::Held);
        assert_eq!(summary(1, 0, 0, 0).exit(STRICT), Exit::Held);
    }

    #[test]
    fn a_case_without_expectations_is_measured_and_holds_unless_that_is_too_little() {
        let measured = |passed| RunSummary {
            passed,
            measured: 2,
            ..RunSummary::default()
        };
        for passed in [0, 3] {
            let run = measured(passed);
            assert_eq!(run.cases(), passed + 2);
            assert_eq!(run.exit(Allowed::default()), Exit::Held);
            assert_eq!(run.exit(STRICT), Exit::NotRun);
        }
    }
}
