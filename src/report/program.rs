//! Programs that ended before their case did, and what they wrote last.

use crate::verdict::CaseResult;

/// What is told of a program's end.
pub(super) struct Told<'a> {
    /// In a sentence.
    pub(super) end: String,
    /// The last lines of its output.
    pub(super) output: &'a [String],
}

/// The ends of a case's programs, in the order of its clients.
pub(super) fn ends(result: &CaseResult) -> Vec<Told<'_>> {
    let clients = result.clients.iter().filter_map(|client| {
        let output = client.program.as_ref()?.last_output.as_slice();
        let wrote = match output.is_empty() {
            true => "; it wrote nothing",
            false => "; it wrote last:",
        };
        let end = format!("{}: {}{wrote}", client.name, client.program_ended()?);
        Some(Told { end, output })
    });
    clients.collect()
}

/// The same as lines of plain text.
pub(super) fn lines(result: &CaseResult) -> Vec<String> {
    let lines = ends(result).into_iter().flat_map(|Told { end, output }| {
        let output = output.iter().map(|line| format!("  │ {line}"));
        std::iter::once(end).chain(output)
    });
    lines.collect()
}
