//! A transport's knobs by name, with their values as a scenario writes them.

use std::time::Duration;

use serde_json::Value;

use crate::plan::{IdleCheck, Keepalive, Ping, Retry, TimeoutEnds, Transport, word};

/// One knob of a preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knob {
    /// Its name in YAML.
    pub name: &'static str,
    /// Its value, as JSON would have it in a scenario: times as texts with units, `off` for what is off.
    pub value: Value,
    /// Its value in one line, for people.
    pub text: String,
    /// Where the value comes from; `None` where no file names it, so that it is off.
    pub origin: Option<Origin>,
}

/// Where a knob's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The preset whose file names it: this one, or one it begins from.
    pub preset: String,
    /// What says so.
    pub source: String,
}

impl Knob {
    /// Whether it is off, or stands where nearly all clients have it.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.value == "off"
            || self.value == word(&IdleCheck::default())
            || self.value == word(&TimeoutEnds::default())
    }
}

/// A value for programs, and for people.
pub(super) type Values = (Value, String);

/// The value of every knob of a transport, by the knob's name.
pub(super) fn values(transport: &Transport) -> [(&'static str, Values); 13] {
    // A knob that is new is noticed here.
    let Transport {
        protocol,
        dial_timeout,
        tls_timeout,
        request_timeout,
        read_timeout,
        idle_timeout,
        idle_check,
        keepalive,
        keepalive_by_sysctls,
        user_timeout,
        ping,
        timeout_ends,
        ping_after_timeout,
        retry,
    } = transport;
    [
        ("protocol", one(word(protocol))),
        ("dial_timeout", limit(*dial_timeout)),
        ("tls_timeout", limit(*tls_timeout)),
        ("request_timeout", limit(*request_timeout)),
        ("read_timeout", limit(*read_timeout)),
        ("idle_timeout", limit(*idle_timeout)),
        ("idle_check", one(word(idle_check))),
        (
            "keepalive",
            match keepalive_by_sysctls {
                true => one("on".to_owned()),
                false => keepalive.map_or_else(off, of_keepalive),
            },
        ),
        ("user_timeout", limit(*user_timeout)),
        ("ping", ping.map_or_else(off, of_ping)),
        ("timeout_ends", one(word(timeout_ends))),
        ("ping_after_timeout", limit(*ping_after_timeout)),
        ("retry", of_retry(retry)),
    ]
}

fn one(text: String) -> Values {
    (text.as_str().into(), text)
}

fn off() -> Values {
    one("off".to_owned())
}

fn time(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_millis()),
    }
}

fn limit(limit: Option<Duration>) -> Values {
    limit.map_or_else(off, |limit| one(time(limit)))
}

fn of_keepalive(keepalive: Keepalive) -> Values {
    group(vec![
        ("idle", one(time(keepalive.idle))),
        ("interval", one(time(keepalive.interval))),
        (
            "count",
            (keepalive.count.into(), keepalive.count.to_string()),
        ),
    ])
}

fn of_ping(ping: Ping) -> Values {
    let while_idle = (ping.while_idle.into(), ping.while_idle.to_string());
    group(vec![
        ("idle", one(time(ping.idle))),
        ("timeout", one(time(ping.timeout))),
        ("while_idle", while_idle),
    ])
}

fn of_retry(retry: &Retry) -> Values {
    if retry.attempts == 0 {
        return off();
    }
    let on: Vec<String> = retry.on.iter().map(word).collect();
    let text = on.join(" or ");
    let attempts = (retry.attempts.into(), retry.attempts.to_string());
    let mut fields = vec![("attempts", attempts), ("on", (on.into(), text))];
    if !retry.backoff.is_zero() {
        fields.push(("backoff", one(time(retry.backoff))));
    }
    group(fields)
}

fn group(fields: Vec<(&str, Values)>) -> Values {
    let text = fields
        .iter()
        .map(|(name, (_, text))| format!("{name} {text}"));
    let text: Vec<String> = text.collect();
    let fields = fields
        .into_iter()
        .map(|(name, (value, _))| (name.to_owned(), value));
    (Value::Object(fields.collect()), text.join(", "))
}
