//! Reading records of every version. In those of version 1 faults were kinds, and not yet made of effects.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Event, RECORD_VERSION};
use crate::plan::units::exact;
use crate::plan::{Effect, End, Neighbour, Packets, Path, Process, RejectWith};

/// A fault of version 1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    PowerLoss {
        node: String,
        neighbour: Neighbour,
    },
    PowerRestore {
        node: String,
    },
    ProcessKill {
        process: Process,
    },
    Hang {
        server: String,
    },
    LinkDown {
        behind: End,
    },
    Loss {
        path: Path,
        percent: f64,
    },
    Delay {
        path: Path,
        delay: Duration,
        jitter: Duration,
    },
    Reject {
        path: Path,
        with: RejectWith,
    },
    SynDrop {
        path: Path,
    },
    EndpointRemoved {
        service: String,
        server: String,
    },
    EndpointAdded {
        service: String,
        server: String,
    },
    ConntrackDeleted {
        service: String,
        server: Option<String>,
    },
    SocketDestroyed {
        client: String,
        server: Option<String>,
    },
}

impl Event {
    /// Reads the first event of a record that this version or an earlier one wrote; of a later one, its version.
    ///
    /// # Errors
    /// If `line` is not an event.
    pub fn beginning(line: &[u8]) -> serde_json::Result<Result<Self, u32>> {
        /// Only of [`Observation::CaseStarted`].
        #[derive(Deserialize)]
        struct Version {
            record_version: Option<u32>,
        }
        let Version { record_version } = serde_json::from_slice(line)?;
        match record_version {
            Some(1) => beginning(line).map(Ok),
            Some(later) if later > RECORD_VERSION => Ok(Err(later)),
            Some(_) | None => serde_json::from_slice(line).map(Ok),
        }
    }
}

/// Reads the first event of a record of version 1.
fn beginning(line: &[u8]) -> serde_json::Result<Event> {
    let mut event: Value = serde_json::from_slice(line)?;
    let faults = event.pointer_mut("/case/lab/faults");
    for fault in faults.and_then(Value::as_array_mut).into_iter().flatten() {
        let kind = Kind::deserialize(&fault["kind"])?;
        fault["kind"] = json!(kind.name());
        fault["target"] = json!(kind.target());
        fault["detail"] = json!(kind.detail());
        fault["effects"] = json!(kind.effects());
    }
    Event::deserialize(event)
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::PowerLoss { .. } => "power_loss",
            Self::PowerRestore { .. } => "power_restore",
            Self::ProcessKill { .. } => "process_kill",
            Self::Hang { .. } => "hang",
            Self::LinkDown { .. } => "link_down",
            Self::Loss { .. } => "loss",
            Self::Delay { .. } => "delay",
            Self::Reject { .. } => "reject",
            Self::SynDrop { .. } => "syn_drop",
            Self::EndpointRemoved { .. } => "endpoint_removed",
            Self::EndpointAdded { .. } => "endpoint_added",
            Self::ConntrackDeleted { .. } => "conntrack_deleted",
            Self::SocketDestroyed { .. } => "socket_destroyed",
        }
    }

    fn target(&self) -> String {
        match self {
            Self::PowerLoss { node, .. } | Self::PowerRestore { node } => node.clone(),
            Self::ProcessKill {
                process: Process::Server(name) | Process::Client(name),
            }
            | Self::Hang { server: name } => name.clone(),
            Self::LinkDown { behind } => behind.to_string(),
            Self::Loss { path, .. }
            | Self::Delay { path, .. }
            | Self::Reject { path, .. }
            | Self::SynDrop { path } => path.to_string(),
            Self::EndpointRemoved { service, server }
            | Self::EndpointAdded { service, server }
            | Self::ConntrackDeleted {
                service,
                server: Some(server),
            } => format!("{server} of {service}"),
            Self::ConntrackDeleted {
                service,
                server: None,
            } => service.clone(),
            Self::SocketDestroyed {
                client,
                server: Some(server),
            } => format!("{client} to {server}"),
            Self::SocketDestroyed {
                client,
                server: None,
            } => client.clone(),
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Loss { percent, .. } => Some(format!("{percent} %")),
            Self::Delay { delay, jitter, .. } if jitter.is_zero() => Some(exact(*delay)),
            Self::Delay { delay, jitter, .. } => {
                Some(format!("{} ± {}", exact(*delay), exact(*jitter)))
            }
            Self::Reject { with, .. } => Some(String::from(match with {
                RejectWith::Rst => "with RST",
                RejectWith::Icmp => "with ICMP host unreachable",
            })),
            Self::PowerLoss {
                neighbour: Neighbour::Dead,
                ..
            } => Some(String::from("neighbour entry dead too")),
            Self::PowerLoss {
                neighbour: Neighbour::Resolves,
                ..
            }
            | Self::PowerRestore { .. }
            | Self::ProcessKill { .. }
            | Self::Hang { .. }
            | Self::LinkDown { .. }
            | Self::SynDrop { .. }
            | Self::EndpointRemoved { .. }
            | Self::EndpointAdded { .. }
            | Self::ConntrackDeleted { .. }
            | Self::SocketDestroyed { .. } => None,
        }
    }

    /// What it does.
    fn effects(self) -> Vec<Effect> {
        match self {
            Self::PowerLoss { node, neighbour } => vec![
                Effect::Silence {
                    node: node.clone(),
                    neighbour,
                },
                Effect::Stop { node },
            ],
            Self::PowerRestore { node } => vec![Effect::Restore { node }],
            Self::ProcessKill { process } => vec![Effect::Kill { process }],
            Self::Hang { server } => vec![Effect::Hang { server }],
            Self::LinkDown { behind } => vec![Effect::Carrier { behind }],
            Self::Loss { path, percent } => vec![Effect::Drop {
                path,
                packets: Packets::All,
                percent,
            }],
            Self::Delay {
                path,
                delay,
                jitter,
            } => vec![Effect::Delay {
                path,
                delay,
                jitter,
            }],
            Self::Reject { path, with } => vec![Effect::Answer { path, with }],
            Self::SynDrop { path } => vec![Effect::Drop {
                path,
                packets: Packets::Syn,
                percent: 100.0,
            }],
            Self::EndpointRemoved { service, server } => vec![Effect::Rules {
                service,
                server,
                out: true,
            }],
            Self::EndpointAdded { service, server } => vec![Effect::Rules {
                service,
                server,
                out: false,
            }],
            Self::ConntrackDeleted { service, server } => vec![Effect::Forget { service, server }],
            Self::SocketDestroyed { client, server } => vec![Effect::Destroy { client, server }],
        }
    }
}
