//! The timeout model against the kernel: hundreds of random combinations of sysctls, socket options, phases and round
//! trips on the virtual clock, always the same ones.
//!
//! `HALFOPEN_SWEEP=N` makes it N cases instead of the few of every test run, and `HALFOPEN_SWEEP_SUMMARY=FILE` writes what
//! came of them (see ci/sweep).

#[path = "../command/mod.rs"]
mod command;
mod generate;
mod judge;

use std::fs;
use std::path::{Path, PathBuf};

use command::{halfopen, kernel_or_skip, outcome};
use generate::{Dice, Drawn, draw};
use halfopen::clock::kernel::Kernel;
use halfopen::record::Event;
use judge::{Judged, judge};

/// Changing it makes another sweep.
const SEED: u64 = 2026;
/// Cases of every test run.
const FEW: usize = 60;

/// Runs `drawn` on `kernel`; judges every record.
fn run(drawn: &[Drawn], kernel: &Kernel) -> Vec<Judged> {
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<PathBuf> = drawn
        .iter()
        .map(|case| {
            let file = folder.path().join(format!("{}.yaml", case.name));
            fs::write(&file, &case.yaml).expect("written");
            file
        })
        .collect();
    let records = folder.path().join("records");
    let mut command = halfopen(["run", "--clock", "virtual", "--record"]);
    command.arg(&records).arg("--kernel").arg(&kernel.path);
    let run = outcome(command.args(&files));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let hz = kernel.about.as_ref().map_or(250, |about| about.hz);
    let record = |case: &Drawn| records.join(format!("{}--default.ndjson", case.name));
    drawn
        .iter()
        .map(|case| judge(&events(&record(case)), hz))
        .collect()
}

fn events(record: &Path) -> Vec<Event> {
    let text = fs::read_to_string(record).expect("a record");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}

#[test]
fn what_is_measured_lies_within_what_is_predicted() {
    let Some(kernel) = kernel_or_skip() else {
        return;
    };
    let cases = std::env::var("HALFOPEN_SWEEP").map_or(FEW, |n| n.parse().expect("a number"));
    let mut dice = Dice::new(SEED);
    let drawn: Vec<_> = (0..cases).map(|n| draw(&mut dice, n, true)).collect();
    let judged = run(&drawn, &kernel);
    let mut failed = 0;
    let model = judge::Model {
        hz: 250,
        more_retries: 0,
        counts_the_probe: false,
    };
    for (case, judged) in drawn.iter().zip(&judged) {
        let error = judged
            .series
            .as_ref()
            .filter(|_| case.kind != generate::Kind::Ping)
            .and_then(|s| s.error(&model));
        let inexact = error.is_some_and(|e| e > std::time::Duration::from_micros(4_100));
        if !judged.outside.is_empty() || inexact {
            failed += 1;
            let dull = [
                "nodes:",
                "servers:",
                "clients:",
                "  c:",
                "    node:",
                "    url:",
                "  s:",
                "faults:",
            ];
            let yaml: Vec<_> = case
                .yaml
                .lines()
                .filter(|l| !dull.iter().any(|d| l.starts_with(d)))
                .map(str::trim)
                .collect();
            println!(
                "=== {:?} {:?} {error:?} {}\n    {:?} {:?}",
                case.kind,
                judged.cause,
                yaml.join("; "),
                judged.outside,
                judged.seen
            );
            if inexact {
                println!("{:?}", judged.series);
            }
        }
    }
    println!("{failed} of {cases}");
    assert_eq!(failed, 0);
}
