//! The table and the reports of `run` and `report`: opened before anything is done, written after it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use super::Exit;
use super::screen;
use super::stdout::UntilClosed;
use crate::printable::printable_path;
use crate::report::{self, OpenReport, ReportTarget, Screen, Shown};
use crate::verdict::CaseResult;

/// Opens every report's file.
///
/// # Errors
/// [`Exit::Usage`], said why: a file can't be opened, or two reports would be mixed in one file or on standard output.
pub(super) fn open(targets: &[ReportTarget]) -> Result<Vec<OpenReport>, Exit> {
    let to_standard_output = targets.iter().filter(|t| t.is_standard_output());
    if to_standard_output.count() > 1 {
        return Err(Exit::usage(
            "--report: only one report can go to standard output (`-`)",
        ));
    }
    // Nothing is opened, and so nothing overwritten, before all of them are known to be right.
    let mut places: Vec<(PathBuf, &ReportTarget)> = Vec::new();
    for target in targets {
        let Some(place) = target
            .place()
            .map_err(|error| cannot_write(target, &error))?
        else {
            continue;
        };
        if let Some((_, other)) = places.iter().find(|(taken, _)| *taken == place) {
            return Err(Exit::usage(&format!(
                "--report: {other:?} and {target:?} are one file, where the second would overwrite the first"
            )));
        }
        places.push((place, target));
    }
    let open = |target: &ReportTarget| target.open().map_err(|error| cannot_write(target, &error));
    targets.iter().map(open).collect()
}

fn cannot_write(target: &ReportTarget, error: &io::Error) -> Exit {
    let file = printable_path(&target.file);
    Exit::usage(&format!("failed to write the report {file}: {error}"))
}

/// Writes the table to standard output, or to standard error where a report has that for itself, and each report to its
/// file. Ends with `exit`; where something could not be written, with [`Exit::Broken`] instead of [`Exit::Held`].
pub(super) fn write(
    results: &[CaseResult],
    reports: &[OpenReport],
    shown: Shown,
    exit: Exit,
) -> Exit {
    let mut all_written = true;
    let taken = reports.iter().any(|r| r.target.is_standard_output());
    let table = match taken {
        true => write_table(
            results,
            shown,
            screen::width_of_stderr(),
            io::stderr().lock(),
        ),
        false => write_table(
            results,
            shown,
            screen::width_of_stdout(),
            io::stdout().lock(),
        ),
    };
    if let Err(error) = table {
        eprintln!("error: failed to write the table: {error}");
        all_written = false;
    }
    for report in reports {
        let mut standard_output = UntilClosed(io::stdout().lock());
        if let Err(error) = report.write(results, &mut standard_output) {
            let file = printable_path(&report.target.file);
            eprintln!("error: failed to write {file}: {error}");
            all_written = false;
        }
    }
    match all_written {
        true => exit,
        false => exit.unless_held(Exit::Broken),
    }
}

fn write_table(
    results: &[CaseResult],
    shown: Shown,
    columns: Option<usize>,
    out: impl Write + IsTerminal,
) -> io::Result<()> {
    let screen = Screen {
        colour: screen::has_colours(&out),
        columns,
    };
    let mut out = UntilClosed(out);
    report::write_table(results, shown, screen, &mut out)?;
    out.flush()
}
