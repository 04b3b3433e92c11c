//! `halfopen check`.

use std::path::PathBuf;

use super::stdout::say;
use super::{Exit, run, screen};
use crate::plan::Case;
use crate::printable::printable;

pub(super) fn check(paths: &[PathBuf]) -> Exit {
    let cases = match run::cases(paths, None, 0) {
        Ok(cases) => cases,
        Err(exit) => return exit,
    };
    warn(&cases);
    let right = format!(
        "{} case{}, nothing wrong",
        cases.len(),
        if cases.len() == 1 { "" } else { "s" }
    );
    say(&right, Exit::Held)
}

/// Says the traps that the plans noticed, each once.
pub(super) fn warn(cases: &[Case]) {
    let mut said = std::collections::HashSet::new();
    for warning in cases.iter().flat_map(|case| &case.warnings) {
        let at = &warning.location;
        if said.insert((warning.text.clone(), at.clone())) {
            let (text, file) = (printable(&warning.text), printable(&at.file));
            let text = format!("warning: {text} ({file}:{}:{})", at.line, at.column);
            eprintln!("{}", screen::folded(&text, screen::width_of_stderr()));
        }
    }
}
