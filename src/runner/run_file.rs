//! The file beside a run's records that says which run they are of: what puts the folders of several machines together.
//!
//! It stands beside the records, not in them: a case's record is the same whatever runs beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::input;
use crate::plan::shard::Shard;

/// Version of the file's shape.
const RUN_VERSION: u32 = 1;

/// The longest file that is read: a hundred thousand cases.
const LONGEST: u64 = 64 << 20;

/// How its name begins and ends.
const NAME: &str = "halfopen-run";
const EXTENSION: &str = "json";

/// Which run a folder's records are of, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Version of this file's shape.
    pub run_version: u32,
    /// The run.
    pub run: RunId,
    /// Which part of it these records are, from 1.
    pub shard: u32,
    /// Where each clock's records are, from the file's own folder: a folder's name, or nothing.
    pub folders: Vec<String>,
    /// Every case of the whole run, in its order.
    pub cases: Vec<CasePlace>,
}

/// What tells a run from another one: two parts of one run have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunId {
    /// Version of the program.
    pub halfopen: String,
    /// Of the scenarios' texts, one after the other.
    pub scenarios_sha256: String,
    /// What the names of its cases contain.
    pub filter: Option<String>,
    /// Seed.
    pub seed: u64,
    /// The clocks it runs on.
    pub clocks: Vec<String>,
    /// Parts that it is divided into.
    pub shards: u32,
}

/// A case of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CasePlace {
    /// Its scenario.
    pub scenario: String,
    /// Its name; of a repetition, that of the case that is repeated.
    pub case: String,
    /// Which repetition it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
    /// The part it is in.
    pub shard: u32,
    /// Its record's file.
    pub record: String,
}

/// Why a file says nothing of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// It can't be read.
    #[error("failed to read it")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("not what `halfopen run --record` writes there")]
    Shape(#[from] serde_json::Error),
    /// It was written by a later version.
    #[error("run_version {0}; this program reads up to {RUN_VERSION}")]
    Version(u32),
    /// It contradicts itself.
    #[error("shard {0} of {1}: there is none")]
    Shard(u32, u32),
}

impl RunFile {
    /// Of a part of a run.
    #[must_use]
    pub fn new(run: RunId, shard: u32, folders: Vec<String>, cases: Vec<CasePlace>) -> Self {
        Self {
            run_version: RUN_VERSION,
            run,
            shard,
            folders,
            cases,
        }
    }

    /// Its name: parts of a run may be put into one folder.
    #[must_use]
    pub fn name(&self) -> String {
        match self.shard() {
            Shard::WHOLE => format!("{NAME}.{EXTENSION}"),
            Shard { number, of } => format!("{NAME}-{number}-of-{of}.{EXTENSION}"),
        }
    }

    /// Whether a file is one, by its name.
    #[must_use]
    pub fn is_named(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let middle = name.and_then(|name| {
            let stem = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
            stem.strip_prefix(NAME)
        });
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        middle.is_some_and(|middle| {
            let numbers = middle.strip_prefix('-').and_then(|m| m.split_once("-of-"));
            middle.is_empty() || numbers.is_some_and(|(own, of)| number(own) && number(of))
        })
    }

    /// Which part of the run it is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard {
            number: self.shard,
            of: self.run.shards,
        }
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    /// If that can't be written; which path, with why.
    pub fn write(&self, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        let path = folder.join(self.name());
        let write = || {
            fs::create_dir_all(folder)?;
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            fs::write(&path, text)
        };
        write().map_err(|error| (path.clone(), error))
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`RunFileError`].
    pub fn read(path: &Path) -> Result<Self, RunFileError> {
        #[derive(Deserialize)]
        struct Version {
            run_version: u32,
        }
        let mut text = String::new();
        let limited = io::Read::take(input::open(path)?, LONGEST);
        io::Read::read_to_string(&mut io::BufReader::new(limited), &mut text)?;
        let Version { run_version } = serde_json::from_str(&text)?;
        if run_version > RUN_VERSION {
            return Err(RunFileError::Version(run_version));
        }
        let read: Self = serde_json::from_str(&text)?;
        match (1..=read.run.shards).contains(&read.shard) {
            true => Ok(read),
            false => Err(RunFileError::Shard(read.shard, read.run.shards)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_says_which_part_it_is() {
        let of = |number, shards| {
            let run = RunId {
                halfopen: String::from("1.0.0"),
                scenarios_sha256: String::new(),
                filter: None,
                seed: 0,
                clocks: Vec::new(),
                shards,
            };
            RunFile::new(run, number, Vec::new(), Vec::new()).name()
        };
        assert_eq!(of(1, 1), "halfopen-run.json");
        assert_eq!(of(2, 4), "halfopen-run-2-of-4.json");
        for (name, is) in [
            (of(1, 1).as_str(), true),
            (&of(2, 4), true),
            ("halfopen-run-old.json", false),
            ("halfopen-run-a-of-4.json", false),
            ("halfopen-run-2-of-.json", false),
            ("run.json", false),
        ] {
            assert_eq!(
                RunFile::is_named(&Path::new("records").join(name)),
                is,
                "{name}"
            );
        }
    }
}
