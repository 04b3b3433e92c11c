//! What a run of several cases came to.

use super::result::{CaseResult, Verdict};

/// A run's count of verdicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunSummary {
    /// Cases of which every expectation held.
    pub passed: usize,
    /// Cases of which one did not.
    pub failed: usize,
    /// Cases that this machine can't run.
    pub skipped: usize,
    /// Cases that the harness could not run.
    pub errors: usize,
}

/// How a run ends, by its verdicts. Its number is the command line's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every expectation held; skipped cases are named in the report.
    Held,
    /// An expectation failed, whatever else happened.
    Failed,
    /// The harness could not run a case, or ran none, or skipped one though all were required.
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
            skipped: count(Verdict::Skipped),
            errors: count(Verdict::Error),
        }
    }

    /// The number of cases.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.passed + self.failed + self.skipped + self.errors
    }

    /// How a run with these verdicts ends; `require_all` allows no skipped case.
    #[must_use]
    pub fn exit(&self, require_all: bool) -> Exit {
        if self.failed > 0 {
            Exit::Failed
        } else if self.errors > 0 || self.passed == 0 || (require_all && self.skipped > 0) {
            Exit::NotRun
        } else {
            Exit::Held
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(passed: usize, failed: usize, skipped: usize, errors: usize) -> RunSummary {
        RunSummary {
            passed,
            failed,
            skipped,
            errors,
        }
    }

    #[test]
    fn a_failed_expectation_outranks_everything() {
        assert_eq!(summary(5, 1, 2, 3).exit(true), Exit::Failed);
    }

    #[test]
    fn a_broken_rig_is_not_a_failed_expectation() {
        assert_eq!(summary(5, 0, 0, 1).exit(false), Exit::NotRun);
    }

    #[test]
    fn a_run_of_nothing_did_not_hold() {
        assert_eq!(summary(0, 0, 0, 0).exit(false), Exit::NotRun);
        assert_eq!(summary(0, 0, 4, 0).exit(false), Exit::NotRun);
    }

    #[test]
    fn skipped_cases_are_allowed_unless_all_are_required() {
        assert_eq!(summary(1, 0, 4, 0).exit(false), Exit::Held);
        assert_eq!(summary(1, 0, 4, 0).exit(true), Exit::NotRun);
        assert_eq!(summary(1, 0, 0, 0).exit(true), Exit::Held);
    }
}
