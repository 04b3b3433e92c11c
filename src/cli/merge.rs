//! Records of a run that are in several folders, a shard each: put together as one run, in the run's order.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::inputs;
use crate::printable::{printable, printable_path};
use crate::runner::{CasePlace, RunFile, RunId};

/// A record that is to be judged, or that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Its file.
    Record(PathBuf),
    /// A whole case, repetitions counted as one, of which records are missing.
    Missing(Missing),
}

/// A case of which records are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) scenario: String,
    pub(super) case: String,
    /// Why, in a sentence.
    pub(super) why: String,
}

/// What lies below some paths.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of their runs; what belongs to none comes last, in the order of paths and names.
    pub(super) entries: Vec<Entry>,
    /// What is missing of runs, in sentences.
    pub(super) missing: Vec<String>,
    /// What else should be known.
    pub(super) warnings: Vec<String>,
}

/// A run, as its parts tell of it.
struct Run {
    id: RunId,
    folders: Vec<String>,
    cases: Vec<CasePlace>,
    /// The parts that are there.
    shards: Vec<u32>,
    /// Each clock's records, each case's.
    records: Vec<Vec<Vec<PathBuf>>>,
}

/// Finds the records below `paths`.
///
/// # Errors
/// A sentence, if a path can't be read, there is no record, or one case has two different ones.
pub(super) fn find(paths: &[PathBuf]) -> Result<Found, String> {
    let wanted = |path: &Path| is_record(path) || RunFile::is_named(path);
    let all = inputs::matching(paths, &wanted, "ndjson")?;
    let (mut files, run_files): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|path| !RunFile::is_named(path));
    let mut runs: Vec<Run> = Vec::new();
    for path in run_files {
        let read = RunFile::read(&path).map_err(|error| {
            let causes = super::with_causes(&error);
            format!("{}: {causes}", printable_path(&path))
        })?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        take(&mut runs, read, &folder, &mut files);
    }
    let mut found = Found::default();
    for run in &runs {
        found.tell(run)?;
    }
    tell_of_several(&runs, &mut found);
    found.entries.extend(files.into_iter().map(Entry::Record));
    Ok(found)
}

fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "ndjson")
}

/// Adds a part of a run to those that are known, with its records, which are no longer among `files`.
fn take(runs: &mut Vec<Run>, read: RunFile, folder: &Path, files: &mut Vec<PathBuf>) {
    let known = runs.iter().position(|run| run.is_of(&read));
    let number = known.unwrap_or_else(|| {
        runs.push(Run {
            id: read.run.clone(),
            folders: read.folders.clone(),
            cases: read.cases.clone(),
            shards: Vec::new(),
            records: vec![vec![Vec::new(); read.cases.len()]; read.folders.len()],
        });
        runs.len() - 1
    });
    let run = &mut runs[number];
    if !run.shards.contains(&read.shard) {
        run.shards.push(read.shard);
    }
    let mut own: HashMap<PathBuf, (usize, usize)> = HashMap::new();
    for (clock, of_clock) in read.folders.iter().enumerate() {
        let cases = read.cases.iter().enumerate();
        for (index, case) in cases.filter(|(_, case)| case.shard == read.shard) {
            // Without a folder of its own, `join` would end in a slash.
            let path = match of_clock.as_str() {
                "" => folder.join(&case.record),
                name => folder.join(name).join(&case.record),
            };
            own.insert(path, (clock, index));
        }
    }
    files.retain(|path| match own.get(path) {
        Some((clock, index)) => {
            run.records[*clock][*index].push(path.clone());
            false
        }
        None => true,
    });
}

impl Run {
    fn is_of(&self, part: &RunFile) -> bool {
        self.id == part.run && self.folders == part.folders && self.cases == part.cases
    }

    /// Each whole case, as the range of its repetitions.
    fn whole_cases(&self) -> impl Iterator<Item = &[CasePlace]> {
        self.cases.chunk_by(|before, case| {
            before.repetition < case.repetition
                && before.repetition.is_some()
                && (&before.scenario, &before.case) == (&case.scenario, &case.case)
        })
    }
}

impl Found {
    /// Takes a run's records in its order, and says what is missing of it.
    fn tell(&mut self, run: &Run) -> Result<(), String> {
        let mut twice = 0;
        let mut example = None;
        for of_clock in &run.records {
            let mut index = 0;
            for whole in run.whole_cases() {
                let mut missing = 0;
                for (place, paths) in whole.iter().zip(&of_clock[index..]) {
                    if let [one, .., other] = &paths[..] {
                        alike(place, paths)?;
                        twice += 1;
                        example.get_or_insert((one.clone(), other.clone()));
                    }
                    // Of a case that was never begun there is an empty file.
                    match paths.iter().min().filter(|path| !is_empty(path)) {
                        Some(path) => self.entries.push(Entry::Record(path.clone())),
                        None => missing += 1,
                    }
                }
                index += whole.len();
                if let Some(first) = whole.first().filter(|_| missing > 0) {
                    let why = run.why(first.shard, missing, whole.len());
                    self.entries.push(Entry::Missing(Missing {
                        scenario: first.scenario.clone(),
                        case: first.case.clone(),
                        why,
                    }));
                }
            }
        }
        if let Some((one, other)) = example {
            self.warnings.push(format!(
                "{twice} record{} there twice, alike, and counted once, e.g. {} and {}",
                if twice == 1 { " is" } else { "s are" },
                printable_path(&one),
                printable_path(&other)
            ));
        }
        self.tell_missing(run);
        Ok(())
    }

    /// Shards that are not there, and cases that those which are have not run.
    fn tell_missing(&mut self, run: &Run) {
        // Shards without a case leave nothing out, and there may be very many of them.
        let with_cases: BTreeSet<u32> = run.cases.iter().map(|place| place.shard).collect();
        for shard in with_cases {
            if run.shards.contains(&shard) {
                continue;
            }
            let all = run.whole_cases().filter_map(|one| one.first());
            let cases = all.filter(|place| place.shard == shard).count();
            self.missing.push(format!(
                "shard {shard}/{} is missing: its {} in none of these folders",
                run.id.shards,
                counted_are(cases, "case")
            ));
        }
        for shard in &run.shards {
            let mut lost: Vec<&CasePlace> = Vec::new();
            for of_clock in &run.records {
                let places = run.cases.iter().zip(of_clock);
                lost.extend(
                    places
                        .filter(|(place, paths)| {
                            place.shard == *shard && paths.iter().all(|path| is_empty(path))
                        })
                        .map(|(place, _)| place),
                );
            }
            if let Some(first) = lost.first() {
                self.missing.push(format!(
                    "{} missing of {}, e.g. of {}/{}: the run was ended before",
                    counted_are(lost.len(), "record"),
                    part(*shard, run.id.shards),
                    printable(&first.scenario),
                    printable(&first.case),
                ));
            }
        }
    }
}

impl Run {
    /// Why records of a case are missing.
    fn why(&self, shard: u32, missing: usize, of: usize) -> String {
        let shards = self.id.shards;
        if !self.shards.contains(&shard) {
            return format!("shard {shard}/{shards}, which was to run it, is missing");
        }
        let part = part(shard, shards);
        match of {
            1 => format!("its record is missing: the run of {part} was ended before"),
            _ => format!(
                "{missing} of its {of} records are missing: the run of {part} was ended before"
            ),
        }
    }
}

/// What a part of a run is called.
fn part(shard: u32, of: u32) -> String {
    match of {
        1 => String::from("all cases"),
        of => format!("shard {shard}/{of}"),
    }
}

fn counted(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

fn counted_are(number: usize, what: &str) -> String {
    let are = if number == 1 { "is" } else { "are" };
    format!("{} {are}", counted(number, what))
}

fn is_empty(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() == 0)
}

/// Whether all records of one case are the same; on the virtual clock they are, whoever ran it.
fn alike(place: &CasePlace, paths: &[PathBuf]) -> Result<(), String> {
    let read = |path: &PathBuf| fs::read(path).map_err(|e| inputs::unread(path, &e));
    let Some((first, others)) = paths.split_first() else {
        return Ok(());
    };
    let bytes = read(first)?;
    for other in others {
        if read(other)? != bytes {
            return Err(format!(
                "{}/{} has two different records, {} and {}: leave one of the two folders out",
                place.scenario,
                place.case,
                printable_path(first),
                printable_path(other)
            ));
        }
    }
    Ok(())
}

/// Where the parts of several runs lie side by side, says what the runs differ in: perhaps they should be one.
fn tell_of_several(runs: &[Run], found: &mut Found) {
    let parted: Vec<&Run> = runs.iter().filter(|run| run.id.shards > 1).collect();
    let [first, others @ ..] = &parted[..] else {
        return;
    };
    for other in others {
        let (a, b) = (&first.id, &other.id);
        let filter = |id: &RunId| id.filter.clone().unwrap_or_else(|| String::from("none"));
        let pairs = [
            (
                "number of shards",
                a.shards.to_string(),
                b.shards.to_string(),
            ),
            ("clock", a.clocks.join("; "), b.clocks.join("; ")),
            ("--filter", filter(a), filter(b)),
            ("--seed", a.seed.to_string(), b.seed.to_string()),
            (
                "version of halfopen",
                a.halfopen.clone(),
                b.halfopen.clone(),
            ),
        ];
        let mut differ: Vec<String> = pairs
            .into_iter()
            .filter(|(_, a, b)| a != b)
            .map(|(what, a, b)| format!("{what} ({a}, and {b})"))
            .collect();
        if a.scenarios_sha256 != b.scenarios_sha256 {
            differ.push(String::from("scenarios' texts"));
        }
        if differ.is_empty() {
            differ.push(String::from("cases"));
        }
        found.warnings.push(format!(
            "these are shards of different runs: they differ in {}",
            differ.join(", ")
        ));
    }
}
