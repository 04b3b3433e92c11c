//! From the spanned tree to the scenario's types, by serde, without stopping at the first error.
//!
//! serde's derived code gives up a struct at its first error. Three things keep it going: every field of
//! these types is a [`super::value::Spanned`], which takes an error for its own and holds nothing instead; unknown fields are
//! reported and left out before the derived code sees them; and fields that are missing are handed to it as values that
//! report themselves. So one pass finds every error of a file.

mod access;
mod decoder;

use std::cell::RefCell;

use serde::de::{self, Deserialize, Visitor};

use access::{Fields, Items, SpannedAccess, Variant};
use decoder::{DecodeError, Decoder};

use super::diagnostic::{Problem, list};
use super::on_or::ON_OR;
use super::tree::{Entry, Node, Value};
use super::value::{OFF_OR, ONE_OR_LIST, OR_NAMED, SPANNED};

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
            // What a reader of YAML 1.1 makes of `off`, and writes.
            (OFF_OR, Value::Scalar { text, plain: true }) if text == "false" => {
                visitor.visit_none()
            }
            (OFF_OR, Value::Scalar { text, plain: true }) if text == "no" => self.fail(
                format!("`{text}` is not how this is turned off"),
                Some("write `off`".into()),
            ),
            (ON_OR, Value::Scalar { text, plain: true })
                if matches!(text.as_str(), "on" | "true") =>
            {
                visitor.visit_none()
            }
            (OFF_OR | ON_OR, _) => visitor.visit_some(self),
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
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entries = self.entries(&format!("a mapping with the fields {}", list(fields)))?;
        let is_field = |entry: &Entry| fields.contains(&entry.key.as_str());
        let is_named = |entry: &Entry| {
            name == OR_NAMED
                && match &entry.value.value {
                    Value::Map(inner) => inner.is_empty() || inner.iter().any(is_field),
                    Value::Scalar { .. } | Value::List(_) => false,
                }
        };
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| is_field(entry) || is_named(entry));
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
