//! A node about to be decoded, and what can be wrong with it.

use std::cell::RefCell;
use std::fmt;

use serde::de;

use crate::yaml::diagnostic::{Problem, list, suggest};
use crate::yaml::tree::{Entry, Node, Value};

/// Why a value could not be decoded.
#[derive(Debug)]
pub(in crate::yaml) enum DecodeError {
    /// It is in the list of problems already.
    Reported,
    /// Not there yet: message, and perhaps what would be right.
    New(String, Option<String>),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => f.write_str("reported"),
            Self::New(message, _) => f.write_str(message),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    /// The first line is the message, what follows the help.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, help)) => Self::New(message.to_owned(), Some(help.to_owned())),
            None => Self::New(text, None),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::New(format!("expected {expected}, found {found}"), None)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let message = format!("`{variant}` is not possible here");
        Self::New(message, suggest(variant, known.iter().copied()))
    }
}

/// A node about to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    pub(super) node: &'a Node,
    pub(super) found: &'a RefCell<Vec<Problem>>,
}

impl Decoder<'_> {
    /// Puts an error on the list, in this node's place.
    pub(super) fn report(&self, error: &DecodeError) {
        if let DecodeError::New(message, help) = error {
            let mut problem = Problem::new(self.node.span, message);
            problem.help.clone_from(help);
            self.found.borrow_mut().push(problem);
        }
    }

    pub(super) fn locate<T>(&self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| {
            self.report(&error);
            DecodeError::Reported
        })
    }

    pub(super) fn fail<T>(&self, message: String, help: Option<String>) -> Result<T, DecodeError> {
        self.locate(Err(DecodeError::New(message, help)))
    }

    pub(super) fn expected<T>(&self, what: &str) -> Result<T, DecodeError> {
        let message = format!("expected {what}, found {}", self.node.describe());
        self.fail(message, None)
    }

    pub(super) fn text(&self, what: &str) -> Result<&str, DecodeError> {
        match &self.node.value {
            _ if self.node.is_null() => self.expected(what),
            Value::Scalar { text, .. } => Ok(text),
            _ => self.expected(what),
        }
    }

    pub(super) fn unsigned(&self, max: u64) -> Result<u64, DecodeError> {
        let what = format!("a whole number from 0 to {max}");
        let text = self.text(&what)?;
        let number: Option<u64> = text.replace('_', "").parse().ok();
        match number.filter(|n| *n <= max) {
            Some(number) => Ok(number),
            None => self.expected(&what),
        }
    }

    /// Entries of a mapping; nothing at all counts as an empty one.
    pub(super) fn entries(&self, what: &str) -> Result<&[Entry], DecodeError> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ if self.node.is_null() => Ok(&[]),
            _ => self.expected(what),
        }
    }

    pub(super) fn unknown_field(&self, entry: &Entry, fields: &'static [&'static str]) {
        let known = list(fields);
        let near = suggest(&entry.key, fields.iter().copied())
            .and_then(|s| s.split_once('?').map(|(near, _)| format!("{near}? ")))
            .unwrap_or_default();
        let message = match &entry.matrix_key {
            Some(key) => format!(
                "matrix key `{key}` matches nothing: there is no field `{}`",
                entry.key
            ),
            None => format!("unknown field `{}`", entry.key),
        };
        self.found.borrow_mut().push(
            Problem::new(entry.key_span, message)
                .label("not a field")
                .help(format!("{near}Fields here are {known}")),
        );
    }
}
