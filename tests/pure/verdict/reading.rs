//! A record read back from its file.

use halfopen::record::Event;
use halfopen::report::record_reader::read;
use halfopen::verdict::judge;

use super::stories;

fn lines(record: &[Event]) -> String {
    let lines = record
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n");
    lines.collect()
}

fn error(text: &[u8]) -> String {
    let error = read(text).expect_err("it is wrong");
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn every_story_is_read_as_it_was_written() {
    for (name, record) in stories::all() {
        let read = read(lines(&record).as_bytes()).unwrap();
        assert_eq!(read.events, record, "{name}");
        assert_eq!(read.cut_off_line, None);
    }
}

#[test]
fn a_last_line_that_was_cut_off_is_left_out() {
    let record = stories::a2().end();
    let text = lines(&record);
    let read = read(&text.as_bytes()[..text.len() - 5]).unwrap();
    assert_eq!(read.events, record[..record.len() - 1]);
    assert_eq!(read.cut_off_line, Some(record.len()));
    let reason = judge(&read.events).reason.unwrap().text;
    assert!(reason.starts_with("the record is cut off"), "{reason}");
}

/// Whatever byte a kill stops it at.
#[test]
fn a_record_may_be_cut_off_at_any_byte() {
    let text = lines(&stories::gone().end());
    let first = text.find('\n').unwrap();
    for length in first + 1..text.len() {
        read(&text.as_bytes()[..length]).unwrap_or_else(|error| panic!("at {length}: {error}"));
    }
}

#[test]
fn an_error_names_its_line() {
    let mut text = lines(&stories::a2().end());
    let third = text.match_indices('\n').nth(1).unwrap().0 + 1;
    text.insert_str(third, "{\"t_ns\":1,\"event\":\"power_failure\"}\n");
    let told = error(text.as_bytes());
    assert!(
        told.starts_with("line 3: not an event: unknown variant `power_failure`"),
        "{told}"
    );
    assert!(error(b"\xff\xfe\n").starts_with("line 1: not an event"));
    assert_eq!(
        error(b"{\"t_ns\":1,\"event\":\"case_ended\"}\n"),
        "line 1: a record begins with `case_started`"
    );
    assert_eq!(error(b""), "the record is empty");
}

#[test]
fn a_record_of_a_later_version_is_refused() {
    let text =
        lines(&stories::a2().end()).replace("\"record_version\":3,", "\"record_version\":4,");
    assert_eq!(
        error(text.as_bytes()),
        "line 1: record version 4; this program reads up to 3"
    );
}
