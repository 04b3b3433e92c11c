//! The kinds of values a scenario is written with: places, names, durations, `off`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::source::Span;

/// Names by which the decoder knows the wrappers of this module.
pub(crate) const SPANNED: &str = "$halfopen::Spanned";
pub(crate) const OFF_OR: &str = "$halfopen::OffOr";
/// Of a struct that has, besides its fields, named mappings with some of these fields.
pub(crate) const OR_NAMED: &str = "$halfopen::OrNamed";
pub(crate) const ONE_OR_LIST: &str = "$halfopen::OneOrList";

/// Longest duration a scenario may name.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A value and where it stood. Holds nothing where the value was wrong, which is reported already.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// Where it stood.
    pub span: Span,
    /// The value, if it could be read.
    pub value: Option<T>,
}

impl<T> Spanned<T> {
    /// The value, if it could be read.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

/// The value of an optional field, if it is there and could be read.
pub(crate) fn given<T>(field: &Option<Spanned<T>>) -> Option<&T> {
    field.as_ref().and_then(Spanned::get)
}

/// As [`given`], with its place.
pub(crate) fn placed<T>(field: &Option<Spanned<T>>) -> Option<(Span, &T)> {
    let field = field.as_ref()?;
    Some((field.span, field.get()?))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut parts: A,
            ) -> Result<Spanned<T>, A::Error> {
                let start = parts.next_element()?.unwrap_or_default();
                let end = parts.next_element()?.unwrap_or_default();
                Ok(Spanned {
                    span: Span { start, end },
                    // The decoder has put an error on its list; here it only means "nothing".
                    value: parts.next_element().unwrap_or_default(),
                })
            }
        }
        deserializer.deserialize_newtype_struct(SPANNED, Parts(PhantomData))
    }
}

/// Delegates a wrapper's JSON Schema to the type inside.
macro_rules! schema_of_inner {
    ($($wrapper:ident),*) => {$(
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    )*};
}

schema_of_inner!(Spanned);

/// A knob that can be `off`.
#[derive(Debug, Clone, PartialEq)]
pub enum OffOr<T> {
    /// `off`.
    Off,
    /// A value.
    On(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OffOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Choice<T> {
            type Value = OffOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off` or a value")
            }

            fn visit_none<E>(self) -> Result<OffOr<T>, E> {
                Ok(OffOr::Off)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<OffOr<T>, D::Error> {
                T::deserialize(inner).map(OffOr::On)
            }
        }
        deserializer.deserialize_newtype_struct(OFF_OR, Choice(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OffOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OffOr_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // For a reader of YAML 1.1 `off` is a boolean.
        json_schema!({ "anyOf": [{ "enum": ["off", false] }, generator.subschema_for::<T>()] })
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrList<T>(pub Vec<Spanned<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Choice<T> {
            type Value = OneOrList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list of them")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                one: D,
            ) -> Result<OneOrList<T>, D::Error> {
                Ok(OneOrList(vec![Spanned::deserialize(one)?]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<OneOrList<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(OneOrList(all))
            }
        }
        deserializer.deserialize_newtype_struct(ONE_OR_LIST, Choice(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrList<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrList_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// A name and what it names.
pub type NamedEntry<T> = (Spanned<String>, Spanned<T>);

/// Named things, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Vec<NamedEntry<T>>);

impl<T> Named<T> {
    /// Names and values, where both could be read.
    pub fn iter(&self) -> impl Iterator<Item = (&Spanned<String>, &str, &T)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name, name.get()?.as_str(), value.get()?)))
    }

    /// All names, also of values that could not be read.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|(name, _)| name.get().map(String::as_str))
    }

    /// What is called `name`.
    pub fn find(&self, name: &str) -> Option<&Spanned<T>> {
        self.0
            .iter()
            .find(|(n, _)| n.get().is_some_and(|n| n == name))
            .map(|(_, value)| value)
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Named(all))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// A value passed on as it is written: a word or a number.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Text(pub String);

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A duration with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `30s`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                parse_time(text)
                    .map(Time)
                    .map_err(|(message, help)| E::custom(format!("{message}\n{help}")))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit, at most 24h: `30s`, `0.5s`, `200ms`, `1m30s`.",
            "pattern": TIME_PATTERN,
            "examples": ["30s", "0.5s", "200ms", "1m30s"],
        })
    }
}

/// What a duration looks like: whether its units are any, and whether it is too long, the program says.
pub(crate) const TIME_PATTERN: &str = r"^ *([0-9]+(\.[0-9]+)? *[a-zµ]+ *)+$";

/// Reads a duration; the error is what is wrong and what would be right.
fn parse_time(text: &str) -> Result<Duration, (String, String)> {
    let parsed = parse_any_time(text)?;
    if parsed > LONGEST {
        let message = format!("`{}` is longer than 24h", text.trim());
        return Err((message, "no scenario waits longer than a day".to_owned()));
    }
    Ok(parsed)
}

/// As [`parse_time`], however long it is.
pub(crate) fn parse_any_time(text: &str) -> Result<Duration, (String, String)> {
    const RIGHT: &str = "write a number and a unit: `30s`, `200ms`, `1m30s`, `2h`";
    let text = text.trim();
    if text.starts_with('-') {
        return Err((format!("`{text}` is negative"), RIGHT.to_owned()));
    }
    if text.parse::<f64>().is_ok() {
        let unit = format!("write `{text}s` if seconds are meant, `{text}ms` for milliseconds");
        return Err((format!("`{text}` has no unit"), unit));
    }
    humantime::parse_duration(text).map_err(|error| {
        (
            format!("`{text}` is not a duration: {error}"),
            RIGHT.to_owned(),
        )
    })
}

/// A number of bytes with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units of a [`Size`], in bytes.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as `1MiB`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(|message| {
                    E::custom(format!(
                        "{message}\nwrite a whole number and a unit: `64KiB`, `1MiB`, `500kB`"
                    ))
                })
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number of bytes with its unit: `64KiB`, `1MiB`, `500kB`.",
            "pattern": "^[0-9]+ *(B|kB|KiB|MB|MiB|GB|GiB)$",
            "examples": ["64KiB", "1MiB", "500kB"],
        })
    }
}

/// Reads a size; the error is what is wrong.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| format!("`{text}` has no unit"))?;
    let (number, unit) = text.split_at(unit_at);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(unit)
        .and_then(|(number, (_, unit))| number.checked_mul(*unit));
    bytes.ok_or_else(|| format!("`{text}` is not a size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size(" 2 MB "), Ok(2_000_000));
        assert_eq!(parse_size("64"), Err("`64` has no unit".to_owned()));
        for wrong in ["", "MiB", "-1MiB", "1.5MiB", "1mib", "99999999999999MiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(parse_time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("200ms"), Ok(Duration::from_millis(200)));
        let (message, help) = parse_time("30").expect_err("no unit");
        assert_eq!(message, "`30` has no unit");
        assert!(help.contains("`30s`"));
        assert!(
            parse_time("-5s")
                .expect_err("negative")
                .0
                .contains("negative")
        );
        assert!(parse_time("25h").expect_err("long").0.contains("24h"));
        assert!(parse_time("soon").is_err());
    }
}
