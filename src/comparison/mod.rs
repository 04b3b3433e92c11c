//! Two runs of the same cases, and what has changed from one to the other. Pure.

mod times;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::plan::Cause;
use crate::plan::units::measured;
use crate::record::ClockName;
use crate::result::{self, CaseResult, ClientResult, Verdict, word};
pub use times::{Direction, Times, Tolerance};

/// What has changed from an old run to a new one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Cases that both have.
    pub compared: usize,
    /// Every change, those for the worse first.
    pub changes: Vec<Change>,
}

/// A change of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Scenario.
    pub scenario: String,
    /// Case within it.
    pub case: String,
    /// The clock it ran on; `None` if it never started.
    pub clock: Option<ClockName>,
    /// The kernel it ran on, where there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The client it is of; `None` if it is of the case.
    pub client: Option<String>,
    /// What changed.
    pub what: What,
    /// How it was.
    pub old: Option<String>,
    /// How it is.
    pub new: Option<String>,
    /// The same in seconds, of a time that both have: the median of all repetitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<[f64; 2]>,
    /// How often the case ran, then and now.
    pub runs: [usize; 2],
    /// It is for the worse.
    pub regression: bool,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// From the fault until the dead connection was given up: longer or shorter.
    Detected,
    /// From the fault until the client recovered.
    Recovered,
    /// The longest time without a response.
    LongestWithoutResponse,
    /// What ended the wait; of several runs most often.
    Cause,
    /// Whether the fault struck the client at all.
    Affected,
    /// The case's verdict; of several runs the worst.
    Verdict,
    /// Only the new run has the case, or the client.
    New,
    /// Only the old one has.
    Gone,
}

/// The runs of one case.
type Runs<'a> = Vec<&'a CaseResult>;

/// What tells cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    scenario: &'a str,
    case: &'a str,
    clock: Option<ClockName>,
    /// Where one of both ran a case on several.
    kernel: Option<&'a str>,
}

impl Comparison {
    /// Compares the results of `old` and `new`. What differs by no more than `tolerance` has not changed.
    #[must_use]
    pub fn of(old: &[CaseResult], new: &[CaseResult], tolerance: Tolerance) -> Self {
        let kernels = on_several_kernels(old) || on_several_kernels(new);
        let (old, new) = (by_case(old, new, kernels), by_case(new, old, kernels));
        let mut compared = 0;
        let mut changes = Vec::new();
        for (key, before) in &old {
            match new.get(key) {
                Some(now) => {
                    compared += 1;
                    changes.extend(of_case(*key, before, now, tolerance));
                }
                None => changes.push(whole(*key, What::Gone, before)),
            }
        }
        let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
        changes.extend(added.map(|(key, now)| whole(*key, What::New, now)));
        changes.sort_by_key(|change| !change.regression);
        Self { compared, changes }
    }

    /// Changes for the worse.
    pub fn regressions(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.regression)
    }
}

/// The case's name; of a repetition that of the case that is repeated.
fn case_of(result: &CaseResult) -> &str {
    let repeated = result.repetition.as_ref();
    repeated.map_or(&result.case, |repetition| &repetition.case)
}

/// Whether cases ran on more than one kernel of one clock.
fn on_several_kernels(results: &[CaseResult]) -> bool {
    let started = results.iter().filter(|result| result.kernel.is_some());
    let of = |result: &CaseResult| (result.clock, result.kernel.clone());
    let all: Vec<_> = started.map(of).collect();
    let differ = |one: &(Option<ClockName>, Option<String>)| {
        all.iter().any(|other| one.0 == other.0 && one.1 != other.1)
    };
    all.iter().any(differ)
}

/// The runs of each case: all its repetitions, or the only one. One that never started has no clock, and is taken to be on that
/// of the same case among `others`.
fn by_case<'a>(
    results: &'a [CaseResult],
    others: &[CaseResult],
    kernels: bool,
) -> BTreeMap<Key<'a>, Runs<'a>> {
    let mut all: BTreeMap<Key<'a>, Runs<'a>> = BTreeMap::new();
    // What is of all repetitions is reckoned anew.
    for result in results.iter().filter(|r| r.distributions.is_empty()) {
        let same = |other: &&CaseResult| {
            other.scenario == result.scenario && case_of(other) == case_of(result)
        };
        let key = Key {
            scenario: &result.scenario,
            case: case_of(result),
            clock: result.clock.or_else(|| others.iter().find(same)?.clock),
            kernel: result.kernel.as_deref().filter(|_| kernels),
        };
        all.entry(key).or_default().push(result);
    }
    all
}

/// A case, or a client in it, that one of both has.
fn whole(key: Key<'_>, what: What, runs: &Runs<'_>) -> Change {
    let verdict = Some(worst(runs).to_string());
    let (old, new, counts) = match what {
        What::New => (None, verdict, [0, runs.len()]),
        _ => (verdict, None, [runs.len(), 0]),
    };
    change(key, None, what, (old, new), counts)
}

fn change(
    key: Key<'_>,
    client: Option<&str>,
    what: What,
    (old, new): (Option<String>, Option<String>),
    runs: [usize; 2],
) -> Change {
    Change {
        scenario: key.scenario.to_owned(),
        case: key.case.to_owned(),
        clock: key.clock,
        kernel: key.kernel.map(str::to_owned),
        client: client.map(str::to_owned),
        what,
        old,
        new,
        seconds: None,
        runs,
        regression: false,
    }
}

fn of_case(key: Key<'_>, old: &Runs<'_>, new: &Runs<'_>, tolerance: Tolerance) -> Vec<Change> {
    let runs = [old.len(), new.len()];
    let mut changes = Vec::new();
    let (before, now) = (worst(old), worst(new));
    if before != now {
        let texts = (Some(before.to_string()), Some(now.to_string()));
        changes.push(Change {
            regression: badness(now) > badness(before),
            ..change(key, None, What::Verdict, texts, runs)
        });
    }
    let names = |runs: &Runs<'_>| -> Vec<String> {
        let first = runs.first().map_or(&[][..], |run| &run.clients);
        first.iter().map(|client| client.name.clone()).collect()
    };
    let (of_old, of_new) = (names(old), names(new));
    for name in &of_old {
        if of_new.contains(name) {
            changes.extend(of_client(key, name, old, new, tolerance));
        } else {
            changes.push(change(key, Some(name), What::Gone, (None, None), runs));
        }
    }
    let added = of_new.iter().filter(|name| !of_old.contains(name));
    changes.extend(added.map(|name| change(key, Some(name), What::New, (None, None), runs)));
    changes
}

fn of_client(
    key: Key<'_>,
    name: &str,
    old: &Runs<'_>,
    new: &Runs<'_>,
    tolerance: Tolerance,
) -> Vec<Change> {
    let of = |runs: &Runs<'_>| -> Vec<ClientResult> {
        let judged = runs.iter().filter(|run| run.judged);
        judged.filter_map(|run| run.client(name).cloned()).collect()
    };
    let (old, new) = (of(old), of(new));
    let runs = [old.len(), new.len()];
    // Where nothing came of one of them, the verdict says so.
    if old.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let (was, is) = (most(&old, |c| c.affected), most(&new, |c| c.affected));
    if was != is {
        let told = |affected: Option<bool>| match affected {
            Some(true) => String::from("struck"),
            Some(false) => String::from("not struck"),
            None => String::from("not known"),
        };
        let texts = (Some(told(was)), Some(told(is)));
        changes.push(change(key, Some(name), What::Affected, texts, runs));
    }
    for (what, time) in TIMES {
        // A client that nothing struck had nothing to notice.
        let struck = |client: &&ClientResult| client.affected != Some(false);
        let times = |all: &[ClientResult]| Times::of(all.iter().filter(struck).map(time).collect());
        let (before, now) = (times(&old), times(&new));
        let Some(direction) = before.changed_to(&now, tolerance) else {
            continue;
        };
        let medians = before.median().zip(now.median());
        changes.push(Change {
            seconds: medians.map(|(old, new)| [old.as_secs_f64(), new.as_secs_f64()]),
            regression: direction == Direction::Slower,
            ..change(
                key,
                Some(name),
                what,
                (Some(before.to_string()), Some(now.to_string())),
                runs,
            )
        });
    }
    let (was, is) = (most(&old, |c| c.cause), most(&new, |c| c.cause));
    if was != is {
        let told = |cause: Option<Cause>| cause.map_or_else(|| String::from("–"), |c| word(&c));
        let texts = (Some(told(was)), Some(told(is)));
        changes.push(change(key, Some(name), What::Cause, texts, runs));
    }
    changes
}

/// A client's times.
type Time = fn(&ClientResult) -> Option<Duration>;
const TIMES: [(What, Time); 3] = [
    (What::Detected, |client| client.detected_after),
    (What::Recovered, |client| client.recovered_after),
    (What::LongestWithoutResponse, |client| {
        client.longest_without_response
    }),
];

/// What most of all have; of two that are as frequent the first.
fn most<T: PartialEq + Copy>(all: &[ClientResult], of: impl Fn(&ClientResult) -> T) -> T {
    let values: Vec<T> = all.iter().map(of).collect();
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    let mut best = values[0];
    for value in &values {
        if count(value) > count(&best) {
            best = *value;
        }
    }
    best
}

/// How bad a verdict is: a failed expectation, nothing tested, not tried, and held.
fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 3,
        Verdict::Error => 2,
        Verdict::Skipped => 1,
        Verdict::Pass | Verdict::Measured => 0,
    }
}

fn worst(runs: &Runs<'_>) -> Verdict {
    let verdicts = runs.iter().map(|run| run.verdict);
    result::worst(verdicts).unwrap_or(Verdict::Measured)
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |time: Option<Duration>| time.map_or_else(|| String::from("never"), measured);
        match self.count() {
            0 => f.write_str("–"),
            1 => f.write_str(&shown(self.median())),
            _ if self.median() == self.p95() => f.write_str(&shown(self.median())),
            _ => write!(f, "{}, 95 % {}", shown(self.median()), shown(self.p95())),
        }
    }
}
