//! From the spanned tree to the scenario's types, by serde, without stopping at the first error.
//!
//! serde's derived code gives up a struct at its first error. Three things keep it going: every field of
//! [`super::model`] is a [`Spanned`], which takes an error for its own and holds nothing instead; unknown fields are
//! reported and left out before the derived code sees them; and fields that are missing are handed to it as values that
//! report themselves. So one pass finds every error of a file.

mod access;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, Deserialize, Visitor};

use access::{Fields, Items, SpannedAccess, Variant};

use super::diagnostic::{Problem, list, suggest};
use super::model::{OFF_OR, ONE_OR_LIST, SPANNED};
use super::tree::{Entry, Node, Value};

/// Decodes a whole tree. `None` only where the root itself is of the wrong kind.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(
    root: &Node,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let found = RefCell::new(Vec::new());
    let decoder = Decoder {
        node: root,
        found: &found,
    };
    let result = T::deserialize(decoder);
    if let Err(error) = &result {
        decoder.report(error);
    }
    problems.append(&mut found.into_inner());
    result.ok()
}

/// Why a value could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
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
struct Decoder<'a> {
    node: &'a Node,
    found: &'a RefCell<Vec<Problem>>,
}

impl Decoder<'_> {
    /// Puts an error on the list, in this node's place.
    fn report(&self, error: &DecodeError) {
        if let DecodeError::New(message, help) = error {
            let mut problem = Problem::new(self.node.span, message);
            problem.help.clone_from(help);
            self.found.borrow_mut().push(problem);
        }
    }

    fn locate<T>(&self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| {
            self.report(&error);
            DecodeError::Reported
        })
    }

    fn fail<T>(&self, message: String, help: Option<String>) -> Result<T, DecodeError> {
        self.locate(Err(DecodeError::New(message, help)))
    }

    fn expected<T>(&self, what: &str) -> Result<T, DecodeError> {
        let message = format!("expected {what}, found {}", self.node.describe());
        self.fail(message, None)
    }

    fn text(&self, what: &str) -> Result<&str, DecodeError> {
        match &self.node.value {
            _ if self.node.is_null() => self.expected(what),
            Value::Scalar { text, .. } => Ok(text),
            _ => self.expected(what),
        }
    }

    fn unsigned(&self, max: u64) -> Result<u64, DecodeError> {
        let what = format!("a whole number from 0 to {max}");
        let text = self.text(&what)?;
        let number: Option<u64> = text.replace('_', "").parse().ok();
        match number.filter(|n| *n <= max) {
            Some(number) => Ok(number),
            None => self.expected(&what),
        }
    }

    /// Entries of a mapping; nothing at all counts as an empty one.
    fn entries(&self, what: &str) -> Result<&[Entry], DecodeError> {
        match &self.node.value {
            Value::Map(entries) => Ok(entries),
            _ if self.node.is_null() => Ok(&[]),
            _ => self.expected(what),
        }
    }

    fn unknown_field(&self, entry: &Entry, fields: &'static [&'static str]) {
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

macro_rules! unsigned {
    ($($method:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let number = self.unsigned(u64::from(<$type>::MAX))?;
            self.locate(visitor.visit_u64(number))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Scalar { text, .. } => self.locate(visitor.visit_str(text)),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
    }

    unsigned! {
        deserialize_u8 u8, deserialize_u16 u16, deserialize_u32 u32, deserialize_u64 u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.text("`true` or `false`")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => self.expected("`true` or `false`"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let text = self.text("a word")?;
        self.locate(visitor.visit_str(text))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.locate(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match (name, &self.node.value) {
            (SPANNED, _) => visitor.visit_seq(SpannedAccess::new(Some(self), self.node.span)),
            (OFF_OR, Value::Scalar { text, .. }) if text == "off" => visitor.visit_none(),
            (OFF_OR, Value::Scalar { text, plain: true })
                if matches!(text.as_str(), "false" | "no") =>
            {
                self.fail(
                    format!("`{text}` is not how this is turned off"),
                    Some("write `off`".into()),
                )
            }
            (OFF_OR, _) => visitor.visit_some(self),
            (ONE_OR_LIST, Value::List(_)) => self.deserialize_seq(visitor),
            _ => self.locate(visitor.visit_newtype_struct(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::List(items) => self.locate(visitor.visit_seq(Items {
                items: items.iter(),
                found: self.found,
            })),
            _ => self.expected("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = self.entries("a mapping")?;
        self.locate(visitor.visit_map(Fields::new(self, entries.iter().collect(), &[])))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entries = self.entries(&format!("a mapping with the fields {}", list(fields)))?;
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| fields.contains(&entry.key.as_str()));
        for entry in unknown {
            self.unknown_field(entry, fields);
        }
        self.locate(visitor.visit_map(Fields::new(self, known, fields)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let one_of = format!("one of {}", list(variants));
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => {
                let access = Variant {
                    word: text,
                    content: None,
                    at: self,
                };
                self.locate(visitor.visit_enum(access))
            }
            Value::Map(entries) => match entries.as_slice() {
                [entry] => {
                    let at = Decoder {
                        node: &entry.value,
                        ..self
                    };
                    // An unknown word is the key's fault, not the value's.
                    if !variants.contains(&entry.key.as_str()) {
                        let key = Node::scalar(entry.key_span, &entry.key, true);
                        let error = de::Error::unknown_variant(&entry.key, variants);
                        return Decoder { node: &key, ..self }.locate(Err(error));
                    }
                    let access = Variant {
                        word: &entry.key,
                        content: Some(at),
                        at: self,
                    };
                    self.locate(visitor.visit_enum(access))
                }
                [] => self.expected(&one_of),
                [_, second, ..] => {
                    let message =
                        format!("expected just {one_of}, found {} of them", entries.len());
                    let problem = Problem::new(second.key_span, message).label("one too many");
                    self.found.borrow_mut().push(problem);
                    Err(DecodeError::Reported)
                }
            },
            _ => self.expected(&one_of),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
        ignored_any
    }
}
