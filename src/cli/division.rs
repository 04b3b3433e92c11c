//! Which of a run's cases are this machine's, and what it tells the one that puts all together.

use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::{Exit, inputs};
use crate::input;
use crate::plan::Case;
use crate::plan::shard::{self, Shard};
use crate::printable::printable_path;
use crate::runner::{CasePlace, Planned, RunFile, RunId, planned};

/// A run, and the part of it that is ours.
pub(super) struct Division {
    /// Which.
    pub(super) shard: Shard,
    /// Our cases.
    pub(super) own: Vec<Planned>,
    /// How many that are, repetitions counted as one.
    pub(super) own_cases: usize,
    /// How many cases there are altogether, counted so.
    pub(super) all_cases: usize,
    /// All cases of the run.
    places: Vec<CasePlace>,
}

impl Division {
    /// Divides a run.
    pub(super) fn of(cases: Vec<Case>, shard: Shard) -> Self {
        let shards = shard::divided(&cases, shard.of);
        let whole = shard::whole_cases(&cases);
        let own_cases = whole
            .iter()
            .filter(|one| shards[one.start] == shard.number)
            .count();
        // A record's name is the same whichever part its case is in.
        let planned = planned(cases);
        let places = planned.iter().zip(&shards);
        let places = places.map(|(Planned { case, record }, shard)| CasePlace {
            scenario: case.scenario.clone(),
            case: match &case.repetition {
                Some(repetition) => repetition.case.clone(),
                None => case.name.clone(),
            },
            repetition: case.repetition.as_ref().map(|r| r.number),
            shard: *shard,
            record: record.clone(),
        });
        Self {
            shard,
            places: places.collect(),
            own_cases,
            all_cases: whole.len(),
            own: planned
                .into_iter()
                .zip(shards)
                .filter(|(_, number)| *number == shard.number)
                .map(|(one, _)| one)
                .collect(),
        }
    }

    /// What there is to say of this part, in a sentence; `None` if it is the whole run.
    pub(super) fn told(&self) -> Option<String> {
        let Shard { of, .. } = self.shard;
        let cases = match self.all_cases {
            1 => String::from("1 case"),
            all => format!("{all} cases"),
        };
        match (of, self.own_cases) {
            (1, _) => None,
            (_, 0) => Some(format!("no case in this shard: {of} shards for {cases}")),
            (_, own) => Some(format!("shard {}: {own} of {cases}", self.shard)),
        }
    }

    /// Writes beside the records which run they are of.
    ///
    /// # Errors
    /// [`Exit::Usage`] or [`Exit::Broken`], said why.
    pub(super) fn write(
        &self,
        into: &Path,
        scenarios: &[PathBuf],
        filter: Option<&str>,
        seed: u64,
        clocks: Vec<String>,
        folders: Vec<String>,
    ) -> Result<(), Exit> {
        let run = RunId {
            halfopen: env!("CARGO_PKG_VERSION").to_owned(),
            scenarios_sha256: texts(scenarios).map_err(|e| Exit::usage(&e))?,
            filter: filter.map(str::to_owned),
            seed,
            clocks,
            shards: self.shard.of,
        };
        let file = RunFile::new(run, self.shard.number, folders, self.places.clone());
        file.write(into).map_err(|(path, error)| {
            Exit::broken(&format!(
                "failed to write {}: {error}",
                printable_path(&path)
            ))
        })
    }
}

/// The SHA-256 of all scenarios' texts. Where they lie is another place on each machine.
fn texts(paths: &[PathBuf]) -> Result<String, String> {
    let mut digest = Context::new(&SHA256);
    for path in inputs::files(paths, &["yaml", "yml"])? {
        let mut text = Vec::new();
        input::open(&path)
            .and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut text))
            .map_err(|e| inputs::unread(&path, &e))?;
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(&text);
    }
    let bytes = digest.finish();
    Ok(bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect())
}
