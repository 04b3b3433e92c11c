//! How the derived code walks into lists, mappings and enums.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::{self, DeserializeSeed, Visitor};

use super::decoder::{DecodeError, Decoder};
use crate::yaml::diagnostic::Problem;
use crate::yaml::source::Span;
use crate::yaml::tree::{Entry, Node};
use crate::yaml::value::SPANNED;

/// A list's items; an item's error does not stop the next one, since items are [`Spanned`].
pub(super) struct Items<'a> {
    pub(super) items: std::slice::Iter<'a, Rc<Node>>,
    pub(super) found: &'a RefCell<Vec<Problem>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let found = self.found;
        self.items
            .next()
            .map(|node| seed.deserialize(Decoder { node, found }))
            .transpose()
    }
}

/// A mapping's entries, and after them the fields that are not there.
pub(super) struct Fields<'a> {
    of: Decoder<'a>,
    entries: std::vec::IntoIter<&'a Entry>,
    absent: std::vec::IntoIter<&'static str>,
    value: Option<&'a Entry>,
    missing: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        of: Decoder<'a>,
        entries: Vec<&'a Entry>,
        fields: &'static [&'static str],
    ) -> Self {
        let absent: Vec<&'static str> = fields
            .iter()
            .copied()
            .filter(|field| !entries.iter().any(|e| e.key == *field))
            .collect();
        Self {
            of,
            entries: entries.into_iter(),
            absent: absent.into_iter(),
            value: None,
            missing: "",
        }
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        self.value = self.entries.next();
        let (key, span) = match self.value {
            Some(entry) => (entry.key.as_str(), entry.key_span),
            None => match self.absent.next() {
                Some(field) => {
                    self.missing = field;
                    (field, self.of.node.span)
                }
                None => return Ok(None),
            },
        };
        let node = Node::scalar(span, key, false);
        seed.deserialize(Decoder {
            node: &node,
            ..self.of
        })
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value.take() {
            Some(entry) => seed.deserialize(Decoder {
                node: &entry.value,
                ..self.of
            }),
            None => seed.deserialize(Absent {
                of: self.of,
                field: self.missing,
            }),
        }
    }
}

/// A field that is not there: fine if it is optional, otherwise it says so.
struct Absent<'a> {
    of: Decoder<'a>,
    field: &'static str,
}

impl<'de> de::Deserializer<'de> for Absent<'_> {
    type Error = DecodeError;

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name != SPANNED {
            return self.deserialize_any(visitor);
        }
        let problem = Problem::new(
            self.of.node.span,
            format!("field `{}` is missing", self.field),
        )
        .label(format!("`{}` is missing here", self.field));
        self.of.found.borrow_mut().push(problem);
        visitor.visit_seq(SpannedAccess::new(None, self.of.node.span))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
        self.of
            .fail(format!("field `{}` is missing", self.field), None)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What a [`crate::yaml::value::Spanned`] is made of: start, end, and the value where there is one.
pub(super) struct SpannedAccess<'a> {
    value: Option<Decoder<'a>>,
    span: Span,
    step: u8,
}

impl<'a> SpannedAccess<'a> {
    pub(super) fn new(value: Option<Decoder<'a>>, span: Span) -> Self {
        Self {
            value,
            span,
            step: 0,
        }
    }
}

impl<'de> de::SeqAccess<'de> for SpannedAccess<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        use serde::de::value::U64Deserializer;
        self.step += 1;
        let number = match self.step {
            1 => self.span.start,
            2 => self.span.end,
            _ => {
                return self
                    .value
                    .take()
                    .map(|decoder| seed.deserialize(decoder))
                    .transpose();
            }
        };
        seed.deserialize(U64Deserializer::new(number as u64))
            .map(Some)
    }
}

/// An enum's word, and below it its content.
pub(super) struct Variant<'a> {
    pub(super) word: &'a str,
    pub(super) content: Option<Decoder<'a>>,
    pub(super) at: Decoder<'a>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        use serde::de::value::StrDeserializer;
        let word = seed.deserialize(StrDeserializer::<DecodeError>::new(self.word))?;
        Ok((word, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.content {
            None => Ok(()),
            Some(_) => self.at.fail(
                format!("`{}` takes no value", self.word),
                Some(format!("write `{}` alone", self.word)),
            ),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        match self.content {
            Some(content) => seed.deserialize(content),
            None => self.at.fail(
                format!("`{}` needs a value", self.word),
                Some(format!("write `{{ {}: … }}`", self.word)),
            ),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, DecodeError> {
        self.at.expected("a mapping")
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, DecodeError> {
        self.at.expected("a mapping")
    }
}
