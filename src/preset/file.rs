//! A preset's file: its shape, and what it resolves to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_yaml::Value;

use super::knobs::{Knob, Origin, values};
use super::{Links, Preset, bare};
use crate::plan::{IdleCheck, Keepalive, Ping, Protocol, Retry, RetryOn, TimeoutEnds, Transport};
use crate::yaml::value::Time;

/// Why a preset's file can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PresetError {
    /// It has another shape: a knob nobody knows, a duration without its unit.
    #[error("preset {name}: {source}")]
    Shape {
        /// The preset.
        name: String,
        /// What is wrong.
        source: serde_yaml::Error,
    },
    /// A preset that is not there.
    #[error("preset {name}: there is no such file")]
    Missing {
        /// The preset, or the base of one.
        name: String,
    },
    /// A preset whose base begins from it.
    #[error("preset {name} is its own base")]
    OwnBase {
        /// The preset.
        name: String,
    },
    /// A knob nobody can check.
    #[error("preset {name}: `{knob}` has no source")]
    NoSource {
        /// The preset.
        name: String,
        /// The knob.
        knob: &'static str,
    },
    /// A source of a knob that is not in the file.
    #[error("preset {name}: a source for `{knob}`, which is not in the file")]
    NoKnob {
        /// The preset.
        name: String,
        /// The knob.
        knob: String,
    },
}

/// A knob that can be `off`.
struct OffOr<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OffOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value == "off" {
            return Ok(Self(None));
        }
        T::deserialize(value)
            .map(|on| Self(Some(on)))
            .map_err(D::Error::custom)
    }
}

/// What stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    library: String,
    version: String,
    base: Option<String>,
    #[serde(default)]
    sources: BTreeMap<String, String>,

    protocol: Option<Protocol>,
    dial_timeout: Option<OffOr<Time>>,
    tls_timeout: Option<OffOr<Time>>,
    request_timeout: Option<OffOr<Time>>,
    read_timeout: Option<OffOr<Time>>,
    idle_timeout: Option<OffOr<Time>>,
    idle_check: Option<IdleCheck>,
    keepalive: Option<OffOr<KeepaliveKnob>>,
    user_timeout: Option<OffOr<Time>>,
    ping: Option<OffOr<PingKnob>>,
    timeout_ends: Option<TimeoutEnds>,
    ping_after_timeout: Option<OffOr<Time>>,
    retry: Option<OffOr<RetryKnob>>,

    links: Option<Links>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepaliveKnob {
    idle: Time,
    interval: Time,
    count: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PingKnob {
    idle: Time,
    timeout: Time,
    while_idle: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryKnob {
    attempts: u32,
    on: Vec<RetryOn>,
}

/// Reads the preset called `name` of `files`, which has its base among them.
///
/// # Errors
/// What is wrong with its file, or with one it begins from.
pub(super) fn resolve(
    name: &'static str,
    files: &[(&'static str, &str)],
) -> Result<Preset, PresetError> {
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        if chain.iter().any(|(seen, _)| *seen == name) {
            return Err(PresetError::OwnBase { name });
        }
        let file = read(&name, files)?;
        next = file.base.clone();
        chain.push((name, file));
    }
    let mut transport = bare(Protocol::H1);
    let mut links = Links::default();
    let mut origins = BTreeMap::new();
    for (preset, file) in chain.iter().rev() {
        file.turn(&mut transport);
        if file.user_timeout.is_some() {
            links.user_timeout = None;
        }
        links = file.links.unwrap_or(links);
        links.follow(&mut transport);
        for (knob, source) in &file.sources {
            let origin = Origin {
                preset: preset.clone(),
                source: source.clone(),
            };
            origins.insert(knob.as_str(), origin);
        }
    }
    let knobs = values(&transport).map(|(name, (value, text))| Knob {
        name,
        value,
        text,
        origin: origins.remove(name),
    });
    // `read` has put it there.
    let (_, file) = chain.swap_remove(0);
    Ok(Preset {
        name,
        about: file.about,
        library: file.library,
        version: file.version,
        base: file.base,
        knobs: knobs.into(),
        links,
        transport,
    })
}

fn read(name: &str, files: &[(&'static str, &str)]) -> Result<File, PresetError> {
    let found = files.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| PresetError::Missing {
        name: name.to_owned(),
    })?;
    let file: File = serde_yaml::from_str(text).map_err(|source| PresetError::Shape {
        name: name.to_owned(),
        source,
    })?;
    let named = file.named();
    if let Some(&knob) = named.iter().find(|knob| !file.sources.contains_key(**knob)) {
        let name = name.to_owned();
        return Err(PresetError::NoSource { name, knob });
    }
    if let Some(knob) = file.sources.keys().find(|s| !named.contains(&s.as_str())) {
        return Err(PresetError::NoKnob {
            name: name.to_owned(),
            knob: knob.clone(),
        });
    }
    Ok(file)
}

impl File {
    /// The knobs that it names.
    fn named(&self) -> Vec<&'static str> {
        let there = [
            ("protocol", self.protocol.is_some()),
            ("dial_timeout", self.dial_timeout.is_some()),
            ("tls_timeout", self.tls_timeout.is_some()),
            ("request_timeout", self.request_timeout.is_some()),
            ("read_timeout", self.read_timeout.is_some()),
            ("idle_timeout", self.idle_timeout.is_some()),
            ("idle_check", self.idle_check.is_some()),
            ("keepalive", self.keepalive.is_some()),
            (
                "user_timeout",
                self.user_timeout.is_some() || self.links.is_some_and(|l| l.user_timeout.is_some()),
            ),
            ("ping", self.ping.is_some()),
            ("timeout_ends", self.timeout_ends.is_some()),
            ("ping_after_timeout", self.ping_after_timeout.is_some()),
            ("retry", self.retry.is_some()),
        ];
        let named = there.into_iter().filter(|(_, there)| *there);
        named.map(|(name, _)| name).collect()
    }

    /// Turns the knobs that it names.
    fn turn(&self, transport: &mut Transport) {
        if let Some(protocol) = self.protocol {
            transport.protocol = protocol;
        }
        transport.idle_check = self.idle_check.unwrap_or(transport.idle_check);
        transport.timeout_ends = self.timeout_ends.unwrap_or(transport.timeout_ends);
        limit(&mut transport.dial_timeout, &self.dial_timeout);
        limit(&mut transport.tls_timeout, &self.tls_timeout);
        limit(&mut transport.request_timeout, &self.request_timeout);
        limit(&mut transport.read_timeout, &self.read_timeout);
        limit(&mut transport.idle_timeout, &self.idle_timeout);
        limit(&mut transport.user_timeout, &self.user_timeout);
        limit(&mut transport.ping_after_timeout, &self.ping_after_timeout);
        if let Some(OffOr(keepalive)) = &self.keepalive {
            transport.keepalive = keepalive.as_ref().map(|knob| Keepalive {
                idle: knob.idle.0,
                interval: knob.interval.0,
                count: knob.count,
            });
        }
        if let Some(OffOr(ping)) = &self.ping {
            transport.ping = ping.as_ref().map(|knob| Ping {
                idle: knob.idle.0,
                timeout: knob.timeout.0,
                while_idle: knob.while_idle,
            });
        }
        if let Some(OffOr(retry)) = &self.retry {
            transport.retry = retry.as_ref().map_or_else(Retry::default, |knob| Retry {
                attempts: knob.attempts,
                backoff: Duration::ZERO,
                on: knob.on.clone(),
            });
        }
    }
}

fn limit(knob: &mut Option<Duration>, field: &Option<OffOr<Time>>) {
    if let Some(OffOr(limit)) = field {
        *knob = limit.as_ref().map(|time| time.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "about: a\nlibrary: b\nversion: c\n";

    fn refused(text: &str) -> String {
        let base = "about: a\nlibrary: b\nversion: c\nbase: one\n";
        let text = format!("{HEAD}{text}");
        let files = [("one", text.as_str()), ("two", base)];
        match resolve("one", &files) {
            Ok(preset) => panic!("{preset:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_knob_nobody_knows_is_refused() {
        let error = refused("keep_alive: off\nsources: { keep_alive: x }\n");
        assert!(error.contains("preset one"), "{error}");
        assert!(error.contains("unknown field `keep_alive`"), "{error}");
        let error = refused("keepalive: { idle: 1s, interval: 1s, probes: 3 }\n");
        assert!(error.contains("unknown field `probes`"), "{error}");
    }

    #[test]
    fn a_knob_without_a_source_is_refused_and_so_is_a_source_without_a_knob() {
        assert_eq!(
            refused("dial_timeout: 3s\nsources: {}\n"),
            "preset one: `dial_timeout` has no source"
        );
        assert_eq!(
            refused("ping: off\n"),
            "preset one: `ping` has no source",
            "what is off is a fact as well"
        );
        assert_eq!(
            refused("sources: { retry: x }\n"),
            "preset one: a source for `retry`, which is not in the file"
        );
    }

    #[test]
    fn a_linked_knob_follows_the_other_until_it_is_written_itself() {
        let base = format!(
            "{HEAD}protocol: h2\nping: {{ idle: 3s, timeout: 2s, while_idle: true }}\n\
             links: {{ user_timeout: ping.timeout }}\n\
             sources: {{ protocol: p, ping: q, user_timeout: u }}\n"
        );
        let user_timeout = |text: &str| {
            let derived = format!("{HEAD}base: base\n{text}");
            let files = [("base", base.as_str()), ("derived", derived.as_str())];
            let preset = resolve("derived", &files).expect("a preset");
            preset.transport.user_timeout.map(|time| time.as_secs())
        };
        assert_eq!(user_timeout(""), Some(2));
        let ping = "ping: { idle: 3s, timeout: 7s, while_idle: true }\nsources: { ping: q }\n";
        assert_eq!(user_timeout(ping), Some(7));
        assert_eq!(user_timeout("ping: off\nsources: { ping: q }\n"), None);
        let own = "user_timeout: 9s\nsources: { user_timeout: u }\n";
        assert_eq!(user_timeout(own), Some(9));
    }

    #[test]
    fn a_number_without_its_unit_is_refused() {
        let error = refused("dial_timeout: 30\nsources: { dial_timeout: x }\n");
        assert!(error.contains("duration"), "{error}");
    }

    #[test]
    fn a_base_must_be_there_and_may_not_come_back() {
        assert_eq!(
            refused("base: three\n"),
            "preset three: there is no such file"
        );
        assert_eq!(refused("base: two\n"), "preset one is its own base");
    }

    #[test]
    fn what_a_file_names_takes_the_place_of_its_base_s_and_keeps_its_source() {
        let base = format!(
            "{HEAD}protocol: h2\nread_timeout: 9s\nping: {{ idle: 3s, timeout: 2s, while_idle: true }}\n\
             sources: {{ protocol: p, read_timeout: r, ping: q }}\n"
        );
        let derived = format!("{HEAD}base: base\nping: off\nsources: {{ ping: own }}\n");
        let files = [("base", base.as_str()), ("derived", derived.as_str())];
        let preset = resolve("derived", &files).expect("a preset");
        assert_eq!(preset.transport.ping, None);
        assert_eq!(preset.transport.read_timeout, Some(Duration::from_secs(9)));
        let origin = |name: &str| {
            let knob = preset.knobs.iter().find(|knob| knob.name == name);
            let origin = knob.and_then(|knob| knob.origin.as_ref());
            origin.map(|o| (o.preset.as_str(), o.source.as_str()))
        };
        assert_eq!(origin("ping"), Some(("derived", "own")));
        assert_eq!(origin("read_timeout"), Some(("base", "r")));
        assert_eq!(origin("retry"), None);
    }
}
