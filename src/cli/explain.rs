//! `halfopen explain`.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::stdout::say;
use super::{Exit, inputs, screen, with_causes};
use crate::explain::{Options, explain as tell};
use crate::input;
use crate::printable::printable_path;
use crate::report::record_reader;
use crate::verdict::judge;

/// Files of a folder that are named where there are too many of them.
const NAMED: usize = 10;

pub(super) fn explain(path: &Path, client: Option<&str>, verbose: bool) -> Exit {
    let told = the_one_record(path).and_then(|file| tell_file(&file, client, verbose));
    match told {
        Ok(text) => {
            let columns = screen::width_of_stdout();
            say(&screen::folded(text.trim_end(), columns), Exit::Held)
        }
        Err(error) => Exit::usage(&error),
    }
}

/// The record that `path` is, or the only one below it.
fn the_one_record(path: &Path) -> Result<PathBuf, String> {
    let mut files = inputs::files(&[path.to_owned()], &["ndjson"])?;
    if files.len() == 1 {
        return Ok(files.remove(0));
    }
    let mut names: Vec<_> = files
        .iter()
        .take(NAMED)
        .map(|file| format!("  {}", printable_path(file)))
        .collect();
    if files.len() > NAMED {
        names.push(format!("  … and {} more", files.len() - NAMED));
    }
    Err(format!(
        "{} has {} records; choose one:\n{}",
        printable_path(path),
        files.len(),
        names.join("\n")
    ))
}

fn tell_file(path: &Path, client: Option<&str>, verbose: bool) -> Result<String, String> {
    let shown = printable_path(path);
    let named = |error: String| format!("{shown}: {error}");
    if path.extension().is_some_and(|e| e == "pcapng") {
        let record = path.with_extension("ndjson");
        let record = printable_path(&record);
        return Err(named(format!(
            "the packets of a case, not a record: its record is {record}, beside it"
        )));
    }
    let file = input::open(path).map_err(|e| inputs::unread(path, &e))?;
    let record = record_reader::read(BufReader::new(file)).map_err(|e| named(with_causes(&e)))?;
    if let Some(line) = record.cut_off_line {
        if record.events.is_empty() {
            let text =
                "not a record: a record is the *.ndjson file that `halfopen run --record` writes";
            return Err(named(text.to_owned()));
        }
        eprintln!("warning: {shown}: line {line} is cut off and left out");
    }
    let options = Options {
        verbose,
        client,
        colour: screen::has_colours(&io::stdout()),
    };
    tell(&record.events, &judge(&record.events), options).map_err(|e| named(e.to_string()))
}
