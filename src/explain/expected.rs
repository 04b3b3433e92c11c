//! What was expected, beside what was measured and by how much that was missed.

use super::Told;
use crate::result::{CaseResult, ExpectationResult};

/// Of a client, a line an expectation.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let own = told.result.expectations.iter();
    let own = own.filter(|e| e.client == told.client.name && e.counter.is_none());
    // The evidence of the cause has a line of its own.
    let evidence = told.client.evidence.as_ref();
    let evidence = evidence.map(|evidence| format!(" ({evidence})"));
    let each = own.map(|expectation| {
        let mut measured = expectation.measured();
        if let Some(evidence) = &evidence {
            measured = measured.replacen(evidence, "", 1);
        }
        line(told.result, expectation, &expectation.what(), &measured)
    });
    each.collect()
}

/// Of the counters, whosever they are.
pub(super) fn of_counters(result: &CaseResult) -> Vec<String> {
    let counters = result.expectations.iter().filter(|e| e.counter.is_some());
    let each = counters.map(|e| line(result, e, &e.name(), &e.measured()));
    each.collect()
}

fn line(
    result: &CaseResult,
    expectation: &ExpectationResult,
    name: &str,
    measured: &str,
) -> String {
    let ExpectationResult {
        verdict, expected, ..
    } = expectation;
    // Why nothing was judged stands above all this.
    let place = expectation.place();
    if !result.judged {
        return format!("expected {name} {expected}: not judged ({place})");
    }
    format!("expected {name} {expected}: {verdict}, {measured} ({place})")
}
