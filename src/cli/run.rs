//! `halfopen run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::{ClockChoice, RunArguments};
use super::progress::Terminal;
use super::{Exit, inputs, with_causes};
use crate::clock::kernel;
use crate::plan::{self, Case, PlanOptions};
use crate::report::{self, Report as _, ReportTarget, Table};
use crate::runner::{self, Clock, Options};
use crate::scenario;
use crate::verdict::{CaseResult, RunSummary};

/// Cases side by side for each core, on the real clock: a case waits nearly all its time.
const JOBS_PER_CORE: usize = 50;

pub(super) fn run(arguments: &RunArguments) -> Exit {
    let cases = match cases(&arguments.paths, arguments.filter.as_deref(), arguments.seed) {
        Ok(cases) => cases,
        Err(exit) => return exit,
    };
    if cases.is_empty() {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        return Exit::broken(&format!("no case's name contains `{filter}`; `halfopen list` names them"));
    }
    let clocks = match clocks(arguments) {
        Ok(clocks) => clocks,
        Err(error) => return Exit::broken(&error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::broken(&format!("failed to start: {error}")),
    };
    let mut results = Vec::new();
    let mut interrupted = false;
    for clock in clocks {
        let options = options(arguments, clock);
        match runtime.block_on(run_until_interrupted(cases.clone(), &options)) {
            Ok((of_clock, stopped)) => {
                results.extend(of_clock);
                interrupted = stopped;
            }
            Err(error) => return Exit::broken(&with_causes(&error)),
        }
        if interrupted {
            break;
        }
    }
    finish(&results, interrupted, &arguments.reports, arguments.require_all)
}

/// The clocks to run every case on.
fn clocks(arguments: &RunArguments) -> Result<Vec<Clock>, kernel::KernelError> {
    let on_virtual = || Ok(kernel::choose(&arguments.kernels)?.into_iter().map(Clock::Virtual).collect());
    match arguments.clock {
        Some(ClockChoice::Real) => Ok(vec![Clock::Real]),
        Some(ClockChoice::Virtual) => on_virtual(),
        None if !arguments.kernels.is_empty() => on_virtual(),
        None => Ok(on_virtual().unwrap_or_else(|_| vec![Clock::Real])),
    }
}

fn options(arguments: &RunArguments, clock: Clock) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = match clock {
        Clock::Real => JOBS_PER_CORE * cores,
        Clock::Virtual(_) => cores,
    };
    Options {
        clock,
        jobs: arguments.jobs.unwrap_or(jobs),
        record_dir: arguments.record.clone(),
        seed: arguments.seed,
        standstill: Duration::from_secs(arguments.standstill),
    }
}

/// Parses and resolves every scenario below `paths`; says all that is wrong with them.
pub(super) fn cases(paths: &[PathBuf], filter: Option<&str>, seed: u64) -> Result<Vec<Case>, Exit> {
    let files = inputs::files(paths, &["yaml", "yml"]).map_err(|e| Exit::usage(&e))?;
    let options = PlanOptions { seed, filter: filter.map(str::to_owned) };
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match scenario::load(&file).and_then(|loaded| plan::cases(&loaded, &options)) {
            Ok(resolved) => cases.extend(resolved),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    if wrong.is_empty() {
        return Ok(cases);
    }
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    eprint!("{}", scenario::render(&wrong, colour));
    Err(Exit::Usage)
}

async fn run_until_interrupted(
    cases: Vec<Case>,
    options: &Options,
) -> Result<(Vec<CaseResult>, bool), runner::RunError> {
    let (interrupt, interrupted) = watch::channel(false);
    let progress = Rc::new(Terminal::new(cases.len()));
    let run = runner::run(cases, options, progress.clone(), interrupted);
    tokio::pin!(run);
    let results = loop {
        tokio::select! {
            results = &mut run => break results,
            () = stop_signal() => {
                let _ = interrupt.send(true);
            }
        }
    };
    progress.clear();
    let interrupted = *interrupt.borrow();
    results.map(|results| (results, interrupted))
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

/// Writes the table and the reports, and says how it ended.
fn finish(results: &[CaseResult], interrupted: bool, reports: &[ReportTarget], require_all: bool) -> Exit {
    let mut exit = Exit::of_run(&RunSummary::of(results), require_all);
    if interrupted {
        eprintln!("interrupted: what was observed until then follows");
        exit = Exit::Interrupted;
    }
    write_reports(results, reports).unwrap_or(exit)
}

/// Writes the table to standard output and each report to its file; the exit only where that failed.
pub(super) fn write_reports(results: &[CaseResult], reports: &[ReportTarget]) -> Option<Exit> {
    if let Err(error) = write_table(results) {
        return Some(Exit::broken(&format!("failed to write the table: {error}")));
    }
    let mut exit = None;
    for report in reports {
        if let Err(error) = report.write(results) {
            exit = Some(Exit::broken(&format!("failed to write {}: {error}", report.file.display())));
        }
    }
    exit
}

fn write_table(results: &[CaseResult]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        report::write_coloured(results, &mut out)
    } else {
        Table.write(results, &mut out)
    }
}
