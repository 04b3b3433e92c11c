//! The story for a page: what happened by time, with the words that a terminal would be told.

use super::{Options, case_of, counterfactual, explain};
use crate::record::Event;
use crate::result::{CaseResult, History};
use crate::verdict;

/// What happened in a case by time, with its story in words and what would have shortened each client's outage.
/// `None` if the record names no case.
#[must_use]
pub fn history(record: &[Event], result: &CaseResult) -> Option<History> {
    let case = case_of(record)?;
    let mut history = verdict::history(record)?;
    history.story = explain(record, result, Options::default()).unwrap_or_default();
    for told in &mut history.clients {
        let planned = case.lab.clients.iter().find(|c| c.name == told.name);
        let measured = result.client(&told.name);
        // As on a terminal: of one that had no outage nothing would have shortened it.
        let measured = measured.filter(|client| client.unexplained.is_some() && !client.gone);
        if let Some((planned, measured)) = planned.zip(measured) {
            let (_, lines) = counterfactual::lines(planned, case, measured, result);
            told.shorter = lines.iter().map(|line| line.trim().to_owned()).collect();
        }
    }
    Some(history)
}
