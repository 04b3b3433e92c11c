//! Presets: what well-known clients do by default. One YAML file each, one line each in `FILES`.
//!
//! A file names the library and the versions it holds for, and every knob in it has its source. What neither it nor
//! its base names is off.

mod file;
mod knobs;

use std::sync::LazyLock;

use serde::Deserialize;

use crate::plan::{IdleCheck, Protocol, Retry, TimeoutEnds, Transport};
use crate::yaml::suggest;

pub use knobs::{Knob, Origin};

/// The text of each file beside this one.
macro_rules! embedded {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!($name, ".yaml"))),)*]
    };
}

/// Every preset's name and file. A new one is a file and a line here.
const FILES: &[(&str, &str)] = embedded![
    "aiohttp",
    "bare",
    "bare-h2",
    "client-go",
    "client-go-h1",
    "curl",
    "curl-h2",
    "etcdctl",
    "go-http1",
    "go-http1-1.22",
    "go-http2",
    "go-http2-ping",
    "grpc-go",
    "grpc-keepalive",
    "httpx",
    "httpx-h2",
    "hyper",
    "java",
    "java-h1",
    "node-fetch",
    "node-http",
    "okhttp",
    "okhttp-h1",
    "python-requests",
    "reqwest",
    "reqwest-0.11",
    "tonic",
    "urllib3",
];

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let resolve = |(name, _): &(&'static str, &str)| {
        // These files are part of the program, and a test reads every one.
        file::resolve(name, FILES).unwrap_or_else(|error| panic!("{error}"))
    };
    let mut all: Vec<Preset> = FILES.iter().map(resolve).collect();
    all.sort_by_key(|preset| preset.name);
    all
});

/// A named bundle of transport settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Its name in YAML.
    pub name: &'static str,
    /// What it stands for, in one line.
    pub about: String,
    /// The library that behaves like this.
    pub library: String,
    /// The versions of the library it holds for.
    pub version: String,
    /// The preset it begins from.
    pub base: Option<String>,
    /// Its settings.
    pub transport: Transport,
    /// Every knob of a transport, and where its value comes from.
    pub knobs: Vec<Knob>,
    /// Which of them the library sets from another one.
    pub links: Links,
}

/// Knobs that a library sets from others, until they are written themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// What TCP_USER_TIMEOUT is set to.
    pub user_timeout: Option<Linked>,
}

/// A knob that another one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Linked {
    /// How long a PING may go unanswered; off where there are no PINGs.
    #[serde(rename = "ping.timeout")]
    PingTimeout,
}

impl Links {
    /// Sets what follows another knob.
    pub fn follow(self, transport: &mut Transport) {
        match self.user_timeout {
            Some(Linked::PingTimeout) => {
                transport.user_timeout = transport.ping.map(|ping| ping.timeout);
            }
            None => {}
        }
    }
}

/// All presets, by name.
#[must_use]
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

/// The preset called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    presets().iter().find(|preset| preset.name == name)
}

/// The transport of the preset called `name`.
#[must_use]
pub fn preset(name: &str) -> Option<Transport> {
    find(name).map(|preset| preset.transport.clone())
}

/// What to write instead of `name`, which is no preset's.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    suggest(name, presets().iter().map(|preset| preset.name))
}

/// Everything off.
#[must_use]
pub fn bare(protocol: Protocol) -> Transport {
    Transport {
        protocol,
        dial_timeout: None,
        tls_timeout: None,
        request_timeout: None,
        read_timeout: None,
        idle_timeout: None,
        idle_check: IdleCheck::default(),
        keepalive: None,
        keepalive_by_sysctls: false,
        user_timeout: None,
        ping: None,
        timeout_ends: TimeoutEnds::default(),
        ping_after_timeout: None,
        retry: Retry::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RetryOn;

    #[test]
    fn every_file_is_right_and_every_knob_in_it_has_a_source() {
        for (name, _) in FILES {
            let preset = file::resolve(name, FILES).unwrap_or_else(|error| panic!("{error}"));
            for text in [&preset.about, &preset.library, &preset.version] {
                assert!(!text.trim().is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn names_are_unique_and_every_file_is_embedded() {
        let names: Vec<&str> = presets().iter().map(|p| p.name).collect();
        let mut unique = names.clone();
        unique.dedup();
        assert_eq!(names, unique);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/preset");
        let files = std::fs::read_dir(folder).expect("the folder of presets");
        let mut there: Vec<String> = files
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
            .collect();
        there.sort();
        assert_eq!(names, there);
    }

    #[test]
    fn only_http2_presets_ping() {
        for preset in presets() {
            if preset.transport.ping.is_some() || preset.transport.ping_after_timeout.is_some() {
                assert_eq!(preset.transport.protocol, Protocol::H2, "{}", preset.name);
            }
        }
    }

    #[test]
    fn go_sends_again_on_http1_only() {
        let go = |name| preset(name).expect("a preset").retry.on;
        assert_eq!(go("go-http1"), [RetryOn::ReusedConnectionLost]);
        assert_eq!(go("go-http2"), []);
    }

    #[test]
    fn bare_is_everything_off() {
        assert_eq!(preset("bare"), Some(bare(Protocol::H1)));
        assert_eq!(preset("bare-h2"), Some(bare(Protocol::H2)));
    }
}
