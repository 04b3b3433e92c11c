//! `halfopen init`: small files to begin with, of this version, in the user's own repository.

mod kinds;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Exit;
use super::args::InitKind;
use super::stdout::say;

/// What is written for a kind, and what is said of it.
struct Written {
    /// Files with their texts. None of them may be there.
    files: Vec<(PathBuf, String)>,
    /// What is to be done next.
    next: String,
}

/// Writes what `kind` says; without one, a scenario to `path`.
pub(super) fn init(kind: Option<InitKind>, path: PathBuf) -> Exit {
    let kind = match kind {
        Some(kind) => kind,
        // A kind that is written wrongly is no file's name.
        None if path.extension().is_none() => {
            return Exit::usage(&format!(
                "there is no kind `{0}` (`halfopen init --help` lists them); a scenario is written to that file by `halfopen \
                 init scenario {0}`",
                path.display()
            ));
        }
        None => InitKind::Scenario { path },
    };
    let written = match kinds::written(&kind) {
        Ok(written) => written,
        Err(why) => return Exit::usage(&why),
    };
    for (path, text) in &written.files {
        if let Err(error) = write_new(path, text) {
            return Exit::usage(&format!("failed to write {}: {error}", path.display()));
        }
    }
    let files = written
        .files
        .iter()
        .map(|(path, _)| path.display().to_string());
    let files: Vec<_> = files.collect();
    let verb = if files.len() == 1 { "is" } else { "are" };
    let said = format!("{} {verb} written; {}", files.join(" and "), written.next);
    say(&said, Exit::Held)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // create_new: what is there is somebody's work.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file?.write_all(text.as_bytes())
}
