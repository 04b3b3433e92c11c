//! A scenario that was run on the virtual clock with its records kept.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen::record::Event;

use crate::command::{Run, kernel_or_skip, repository};

pub(crate) struct Ran {
    pub(crate) run: Run,
    folder: tempfile::TempDir,
}

impl Ran {
    /// `None` without a kernel for the virtual clock.
    pub(crate) fn of(scenario: &Path) -> Option<Self> {
        kernel_or_skip()?;
        let folder = tempfile::tempdir().expect("a folder");
        let records = folder.path().join("records");
        let records = records.to_str().expect("UTF-8");
        let run = Run::of(&[scenario], &["--clock", "virtual", "--record", records]);
        Some(Self { run, folder })
    }

    /// A scenario of the repository, of which so many cases pass.
    pub(crate) fn shipped(path: &str, passed: usize) -> Option<Self> {
        let ran = Self::of(&repository(&format!("scenarios/{path}.yaml")))?;
        ran.run.outcome.assert(0, &[&format!("{passed} passed")]);
        Some(ran)
    }

    pub(crate) fn written(yaml: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let scenario = folder.path().join("scenario.yaml");
        fs::write(&scenario, yaml).expect("written");
        Self::of(&scenario)
    }

    /// The record whose name has `part` in it.
    pub(crate) fn record(&self, part: &str) -> PathBuf {
        let files = fs::read_dir(self.folder.path().join("records")).expect("a folder");
        let mut files = files.map(|file| file.expect("a file").path());
        let is_it = |file: &PathBuf| {
            let name = file.to_string_lossy();
            name.ends_with(".ndjson") && name.contains(part)
        };
        files.find(is_it).expect("a record")
    }

    /// What it has in it.
    pub(crate) fn events(&self, part: &str) -> Vec<Event> {
        let record = fs::read_to_string(self.record(part)).expect("text");
        let events = record.lines();
        events
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect()
    }
}
