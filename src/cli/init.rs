//! `halfopen init`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use super::Exit;
use super::stdout::say;

/// The scenario it writes.
const TEMPLATE: &str = include_str!("init.yaml");

pub(super) fn init(path: &Path) -> Exit {
    // create_new: what is there is somebody's work.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            let written = format!(
                "{} is written; run it with `halfopen run {0}`",
                path.display()
            );
            say(&written, Exit::Held)
        }
        Err(error) => Exit::usage(&format!("failed to write {}: {error}", path.display())),
    }
}
