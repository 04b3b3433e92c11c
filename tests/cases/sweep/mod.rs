//! The timeout model against the kernel: hundreds of random combinations of sysctls, socket options, phases and round
//! trips on the virtual clock, always the same ones; and as many of faults that heal.
//!
//! `HALFOPEN_SWEEP=N` makes it N cases instead of the few of every test run, and `HALFOPEN_SWEEP_SUMMARY=FILE` writes what
//! came of them (see ci/sweep).

mod generate;
mod judge;
mod summary;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use generate::{Dice, Drawn, Kind, draw, draw_at_once, draw_healing, draw_reading, draw_sequence};
use halfopen::clock::kernel::{Kernel, built};
use halfopen::plan::Cause;
use halfopen::record::Event;
use judge::{Judged, Model, judge};

use crate::command::{halfopen, kernel_or_skip, outcome};

/// Changing it makes another sweep.
const SEED: u64 = 2026;
/// Cases of every test run.
const FEW: usize = 60;
/// Of so many cases on the newest kernel, one more runs on each older one.
const OLDER: usize = 10;
/// One tick, and what a program needs to hear of it.
const EXACT: Duration = Duration::from_micros(4_100);

/// A case, and what came of it.
struct Swept {
    drawn: Drawn,
    judged: Judged,
    hz: u64,
}

impl Swept {
    /// By how much `model` misses the end of its retransmissions, given the first RTO on the wire.
    fn error(&self, model: &Model) -> Option<Duration> {
        // With a PING beside the request two segments are out, and which of them is sent again is another matter. Where the
        // neighbour is dead nothing is on the wire, and from a service's own address comes ICMP.
        let others = [
            Kind::Ping,
            Kind::NeighbourDead,
            Kind::Conntrack,
            Kind::Healed,
            Kind::PowerBack,
            Kind::Reading,
            Kind::Several,
            Kind::SideBySide,
            Kind::Heartbeats,
            Kind::Sequence,
        ];
        let series = self.judged.series.as_ref();
        series
            .filter(|_| !others.contains(&self.drawn.kind))?
            .error(model)
    }

    /// What is wrong with it, in words; nothing if nothing is.
    fn complaint(&self) -> Option<String> {
        let error = self.error(&Model::right(self.hz));
        let inexact = error.is_some_and(|error| error > EXACT);
        // Of several faults one may strike a client that the last one has left without a connection.
        let unknown =
            self.judged.cause == Some(Cause::Unknown) && self.drawn.kind != Kind::Sequence;
        let wrong = inexact || unknown || !self.judged.outside.is_empty();
        wrong.then(|| {
            let (drawn, judged) = (&self.drawn, &self.judged);
            format!(
                "{}\n{:#?}\n{:?}, off by {error:?}: {:?}",
                drawn.yaml, judged.outside, judged.seen, judged.series
            )
        })
    }
}

/// How a case is drawn, by its number.
type Draw = fn(&mut Dice, usize, bool) -> Drawn;

/// Draws `count` cases, runs them on `kernel`, and judges every record.
fn sweep(kernel: &Kernel, draw: Draw, count: usize, seed: u64) -> Vec<Swept> {
    let about = kernel
        .about
        .as_ref()
        .expect("a kernel that ci/kernel built");
    let modern = about.version.starts_with('7');
    let mut dice = Dice::new(seed);
    let drawn: Vec<_> = (0..count).map(|n| draw(&mut dice, n, modern)).collect();
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
    let swept = drawn.into_iter().map(|drawn| {
        let record = records.join(format!("{}--default.ndjson", drawn.name));
        Swept {
            judged: judge(&events(&record), about.hz),
            hz: about.hz.into(),
            drawn,
        }
    });
    swept.collect()
}

fn events(record: &Path) -> Vec<Event> {
    let text = fs::read_to_string(record).expect("a record");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}

/// How many cases are drawn.
fn how_many() -> usize {
    std::env::var("HALFOPEN_SWEEP").map_or(FEW, |n| n.parse().expect("a number"))
}

#[test]
fn what_is_measured_lies_within_what_is_predicted() {
    let Some(newest) = kernel_or_skip() else {
        return;
    };
    let cases = how_many();
    let older = built().into_iter().filter(|kernel| {
        let version = kernel.about.as_ref().map(|about| about.version.clone());
        version != newest.about.as_ref().map(|about| about.version.clone())
    });
    let mut kernels: Vec<(Kernel, usize)> = older.map(|kernel| (kernel, cases / OLDER)).collect();
    kernels.push((newest, cases));
    let mut all = Vec::new();
    for (n, (kernel, count)) in kernels.iter().enumerate() {
        let swept = sweep(kernel, draw, *count, SEED + n as u64);
        all.push((kernel.name(), swept));
    }
    nothing_is_wrong(&all);
    let unforeseen = |one: &Swept| !one.judged.predicted;
    assert!(!all.iter().any(|(_, swept)| swept.iter().any(unforeseen)));
    let summary = summary::of(&all);
    summary.controls_fail();
    if let Some(file) = std::env::var_os("HALFOPEN_SWEEP_SUMMARY") {
        summary.write(Path::new(&file));
    }
}

fn nothing_is_wrong(all: &[(String, Vec<Swept>)]) {
    let complaints: Vec<_> = all
        .iter()
        .flat_map(|(kernel, swept)| swept.iter().map(move |one| (kernel, one)))
        .filter_map(|(kernel, one)| Some(format!("Linux {kernel}\n{}", one.complaint()?)))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} are wrong:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Of faults that heal most must be predicted, in percent.
const FORESEEN: usize = 80;
/// Of those, so many must show that a fault of another length is another one, in percent.
const SHOWN: usize = 50;

#[test]
fn what_is_measured_of_faults_that_heal_lies_within_what_is_predicted() {
    let Some(newest) = kernel_or_skip() else {
        return;
    };
    let cases = how_many();
    let swept = sweep(&newest, draw_healing, cases, SEED);
    let foreseen = swept.iter().filter(|one| one.judged.predicted).count();
    let mut widths: Vec<_> = swept
        .iter()
        .filter_map(|one| one.judged.recovery_width)
        .collect();
    widths.sort_by(f64::total_cmp);
    println!(
        "{foreseen} of {cases} foreseen, {} with a recovery; the windows' quartiles: {:?}",
        widths.len(),
        [1, 2, 3].map(|quarter| widths.get(widths.len() * quarter / 4))
    );
    // The same measurements, judged by a model in which the fault lasts twice as long, must not pass.
    let shown = |one: &&Swept| one.judged.outside_of_longer;
    let (told, shown) = (
        swept
            .iter()
            .filter(|one| one.judged.recovery_width.is_some())
            .count(),
        swept.iter().filter(shown).count(),
    );
    println!("a fault twice as long: wrong in {shown} of {told}");
    assert!(shown * 100 >= told * SHOWN, "{shown} of {told}");
    nothing_is_wrong(&[(newest.name(), swept)]);
    assert!(foreseen * 100 >= cases * FORESEEN, "{foreseen} of {cases}");
}

/// Of responses that go on so many must be predicted, in percent: one that is cut again and again may be in its pause.
const FORESEEN_READING: usize = 70;

#[test]
fn what_is_measured_of_responses_that_go_on_lies_within_what_is_predicted() {
    of_those_with_windows(draw_reading, FORESEEN_READING);
}

/// The same of what is done at once: of connections that are closed while others rest, nobody knows whose they are.
const FORESEEN_AT_ONCE: usize = 50;

#[test]
fn what_is_measured_of_things_done_at_once_lies_within_what_is_predicted() {
    of_those_with_windows(draw_at_once, FORESEEN_AT_ONCE);
}

/// Of faults one after the other so many outages must be told, in percent: one may not be over when the next fault strikes.
const FORESEEN_OUTAGES: usize = 40;

#[test]
fn what_is_measured_of_each_of_several_faults_lies_within_what_is_predicted() {
    let Some(newest) = kernel_or_skip() else {
        return;
    };
    let swept = sweep(&newest, draw_sequence, how_many(), SEED);
    let sum = |of: fn(&(usize, usize)) -> usize| {
        swept
            .iter()
            .map(|one| of(&one.judged.foreseen_outages))
            .sum::<usize>()
    };
    let (told, all) = (sum(|of| of.0), sum(|of| of.1));
    println!("{told} of {all} outages told");
    nothing_is_wrong(&[(newest.name(), swept)]);
    assert!(told * 100 >= all * FORESEEN_OUTAGES, "{told} of {all}");
}

/// A sweep of which at least so many of a hundred cases must be predicted to end.
fn of_those_with_windows(draw: Draw, least: usize) {
    let Some(newest) = kernel_or_skip() else {
        return;
    };
    let cases = how_many();
    let swept = sweep(&newest, draw, cases, SEED);
    let foreseen = swept
        .iter()
        .filter(|one| one.judged.width.is_some())
        .count();
    println!("{foreseen} of {cases} with a window");
    nothing_is_wrong(&[(newest.name(), swept)]);
    assert!(foreseen * 100 >= cases * least, "{foreseen} of {cases}");
}
