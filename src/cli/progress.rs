//! What a run shows while it goes on. On a terminal a line for each running case, with its phase and its two times, and one for
//! all of them, with the time left; elsewhere a line for each case that is over.

mod estimate;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::screen;
use crate::plan::Case;
use crate::printable::printable;
use crate::record::{ClockName, Event, Observation};
use crate::runner::Progress;
use crate::verdict::CaseResult;
use estimate::Estimate;

/// Cases with a line of their own; more run without one.
const LINES: usize = 12;

/// Columns of a case's line besides its name: its phase and times.
const BESIDES: usize = 52;

/// Columns of a name at least.
const SHORTEST_NAME: usize = 12;

/// Progress on standard error.
pub(super) struct Shown {
    lines: MultiProgress,
    running: RefCell<HashMap<usize, Running>>,
    all: ProgressBar,
    estimate: Arc<Mutex<Estimate>>,
    /// Where standard error can't show lines that change: a line for each case that is over.
    plain: bool,
    cases: usize,
}

/// A case that runs.
struct Running {
    bar: ProgressBar,
    phase: Phase,
    told: Instant,
    duration: Duration,
}

/// What a case is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Boot,
    SetUp,
    /// There is no fault in it.
    Running,
    Waiting,
    Outage,
    Judging,
}

impl Phase {
    fn words(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::SetUp => "set up",
            Self::Running => "running",
            Self::Waiting => "waiting for the fault",
            Self::Outage => "outage",
            Self::Judging => "judging",
        }
    }

    /// What an event shows that a case is doing now.
    fn after(self, event: &Event, has_fault: bool) -> Self {
        match &event.what {
            Observation::LabReady { .. } if has_fault => Self::Waiting,
            Observation::LabReady { .. } => Self::Running,
            Observation::FaultInjected { .. } => Self::Outage,
            Observation::CaseEnded {}
            | Observation::RigError { .. }
            | Observation::Skipped { .. } => Self::Judging,
            _ if self == Self::Boot => Self::SetUp,
            _ => self,
        }
    }
}

/// How often a line changes at most.
const NEWS: Duration = Duration::from_millis(100);

impl Shown {
    /// Of a run of `cases`, so many side by side.
    pub(super) fn of_run(cases: &[Case], clock: ClockName, jobs: usize, quiet: bool) -> Self {
        let plain = !screen::can_move(&io::stderr()) && !quiet;
        let estimate = Estimate::new(cases, clock, jobs);
        Self::new(cases.len(), estimate, plain, quiet)
    }

    /// Of one of which nobody knows how many cases it will have.
    pub(super) fn of_tuning(jobs: usize) -> Self {
        let estimate = Estimate::new(&[], ClockName::Virtual, jobs);
        Self::new(0, estimate, false, false)
    }

    fn new(cases: usize, estimate: Estimate, plain: bool, quiet: bool) -> Self {
        let target = match quiet || !screen::can_move(&io::stderr()) {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(4),
        };
        let lines = MultiProgress::with_draw_target(target);
        let estimate = Arc::new(Mutex::new(estimate));
        let all = lines.add(ProgressBar::new(cases as u64));
        let left = Arc::clone(&estimate);
        let style = match cases {
            0 => style("{pos} cases · {elapsed}"),
            _ => style("{pos} of {len} cases · {elapsed} · {left}"),
        };
        all.set_style(style.with_key(
            "left",
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                let estimate = left.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = out.write_str(&words(estimate.left()));
            },
        ));
        all.enable_steady_tick(Duration::from_millis(250));
        Self {
            lines,
            running: RefCell::new(HashMap::new()),
            all,
            estimate,
            plain,
            cases,
        }
    }

    /// Takes all lines away.
    pub(super) fn clear(&self) {
        self.all.finish_and_clear();
        let _ = self.lines.clear();
    }

    fn estimate(&self) -> std::sync::MutexGuard<'_, Estimate> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, index: usize) {
        if let Some(running) = self.running.borrow_mut().remove(&index) {
            running.bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn started(&self, index: usize, case: &Case) {
        self.estimate().started(index);
        let mut running = self.running.borrow_mut();
        if running.len() >= LINES || self.lines.is_hidden() {
            return;
        }
        let name = format!("{}/{}", case.scenario, case.name);
        let columns = screen::width_of_stderr().unwrap_or(screen::COLUMNS);
        let room = columns.saturating_sub(BESIDES).max(SHORTEST_NAME);
        let name = console::truncate_str(&printable(&name), room, "…").into_owned();
        let bar = ProgressBar::new_spinner()
            .with_style(style("{spinner} {prefix}: {msg} · {elapsed}"))
            .with_prefix(name)
            .with_message(Phase::Boot.words());
        let bar = self.lines.insert_before(&self.all, bar);
        bar.enable_steady_tick(Duration::from_millis(250));
        let one = Running {
            bar,
            phase: Phase::Boot,
            told: Instant::now(),
            duration: case.lab.duration,
        };
        running.insert(index, one);
    }

    fn observed(&self, index: usize, event: &Event) {
        self.estimate().observed(index, event.at());
        let mut running = self.running.borrow_mut();
        let Some(one) = running.get_mut(&index) else {
            return;
        };
        let has_fault = self.estimate().has_fault(index);
        let phase = one.phase.after(event, has_fault);
        // A case has thousands of events a second.
        if phase != one.phase || one.told.elapsed() >= NEWS {
            one.phase = phase;
            one.told = Instant::now();
            one.tell(event.at());
        }
    }

    fn put_off(&self, index: usize) {
        self.estimate().put_off(index);
        self.remove(index);
    }

    fn finished(&self, index: usize, result: &CaseResult) {
        self.estimate().finished(index);
        self.remove(index);
        self.all.inc(1);
        if !self.plain {
            return;
        }
        let name = format!("{}/{}", result.scenario, result.case);
        let name = printable(&name);
        let left = match self.estimate().left() {
            None => String::new(),
            left => format!(", {}", words(left)),
        };
        let line = format!(
            "{} of {}: {} {name}{left}",
            self.all.position(),
            self.cases,
            result.verdict
        );
        match io::stderr().is_terminal() {
            true => {
                let columns = screen::width_of_stderr().unwrap_or(screen::COLUMNS);
                eprintln!("{}", console::truncate_str(&line, columns, "…"));
            }
            false => eprintln!("{line}"),
        }
    }
}

impl Running {
    /// Says what it does, and how far it has come by its own clock.
    fn tell(&self, at: Duration) {
        let phase = self.phase.words();
        self.bar.set_message(match self.phase {
            Phase::Boot | Phase::SetUp | Phase::Judging => phase.to_owned(),
            Phase::Running | Phase::Waiting | Phase::Outage => {
                format!(
                    "{phase} · {} of {} s",
                    at.as_secs(),
                    self.duration.as_secs()
                )
            }
        });
    }
}

/// The time left in words; nothing is left when nothing is to be done.
fn words(left: Option<Duration>) -> String {
    match left.map(|left| left.as_secs()) {
        None => String::from("nothing left"),
        Some(seconds @ 0..90) => format!("about {} s left", seconds.max(1)),
        Some(seconds @ 90..5400) => format!("about {} min left", seconds.div_ceil(60)),
        Some(seconds) => format!("about {} h left", seconds.div_ceil(3600)),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_in_its_own_unit() {
        let told = |seconds| words(Some(Duration::from_secs(seconds)));
        assert_eq!(told(0), "about 1 s left");
        assert_eq!(told(89), "about 89 s left");
        assert_eq!(told(121), "about 3 min left");
        assert_eq!(told(7201), "about 3 h left");
        assert_eq!(words(None), "nothing left");
    }
}
