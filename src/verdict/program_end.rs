//! How clients' programs ended, and what they wrote last.

use std::collections::VecDeque;

use crate::plan::{Client, OwnWords};
use crate::record::OutputStream;

use super::index::Index;
use super::said;
use crate::result::{ClientResult, ExpectationResult, Note, ProgramResult, Verdict};

/// Last lines of a program's output that are kept, and characters of each.
const LINES: usize = 10;
const CHARACTERS: usize = 400;

/// A client's program, if it is one; of its other figures what it says is compared with.
pub(super) fn of(client: &Client, index: &Index, result: &ClientResult) -> Option<ProgramResult> {
    let words = client.program()?.output.as_ref();
    let listened = words.is_some_and(OwnWords::tell_of_work);
    let Some(events) = index.client(&client.name) else {
        return Some(ProgramResult::default());
    };
    let mut tail = Tail::default();
    for (stream, text) in &events.output {
        tail.wrote(*stream, text);
    }
    let last_output = tail.lines();
    let last = index.last;
    let in_time = events.said.partition_point(|(at, _)| *at <= last);
    // Of what a server that is a program says, the first part of an answer is seen.
    let servers = &index.case.lab.servers;
    let parts_are_seen = servers.iter().all(|server| server.program.is_none());
    let said = listened.then(|| said::of(&events.said[..in_time], result, last, parts_are_seen));
    Some(match events.exited.filter(|_| events.gone.is_none()) {
        Some((at, exit_code, signal)) => ProgramResult {
            ended_at: Some(at).filter(|_| !events.runs_again),
            exit_code,
            signal,
            last_output,
            said,
        },
        None => ProgramResult {
            last_output,
            said,
            ..ProgramResult::default()
        },
    })
}

/// The verdict on a case, one of whose programs had ended before the fault: where nothing is expected of anybody, there was
/// nothing to measure. (Where something is, what was expected of the others was tested.)
pub(super) fn not_passed(
    (verdict, reason): (Verdict, Option<Note>),
    clients: &[ClientResult],
    expectations: &[ExpectationResult],
) -> (Verdict, Option<Note>) {
    let ended = clients.iter().find(|client| client.ended_before_fault());
    match ended.and_then(|client| Some((client, client.program_ended()?))) {
        Some((client, ended)) if verdict == Verdict::Measured && expectations.is_empty() => {
            let text = format!("{}: {ended}", client.name);
            (Verdict::Error, Some(Note::new(text, None)))
        }
        _ => (verdict, reason),
    }
}

/// The last lines of a program's output, as far as it has been read.
#[derive(Default)]
struct Tail {
    lines: VecDeque<(OutputStream, String)>,
    /// Streams whose last line has no end yet.
    open: Vec<OutputStream>,
}

impl Tail {
    fn wrote(&mut self, stream: OutputStream, text: &str) {
        let mut goes_on = self.open.contains(&stream);
        self.open.retain(|open| *open != stream);
        for line in text.lines() {
            let last = self.lines.iter_mut().rev().find(|(own, _)| *own == stream);
            match last.filter(|_| goes_on) {
                Some((_, begun)) => begun.push_str(line),
                None => self.lines.push_back((stream, line.to_owned())),
            }
            goes_on = false;
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
        if !text.ends_with('\n') {
            self.open.push(stream);
        }
    }

    fn lines(self) -> Vec<String> {
        let lines = self.lines.into_iter();
        lines.map(|(_, line)| shortened(line)).collect()
    }
}

/// The beginning of a long line.
fn shortened(line: String) -> String {
    match line.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(written: &[(OutputStream, &str)]) -> Vec<String> {
        let mut tail = Tail::default();
        for (stream, text) in written {
            tail.wrote(*stream, text);
        }
        tail.lines()
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_one() {
        use OutputStream::{Stderr, Stdout};
        let written = [
            (Stdout, "one\ntw"),
            (Stderr, "error\n"),
            (Stdout, "o\nthr"),
            (Stdout, "ee"),
        ];
        assert_eq!(last(&written), ["one", "two", "error", "three"]);
    }

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_are_cut() {
        let many: String = (0..100).map(|n| format!("{n}\n")).collect();
        let kept = last(&[(OutputStream::Stdout, &many)]);
        assert_eq!((kept.len(), kept[0].as_str()), (LINES, "90"));
        let long = last(&[(OutputStream::Stdout, &"é".repeat(5000))]);
        assert_eq!(long[0].chars().count(), CHARACTERS + 1);
    }
}
