//! What a run shows on a terminal while it goes on: each running case, its phase, elapsed and left.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::plan::Case;
use crate::printable::printable;
use crate::record::{Event, Observation};
use crate::runner::Progress;
use crate::verdict::CaseResult;

/// Cases with a line of their own; more run without one.
const LINES: usize = 12;

/// Progress lines on standard error; none where that is not a terminal.
pub(super) struct Terminal {
    lines: MultiProgress,
    running: RefCell<HashMap<usize, ProgressBar>>,
    all: ProgressBar,
}

impl Terminal {
    /// For a run of `cases` cases.
    pub(super) fn new(cases: usize) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        let all = lines.add(ProgressBar::new(cases as u64));
        all.set_style(style("{pos}/{len} cases · {elapsed}"));
        Self {
            lines,
            running: RefCell::new(HashMap::new()),
            all,
        }
    }

    /// Takes all lines away.
    pub(super) fn clear(&self) {
        self.all.finish_and_clear();
        let _ = self.lines.clear();
    }
}

impl Progress for Terminal {
    fn started(&self, index: usize, case: &Case) {
        let mut running = self.running.borrow_mut();
        if running.len() >= LINES || self.lines.is_hidden() {
            return;
        }
        let bar = ProgressBar::new(milliseconds(case.lab.duration));
        let bar = self.lines.insert_before(&self.all, bar);
        bar.set_style(style(
            "{spinner} {prefix}: {msg} · {elapsed}, at most {left} left",
        ));
        let name = format!("{}/{}", case.scenario, case.name);
        bar.set_prefix(printable(&name).into_owned());
        bar.set_message("building the lab");
        bar.enable_steady_tick(Duration::from_millis(250));
        running.insert(index, bar);
    }

    fn observed(&self, index: usize, event: &Event) {
        let running = self.running.borrow();
        let Some(bar) = running.get(&index) else {
            return;
        };
        match &event.what {
            Observation::LabReady { .. } => bar.set_message("before the fault"),
            Observation::FaultInjected { .. } => bar.set_message("the power is cut"),
            Observation::ConnectionClosed { client, .. } => {
                bar.set_message(format!("{client} gave a connection up"));
            }
            Observation::Response { request, .. } if bar.message().contains("gave") => {
                bar.set_message(format!("{} has a response again", request.client));
            }
            _ => {}
        }
    }

    fn put_off(&self, index: usize) {
        if let Some(bar) = self.running.borrow_mut().remove(&index) {
            bar.finish_and_clear();
        }
    }

    fn finished(&self, index: usize, _result: &CaseResult) {
        if let Some(bar) = self.running.borrow_mut().remove(&index) {
            bar.finish_and_clear();
        }
        self.all.inc(1);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "left",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let whole = Duration::from_millis(state.len().unwrap_or(0));
                let _ = write!(out, "{} s", whole.saturating_sub(state.elapsed()).as_secs());
            },
        )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
