//! What a program writes, line by line.

use regex::Regex;
use serde_json::Value;

use crate::plan::OwnWords;

/// A longer line is cut.
const LONGEST: usize = 4 << 10;

/// Takes lines out of what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// The one that has no end yet.
    open: Vec<u8>,
}

impl LineReader {
    /// Calls `whole` with every line that ends in `bytes`, without its end.
    pub(super) fn take(&mut self, bytes: &[u8], mut whole: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST - self.open.len();
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                whole(String::from_utf8_lossy(&self.open).trim_end());
                self.open.clear();
            }
        }
    }

    /// The line that has no end yet.
    pub(super) fn open(&self) -> String {
        String::from_utf8_lossy(&self.open).trim_end().to_owned()
    }
}

/// Hears in a program's lines how its work went.
#[derive(Debug)]
pub(super) enum Listener {
    Matching {
        ok: Option<Regex>,
        error: Option<Regex>,
        leads: Option<Regex>,
        follows: Option<Regex>,
    },
    Json,
}

impl Listener {
    /// Expressions were read before, when the scenario was.
    pub(super) fn of(words: &OwnWords) -> Self {
        let read = |pattern: &Option<String>| Regex::new(pattern.as_ref()?).ok();
        match words {
            OwnWords::Matching {
                ok,
                error,
                leads,
                follows,
            } => Self::Matching {
                ok: read(ok),
                error: read(error),
                leads: read(leads),
                follows: read(follows),
            },
            OwnWords::Json => Self::Json,
        }
    }

    /// Whether a line says that the program leads, or that it does no more; nothing if it says neither.
    pub(super) fn leads(&self, line: &str) -> Option<bool> {
        match self {
            Self::Matching { leads, follows, .. } => {
                let (leads, follows) = (is(leads, line), is(follows, line));
                (leads || follows).then_some(!follows)
            }
            Self::Json => None,
        }
    }

    /// Whether a line says that all is well, or that something failed; nothing if it says neither. Who says both has failed.
    pub(super) fn hear(&self, line: &str) -> Option<bool> {
        match self {
            Self::Matching { ok, error, .. } => {
                let (ok, error) = (is(ok, line), is(error, line));
                (ok || error).then_some(!error)
            }
            Self::Json => {
                let said: Value = serde_json::from_str(line).ok()?;
                let none = [Value::Null, Value::Bool(false), Value::from("")];
                let error = said.get("error").filter(|error| !none.contains(error));
                match error {
                    Some(_) => Some(false),
                    None => said.get("ok")?.as_bool(),
                }
            }
        }
    }
}

fn is(pattern: &Option<Regex>, line: &str) -> bool {
    pattern.as_ref().is_some_and(|p| p.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_come() {
        let (mut reader, mut lines) = (LineReader::default(), Vec::new());
        for piece in ["one\r\ntw", "o\n", "\nthree"] {
            reader.take(piece.as_bytes(), |line| lines.push(line.to_owned()));
        }
        assert_eq!(
            (lines, reader.open()),
            (
                vec!["one".into(), "two".into(), String::new()],
                "three".into()
            )
        );
    }

    #[test]
    fn a_line_without_end_takes_no_more_room_than_the_longest() {
        let mut reader = LineReader::default();
        let long = "x".repeat(100_000);
        reader.take(long.as_bytes(), |_| panic!("it has no end"));
        reader.take(long.as_bytes(), |_| panic!("it has no end"));
        assert_eq!(reader.open.len(), LONGEST);
    }

    #[test]
    fn expressions_say_which_lines_are_good() {
        let listener = Listener::of(&OwnWords::Matching {
            ok: Some("^200 ".into()),
            error: Some("timed out|refused".into()),
            leads: Some("acquired lease".into()),
            follows: Some("lost$".into()),
        });
        let heard = ["200 fine", "x 200 ", "read timed out", "200 but timed out"];
        let heard = heard.map(|line| listener.hear(line));
        assert_eq!(heard, [Some(true), None, Some(false), Some(false)]);
        let lines = [
            "acquired lease",
            "200 fine",
            "lease lost",
            "acquired lease, lost",
        ];
        let leads = lines.map(|line| listener.leads(line));
        assert_eq!(leads, [Some(true), None, Some(false), Some(false)]);
    }

    #[test]
    fn json_says_it_by_its_fields() {
        let cases = [
            (r#"{"ok":true,"ms":3}"#, Some(true)),
            (r#"{"ok":false}"#, Some(false)),
            (r#"{"error":"refused"}"#, Some(false)),
            (r#"{"ok":true,"error":null}"#, Some(true)),
            (r#"{"ok":true,"error":""}"#, Some(true)),
            (r#"{"ok":"yes"}"#, None),
            (r#"{"started":1}"#, None),
            ("ok", None),
            ("[true]", None),
        ];
        for (line, expected) in cases {
            assert_eq!(Listener::Json.hear(line), expected, "{line}");
        }
    }
}
