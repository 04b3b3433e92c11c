//! `halfopen run`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::args::{ClockChoice, RunArguments};
use super::division::Division;
use super::progress::Shown;
use super::signals::Signals;
use super::{Exit, inputs, reports, screen, with_causes};
use crate::clock::kernel::{self, KernelError};
use crate::plan::Case;
use crate::printable::printable_path;
use crate::runner::{self, Clock, Options};
use crate::scenario;
use crate::scenario::{Diagnostic, PlanOptions};
use crate::verdict::{self, CaseResult, RunSummary};

/// Cases side by side for each core, on the real clock: a case waits nearly all its time.
const JOBS_PER_CORE: usize = 50;

pub(super) fn run(arguments: &RunArguments) -> Exit {
    let cases = match cases(
        &arguments.paths,
        arguments.filter.as_deref(),
        arguments.seed,
    ) {
        Ok(cases) => cases,
        Err(exit) => return exit,
    };
    if cases.is_empty() {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        return Exit::broken(&format!(
            "no case's name contains `{filter}`; `halfopen list` names them"
        ));
    }
    if arguments.clock == Some(ClockChoice::Real) && !arguments.kernels.is_empty() {
        return Exit::usage(
            "--kernel names a kernel for the virtual clock; the real clock's is this machine's own",
        );
    }
    let clocks = match clocks(arguments) {
        Ok(clocks) => clocks,
        Err(error) => return Exit::broken(&error.to_string()),
    };
    let started = runtime().and_then(|runtime| Ok((runtime, Signals::hear()?)));
    let (runtime, signals) = match started {
        Ok(started) => started,
        Err(error) => return Exit::broken(&format!("failed to start: {error}")),
    };
    if let Err(exit) = is_new(arguments.record.as_deref()) {
        return exit;
    }
    let division = Division::of(cases, arguments.shard.unwrap_or_default());
    if let Err(exit) = write_run_file(&division, arguments, &clocks) {
        return exit;
    }
    let reports = match reports::open(&arguments.reports.targets) {
        Ok(reports) => reports,
        Err(exit) => return exit,
    };
    let told = division.told();
    if let Some(told) = told.filter(|_| division.own.is_empty() || !arguments.reports.quiet) {
        eprintln!("{told}");
    }
    if division.own.is_empty() {
        // Others have all of them: that is what was asked for.
        return reports::write(&[], &reports, arguments.reports.shown(), Exit::Held);
    }
    let cases: Vec<Case> = division.own.iter().map(|one| one.case.clone()).collect();
    let mut results: Vec<Vec<CaseResult>> = Vec::new();
    let mut unwritten = Vec::new();
    let planned = cases.len() * clocks.len();
    let several = clocks.len() > 1;
    for (index, clock) in clocks.into_iter().enumerate() {
        let mut options = options(arguments, clock);
        if several {
            // One folder a clock and kernel: the same cases have the same names on each.
            options.record_dir = options
                .record_dir
                .map(|dir| dir.join(folder_of(index, &options.clock)));
        }
        let progress = Rc::new(Shown::of_run(
            &cases,
            options.clock.name(),
            options.jobs,
            arguments.reports.quiet,
        ));
        let interrupted = signals.interrupted.clone();
        let run = runner::run(
            division.own.clone(),
            &options,
            progress.clone(),
            interrupted,
        );
        let finished = runtime.block_on(run);
        progress.clear();
        match finished {
            Ok(finished) => {
                results.push(finished.results);
                unwritten.extend(finished.unwritten);
            }
            Err(error) => return Exit::broken(&with_causes(&error)),
        }
        if signals.interrupted() {
            break;
        }
    }
    // A record that is being judged still must not keep an interrupted run.
    runtime.shutdown_background();
    signals.run_is_over();
    let not_begun = planned - results.iter().map(Vec::len).sum::<usize>();
    let interrupted = signals.interrupted();
    if arguments.clock == Some(ClockChoice::Both) && !interrupted {
        compare(&cases, &mut results);
    }
    let folded: Vec<_> = results
        .into_iter()
        .flat_map(|of_clock| verdict::fold(&cases, of_clock))
        .collect();
    let mut exit = Exit::of_run(&RunSummary::of(&folded), arguments.gate.allowed());
    for text in &unwritten {
        exit = exit.unless_held(Exit::broken(text));
    }
    if interrupted {
        eprintln!(
            "interrupted: {not_begun} of {planned} case{} not begun; what was observed of the others follows",
            if planned == 1 { " was" } else { "s were" }
        );
        exit = Exit::Interrupted;
    }
    reports::write(&folded, &reports, arguments.reports.shown(), exit)
}

/// Writes beside the records, if they are kept, which run they are of.
fn write_run_file(
    division: &Division,
    arguments: &RunArguments,
    clocks: &[Clock],
) -> Result<(), Exit> {
    let Some(into) = &arguments.record else {
        return Ok(());
    };
    let folders = match clocks {
        [_] => vec![String::new()],
        several => several
            .iter()
            .enumerate()
            .map(|(index, clock)| folder_of(index, clock))
            .collect(),
    };
    let named = clocks.iter().map(|clock| match clock {
        Clock::Real => clock.name().to_string(),
        Clock::Virtual(kernel) => match &kernel.about {
            Some(about) => format!("{}, Linux {}", clock.name(), about.version),
            None => clock.name().to_string(),
        },
    });
    let filter = arguments.filter.as_deref();
    division.write(
        into,
        &arguments.paths,
        filter,
        arguments.seed,
        named.collect(),
        folders,
    )
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Records are judged one after the other: labs on the real clock need the other processors.
        .max_blocking_threads(1)
        .build()
}

/// Whether records of this run alone will be in a folder.
///
/// # Errors
/// [`Exit::Usage`], said why: there are records already.
pub(super) fn is_new(folder: Option<&Path>) -> Result<(), Exit> {
    let Some(taken) = folder.and_then(record_in) else {
        return Ok(());
    };
    Err(Exit::usage(&format!(
        "--record: there are records already ({}); name a new folder",
        printable_path(&taken)
    )))
}

/// A record below a folder: with those of another run beside them, nobody can tell which are this one's.
fn record_in(folder: &Path) -> Option<PathBuf> {
    let found = inputs::files(&[folder.to_path_buf()], &["ndjson"]).ok()?;
    found.into_iter().find(|path| path != folder)
}

/// Holds every other clock's results against those of the first, the real one.
fn compare(cases: &[Case], results: &mut [Vec<CaseResult>]) {
    if let Some((real, others)) = results.split_first_mut() {
        for other in others {
            for ((case, real), other) in cases.iter().zip(&*real).zip(other) {
                verdict::compare(case, real, other);
            }
        }
    }
}

/// The clocks to run every case on.
fn clocks(arguments: &RunArguments) -> Result<Vec<Clock>, KernelError> {
    let on_virtual = || {
        Ok(kernel::choose(&arguments.kernels)?
            .into_iter()
            .map(Clock::Virtual)
            .collect())
    };
    match arguments.clock {
        Some(ClockChoice::Real) => Ok(vec![Clock::Real]),
        Some(ClockChoice::Virtual) => on_virtual(),
        Some(ClockChoice::Both) => {
            let mut clocks: Vec<Clock> = on_virtual()?;
            clocks.insert(0, Clock::Real);
            Ok(clocks)
        }
        None if !arguments.kernels.is_empty() => on_virtual(),
        None => match on_virtual() {
            // Only where there is none: one that was named and can't be had must not turn into another clock.
            Err(KernelError::NotBuilt) => Ok(vec![Clock::Real]),
            Err(error @ KernelError::Unusable(_)) => {
                eprintln!("warning: {error}; the cases run on the real clock");
                Ok(vec![Clock::Real])
            }
            chosen => {
                warn_of_unusable(&chosen);
                chosen
            }
        },
    }
}

/// Says which of the kernels that were built can't be used, where another one is taken instead.
fn warn_of_unusable(chosen: &Result<Vec<Clock>, KernelError>) {
    if let Ok([Clock::Virtual(kernel)]) = chosen.as_deref() {
        for text in kernel::unusable() {
            eprintln!("warning: {text}; the cases run on {}", kernel.name());
        }
    }
}

/// The real clock's folder of records, where there are several clocks: it comes first.
pub(super) const REAL_FOLDER: &str = "1-real";

/// Name of a clock's folder of records, where there are several.
fn folder_of(index: usize, clock: &Clock) -> String {
    let kernel = match clock {
        Clock::Real => return REAL_FOLDER.to_owned(),
        Clock::Virtual(kernel) => kernel.about.as_ref().map(|about| about.version.as_str()),
    };
    [
        Some((index + 1).to_string().as_str()),
        Some(clock.name().to_string().as_str()),
        kernel,
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("-")
}

fn options(arguments: &RunArguments, clock: Clock) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = match clock {
        Clock::Real => JOBS_PER_CORE * cores,
        Clock::Virtual(_) => cores,
    };
    Options {
        clock,
        jobs: arguments.jobs.map_or(jobs, NonZeroUsize::get),
        record_dir: arguments.record.clone(),
        seed: arguments.seed,
        standstill: Duration::from_secs(arguments.standstill),
        history: arguments.reports.show_history(),
    }
}

/// Parses and resolves every scenario below `paths`; says all that is wrong with them.
pub(super) fn cases(paths: &[PathBuf], filter: Option<&str>, seed: u64) -> Result<Vec<Case>, Exit> {
    let files = inputs::files(paths, &["yaml", "yml"]).map_err(|e| Exit::usage(&e))?;
    let options = PlanOptions {
        seed,
        filter: filter.map(str::to_owned),
    };
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        match scenario::load(&file, &options) {
            Ok(resolved) => cases.extend(resolved),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    match wrong.is_empty() {
        true => Ok(cases),
        false => Err(refused(&wrong)),
    }
}

/// Says what is wrong with scenarios.
pub(super) fn refused(wrong: &[Diagnostic]) -> Exit {
    let colour = screen::has_colours(&std::io::stderr());
    let text = match screen::width_of_stderr() {
        Some(columns) => scenario::render_within(wrong, colour, columns),
        None => scenario::render(wrong, colour),
    };
    eprint!("{text}");
    Exit::Usage
}
