//! Knobs by name: where in a scenario each stands, and what it is to whoever sets it in earnest.

use std::rc::Rc;

use crate::plan::{Client, Place, Protocol, Workload};
use crate::preset;
use crate::scenario::Put;
use crate::yaml::source::Span;
use crate::yaml::suggest;
use crate::yaml::tree::{Entry, Node, Value};

/// Knobs of a client's transport, as a scenario calls them.
const TRANSPORT: [&str; 12] = [
    "protocol",
    "dial_timeout",
    "tls_timeout",
    "request_timeout",
    "read_timeout",
    "idle_timeout",
    "idle_check",
    "keepalive",
    "user_timeout",
    "ping",
    "timeout_ends",
    "ping_after_timeout",
];
/// Those that only HTTP/2 has.
const OF_H2: [&str; 3] = ["ping", "timeout_ends", "ping_after_timeout"];
/// Sysctls that are named when a word is none of them; any other of Linux is taken as well.
const SYSCTLS: [&str; 9] = [
    "tcp_retries2",
    "tcp_syn_retries",
    "tcp_syn_linear_timeouts",
    "tcp_rto_max_ms",
    "tcp_rto_min_us",
    "tcp_keepalive",
    "tcp_keepalive_time",
    "tcp_keepalive_intvl",
    "tcp_keepalive_probes",
];
/// Sysctls that the timeout model knows, with the values that Linux takes (net/ipv4/sysctl_net_ipv4.c).
const MODELLED: [(&str, std::ops::RangeInclusive<u64>); 11] = [
    ("tcp_retries2", 0..=255),
    ("tcp_orphan_retries", 0..=255),
    ("tcp_syn_retries", 1..=127),
    ("tcp_syn_linear_timeouts", 0..=127),
    ("tcp_rto_max_ms", 1_000..=120_000),
    ("tcp_rto_min_us", 1..=2_147_483_647),
    ("tcp_keepalive_time", 1..=32_767),
    ("tcp_keepalive_intvl", 1..=32_767),
    ("tcp_keepalive_probes", 1..=127),
    ("tcp_early_retrans", 0..=4),
    ("tcp_sack", 0..=1),
];
/// The three sysctls that `tcp_keepalive` is short for.
const KEEPALIVE: [&str; 3] = [
    "tcp_keepalive_time",
    "tcp_keepalive_intvl",
    "tcp_keepalive_probes",
];

/// Something that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Knob {
    /// A sysctl of IPv4, by its last part, of the client's network namespace.
    Sysctl(String),
    /// The three of keepalive at once.
    KeepaliveSysctls,
    /// A knob of the client's transport.
    Transport(&'static str),
    /// A place in the file.
    Path(String),
}

impl Knob {
    /// The knob that goes by a name, or what would be right.
    pub(super) fn named(name: &str) -> Result<Self, (String, Option<String>)> {
        let word = name.trim_start_matches("net.ipv4.");
        if let Some(known) = TRANSPORT.iter().find(|known| **known == word) {
            return Ok(Self::Transport(known));
        }
        match word {
            "tcp_user_timeout" => Ok(Self::Transport("user_timeout")),
            "tcp_keepalive" => Ok(Self::KeepaliveSysctls),
            _ if word.starts_with("tcp_") && !word.contains('.') => {
                Ok(Self::Sysctl(word.to_owned()))
            }
            _ if word.contains('.') => Ok(Self::Path(name.to_owned())),
            _ => {
                let known = SYSCTLS.into_iter().chain(TRANSPORT);
                Err((format!("there is no knob `{name}`"), suggest(name, known)))
            }
        }
    }

    /// Its name in a setting.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Sysctl(name) | Self::Path(name) => name,
            Self::KeepaliveSysctls => "tcp_keepalive",
            Self::Transport(name) => name,
        }
    }

    /// Whether it counts for every connection of a network namespace, and not for the client's own alone.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Sysctl(_) | Self::KeepaliveSysctls)
    }

    /// Whether a client has a place for it.
    pub(super) fn reaches(&self, client: &Client) -> bool {
        let program = client.program().is_some();
        match self {
            // Of a program nobody knows whether its sockets ask for keepalive.
            Self::KeepaliveSysctls => program || client.transport.keepalive_by_sysctls,
            Self::Sysctl(name) if KEEPALIVE.contains(&name.as_str()) => {
                program || client.transport.keepalive_by_sysctls
            }
            Self::Sysctl(_) => true,
            Self::Transport(_) if program => false,
            Self::Transport(name) if OF_H2.contains(name) => {
                client.transport.protocol == Protocol::H2
            }
            Self::Transport(_) => true,
            Self::Path(path) => match path.strip_prefix("clients.") {
                Some(rest) => rest
                    .strip_prefix(&client.name)
                    .is_some_and(|r| r.starts_with('.')),
                None => true,
            },
        }
    }

    /// Whether the timeout model knows all that it changes; else its settings are run, whatever the model says.
    pub(super) fn is_modelled(&self) -> bool {
        match self {
            Self::Sysctl(name) => MODELLED.iter().any(|(known, _)| known == name),
            Self::KeepaliveSysctls | Self::Transport(_) => true,
            Self::Path(_) => false,
        }
    }

    /// What would be right in the place of a value that Linux refuses, as far as that is known.
    fn refused(&self, value: &Node) -> Option<String> {
        let Self::Sysctl(name) = self else {
            return None;
        };
        let (_, range) = MODELLED.iter().find(|(known, _)| known == name)?;
        let number = match &value.value {
            Value::Scalar { text, .. } => text.trim().parse::<u64>().ok(),
            Value::List(_) | Value::Map(_) => None,
        };
        let fits = number.is_some_and(|number| range.contains(&number));
        (!fits).then(|| {
            format!(
                "write a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }

    /// What is put where, for a client that it reaches.
    ///
    /// # Errors
    /// What would be right in the value's place.
    pub(super) fn puts(&self, value: &Rc<Node>, client: &Client) -> Result<Vec<Put>, String> {
        if let Some(help) = self.refused(value) {
            return Err(help);
        }
        let put = |path: String, value: Rc<Node>| Put { path, value };
        match self {
            Self::Sysctl(name) => Ok(vec![put(sysctl_path(client, name), Rc::clone(value))]),
            Self::KeepaliveSysctls => {
                let (idle, interval, count) = keepalive(value).ok_or(KEEPALIVE_HELP)?;
                let values = [idle, interval, count];
                let each = KEEPALIVE.iter().zip(values);
                Ok(each
                    .map(|(name, value)| put(sysctl_path(client, name), scalar(&value)))
                    .collect())
            }
            Self::Transport("keepalive") => {
                let path = format!("clients.{}.transport.keepalive", client.name);
                let Value::Scalar { text, .. } = &value.value else {
                    return Ok(vec![put(path, Rc::clone(value))]);
                };
                if matches!(text.as_str(), "off" | "on") {
                    return Ok(vec![put(path, Rc::clone(value))]);
                }
                let (idle, interval, count) = keepalive(value).ok_or(KEEPALIVE_HELP)?;
                let fields = [
                    ("idle", format!("{idle}s")),
                    ("interval", format!("{interval}s")),
                    ("count", count),
                ];
                Ok(vec![put(path, map(&fields))])
            }
            Self::Transport("ping") => {
                let path = format!("clients.{}.transport.ping", client.name);
                let text = match &value.value {
                    Value::Scalar { text, .. } if text != "off" => text,
                    _ => return Ok(vec![put(path, Rc::clone(value))]),
                };
                let (idle, timeout) = text
                    .split_once('+')
                    .ok_or("write IDLE+TIMEOUT, e.g. `30s+15s`, or `off`")?;
                let mut fields = vec![("idle", idle.to_owned()), ("timeout", timeout.to_owned())];
                if client.transport.ping.is_none() {
                    // Without requests too: else a connection that lies idle is not looked after.
                    fields.push(("while_idle", String::from("true")));
                }
                Ok(vec![put(path, map(&fields))])
            }
            Self::Transport("request_timeout") => {
                Ok(vec![put(request_timeout_path(client), Rc::clone(value))])
            }
            Self::Transport(name) => {
                let path = format!("clients.{}.transport.{name}", client.name);
                Ok(vec![put(path, Rc::clone(value))])
            }
            Self::Path(path) => Ok(vec![put(path.clone(), Rc::clone(value))]),
        }
    }

    /// What to write, and where, for this value of it.
    pub(super) fn advice(&self, value: &str, client: &Client) -> Vec<String> {
        let place = match &client.place {
            Place::Pod(_) => {
                "in the pod (Kubernetes: spec.securityContext.sysctls, which its kubelet must allow); a pod does not inherit its \
                 node's"
                    .to_owned()
            }
            Place::Node(node) => format!("on {node} (/etc/sysctl.d)"),
        };
        match self {
            Self::Sysctl(name) => vec![format!("net.ipv4.{name} = {value}   {place}")],
            Self::KeepaliveSysctls => {
                let Some([idle, interval, count]) = parts(value) else {
                    return Vec::new();
                };
                let values = [idle, interval, count];
                let each = KEEPALIVE.iter().zip(values);
                each.map(|(name, value)| format!("net.ipv4.{name} = {value}   {place}"))
                    .collect()
            }
            Self::Transport(name) => {
                let mut lines = vec![option(name, value)];
                lines.extend(own_knob(name, client));
                lines
            }
            Self::Path(path) => vec![format!("{path}: {value}   (in the scenario)")],
        }
    }
}

/// As a program or a library has it.
fn option(name: &str, value: &str) -> String {
    match (name, parts(value)) {
        ("keepalive", Some([idle, interval, count])) => format!(
            "on the socket: SO_KEEPALIVE = 1, TCP_KEEPIDLE = {idle}, TCP_KEEPINTVL = {interval}, TCP_KEEPCNT = {count}"
        ),
        ("user_timeout", _) => {
            let time = humantime::parse_duration(value).map(|time| time.as_millis().to_string());
            let time = time.unwrap_or_else(|_| value.to_owned());
            format!("on the socket: TCP_USER_TIMEOUT = {time} (milliseconds)")
        }
        _ => format!("in the client: {name} = {value}"),
    }
}

/// What the library's own knob is called, as far as the preset's source says so.
fn own_knob(name: &str, client: &Client) -> Option<String> {
    let preset = preset::find(&client.profile)?;
    let knob = preset.knobs.iter().find(|knob| knob.name == name)?;
    let origin = knob.origin.as_ref()?;
    Some(format!("in {}: {}", preset.library, origin.source))
}

const KEEPALIVE_HELP: &str = "write IDLE/INTERVALxCOUNT in seconds, e.g. `30/60x9`";

fn sysctl_path(client: &Client, name: &str) -> String {
    match &client.place {
        Place::Pod(_) => format!("clients.{}.sysctls.net.ipv4.{name}", client.name),
        Place::Node(node) => format!("nodes.{node}.sysctls.net.ipv4.{name}"),
    }
}

/// A workload's own limit outranks its transport's.
fn request_timeout_path(client: &Client) -> String {
    match client.workloads.0.as_slice() {
        [work] if work.kind.is_cycle() || matches!(work.kind, Workload::Heartbeat { .. }) => {
            format!(
                "clients.{}.workload.{}.timeout",
                client.name,
                work.kind.name()
            )
        }
        _ => format!("clients.{}.transport.request_timeout", client.name),
    }
}

/// The numbers of `30/60x9`.
fn parts(text: &str) -> Option<[&str; 3]> {
    let (idle, rest) = text.split_once('/')?;
    let (interval, count) = rest.split_once(['x', '×'])?;
    let all = [idle, interval, count].map(str::trim);
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    all.iter().all(number).then_some(all)
}

fn keepalive(value: &Node) -> Option<(String, String, String)> {
    let Value::Scalar { text, .. } = &value.value else {
        return None;
    };
    let [idle, interval, count] = parts(text)?;
    Some((idle.to_owned(), interval.to_owned(), count.to_owned()))
}

fn scalar(text: &str) -> Rc<Node> {
    Rc::new(Node::scalar(Span::default(), text, true))
}

fn map(fields: &[(&str, String)]) -> Rc<Node> {
    let entries = fields.iter().map(|(key, value)| Entry {
        key: (*key).to_owned(),
        key_span: Span::default(),
        value: scalar(value),
        matrix_key: None,
    });
    Rc::new(Node::map(Span::default(), entries.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_sysctl_a_transport_s_knob_or_a_path() {
        let named = |name| Knob::named(name).expect("a knob");
        assert_eq!(named("tcp_retries2"), Knob::Sysctl("tcp_retries2".into()));
        assert_eq!(
            named("net.ipv4.tcp_retries2"),
            Knob::Sysctl("tcp_retries2".into())
        );
        assert_eq!(named("tcp_user_timeout"), Knob::Transport("user_timeout"));
        assert_eq!(named("ping"), Knob::Transport("ping"));
        assert_eq!(
            named("service.aa.removal"),
            Knob::Path("service.aa.removal".into())
        );
        let (message, help) = Knob::named("keep_alive").expect_err("no knob");
        assert_eq!(message, "there is no knob `keep_alive`");
        assert!(help.expect("help").starts_with("did you mean `keepalive`?"));
    }

    #[test]
    fn keepalive_is_idle_interval_and_count() {
        assert_eq!(parts("30/60x9"), Some(["30", "60", "9"]));
        assert_eq!(parts("30/60×9"), Some(["30", "60", "9"]));
        assert_eq!(parts("30/60"), None);
        assert_eq!(parts("30s/60sx9"), None);
    }
}
