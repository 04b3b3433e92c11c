//! No record, whatever its numbers, makes judging, a report or an explanation panic.

use std::fs;

use halfopen::explain::{Options, explain};
use halfopen::report::record_reader;
use halfopen::verdict::judge;
use proptest::prelude::*;

use crate::command::run;
use crate::explain::RECORDS;
use crate::stored::path;

/// Reads, judges, reports and explains a record, whatever stands in it.
fn does_not_panic(text: &str) {
    let Ok(record) = record_reader::read(text.as_bytes()) else {
        return;
    };
    let result = judge(&record.events);
    for format in halfopen::report::formats() {
        let written = (format.new)().write(std::slice::from_ref(&result), &mut std::io::sink());
        assert!(written.is_ok(), "{}", format.name);
    }
    let options = Options {
        verbose: true,
        ..Options::default()
    };
    let _ = explain(&record.events, &result, options);
}

/// Numbers that arithmetic fears, or that nobody expects.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "0.5",
    "1e300",
    "255",
    "65535",
    "999999999",
    "2147483647",
    "4294967295",
    "315360000",
    "9223372036854775807",
    "18446744073709551615",
    "null",
];

/// What a counter grew by is summed up.
#[test]
fn a_counter_beyond_all_numbers() {
    let text = fs::read_to_string(path("other-faults")).expect("a record");
    let lines = text.lines().map(|line| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for (_, delta) in event
            .get_mut("deltas")
            .and_then(|it| it.as_object_mut())
            .into_iter()
            .flatten()
        {
            *delta = u64::MAX.into();
        }
        event.to_string() + "\n"
    });
    does_not_panic(&lines.collect::<String>());
}

/// An expectation is shown with its line.
#[test]
fn a_place_beyond_all_lines_and_columns() {
    let text = fs::read_to_string(path("other-faults")).expect("a record");
    let lines = text.lines().map(|line| {
        let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let expectations = event.pointer_mut("/case/expectations");
        for expectation in expectations
            .and_then(|it| it.as_array_mut())
            .into_iter()
            .flatten()
        {
            for field in ["line", "column", "length"] {
                expectation["location"][field] = u64::MAX.into();
            }
        }
        event.to_string() + "\n"
    });
    does_not_panic(&lines.collect::<String>());
}

/// Where the numbers of a JSON text are.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut start = None;
    for (at, character) in text.char_indices() {
        match (start, character.is_ascii_digit()) {
            (None, true) if matches!(before, ':' | '[' | ',') => start = Some(at),
            (Some(from), false) => {
                if matches!(character, ',' | '}' | ']') {
                    found.push(from..at);
                }
                start = None;
            }
            _ => {}
        }
        before = character;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..Default::default() })]

    #[test]
    fn a_record_with_other_numbers_is_read_or_refused(
        name in prop::sample::select(RECORDS.to_vec()),
        in_case in any::<bool>(),
        places in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(NUMBERS.to_vec())),
            1..4,
        ),
    ) {
        let mut text = fs::read_to_string(path(name)).expect("a record");
        for (place, number) in places {
            // The first line, the case, has the most that is reckoned with.
            let end = if in_case { text.find('\n') } else { None };
            let found = numbers(&text[..end.unwrap_or(text.len())]);
            text.replace_range(found[place.index(found.len())].clone(), number);
        }
        does_not_panic(&text);
    }
}

#[test]
fn a_time_beyond_belief_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("record.ndjson");
    let text = fs::read_to_string(path("quickstart")).expect("a record");
    let start = "\"start\":{\"secs\":0";
    assert!(text.contains(start));
    let far = text.replacen(start, "\"start\":{\"secs\":18446744073709551615", 1);
    fs::write(&file, &far).expect("written");
    for command in ["report", "explain"] {
        run([command, file.to_str().expect("UTF-8")]).assert(
            2,
            &["record.ndjson: line 1: 18446744073709551615 seconds; no time in a record is longer"],
        );
    }
}

#[test]
fn a_line_without_an_end_is_refused() {
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let error = record_reader::read(endless).expect_err("it is refused");
    assert!(
        error.to_string().starts_with("line 1: longer than"),
        "{error}"
    );
}
