//! `halfopen tune`.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use super::args::TuneArguments;
use super::progress::Shown;
use super::signals::Signals;
use super::stdout::say;
use super::{Exit, screen, with_causes};
use crate::clock::kernel;
use crate::printable::printable_path;
use crate::report::tuning;
use crate::runner::{self, Clock};
use crate::tune::{self, TuneError, Tuning};

pub(super) fn tune(arguments: &TuneArguments) -> Exit {
    if let Err(exit) = super::run::is_new(arguments.record.as_deref()) {
        return exit;
    }
    let kernels: Vec<_> = arguments.kernel.iter().cloned().collect();
    // Hundreds of quarters of an hour are not for the real clock.
    let clock = match kernel::choose(&kernels).map(|found| found.into_iter().next()) {
        Ok(Some(kernel)) => Clock::Virtual(kernel),
        Ok(None) => return Exit::broken("there is no kernel for the virtual clock"),
        Err(error) => return Exit::broken(&error.to_string()),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = tune::Options {
        runner: runner::Options {
            clock,
            jobs: arguments.jobs.map_or(cores, NonZeroUsize::get),
            record_dir: arguments.record.clone(),
            seed: arguments.seed,
            standstill: Duration::from_secs(arguments.standstill),
            history: false,
        },
        vary: arguments.vary.clone(),
        recommended: arguments.recommended,
        clients: arguments.clients.clone(),
        recover_within: arguments.recover_within,
        survive_blip: arguments.survive_blip,
        partition: arguments.partition,
        loss_runs: arguments.loss_runs,
        draws: arguments.draws,
        filter: arguments.filter.clone(),
        run_all: arguments.run_all,
    };
    let started = super::run::runtime().and_then(|runtime| Ok((runtime, Signals::hear()?)));
    let (runtime, signals) = match started {
        Ok(started) => started,
        Err(error) => return Exit::broken(&format!("failed to start: {error}")),
    };
    let progress = Rc::new(Shown::of_tuning(options.runner.jobs));
    let interrupted = signals.interrupted.clone();
    let run = tune::tune(&arguments.scenario, &options, progress.clone(), interrupted);
    let tuned = runtime.block_on(run);
    progress.clear();
    runtime.shutdown_background();
    signals.run_is_over();
    match tuned {
        Ok(tuning) => write(&tuning, arguments),
        Err(TuneError::Wrong(wrong)) => super::run::refused(&wrong),
        Err(TuneError::Run(error)) => Exit::broken(&with_causes(&error)),
        Err(TuneError::Nothing(why)) => Exit::broken(&format!("nothing could be measured: {why}")),
        Err(TuneError::Interrupted) => {
            eprintln!("interrupted before any setting was measured");
            Exit::Interrupted
        }
    }
}

/// Writes the table, the picture, the page and the JSON.
fn write(tuning: &Tuning, arguments: &TuneArguments) -> Exit {
    let files = [
        (&arguments.svg, tuning::svg as fn(&Tuning) -> String),
        (&arguments.html, tuning::html),
        (&arguments.json, tuning::json),
    ];
    for (path, text) in files {
        let Some(path) = path else { continue };
        if let Err(error) = std::fs::write(path, text(tuning)) {
            return Exit::broken(&format!(
                "failed to write {}: {error}",
                printable_path(path)
            ));
        }
    }
    let answered = tuning
        .clients
        .iter()
        .all(|client| !client.answers.is_empty());
    // Who asks for a bound wants to know that it holds.
    let exit = match answered || arguments.survive_blip.is_none() {
        _ if tuning.interrupted => Exit::Interrupted,
        true => Exit::Held,
        false => Exit::Failed,
    };
    let columns = screen::width_of_stdout();
    let table = tuning::table(tuning, arguments.all, columns.unwrap_or(screen::COLUMNS));
    say(&screen::folded(table.trim_end(), columns), exit)
}
