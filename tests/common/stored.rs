//! The records in fixtures/records, that other tests read and that one makes anew.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen::record::Event;
use halfopen::report::record_reader;

use crate::command::repository;

/// Where the record of this name is.
pub(crate) fn path(name: &str) -> PathBuf {
    repository(&format!("fixtures/records/{name}.ndjson"))
}

/// What a record says.
pub(crate) fn events(path: &Path) -> Vec<Event> {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    record_reader::read(text.as_slice())
        .expect("a record")
        .events
}
