//! What became of a connection, step by step: how it was dialled, what it was doing at the fault, which timer ruled,
//! what closed it, and its first good response.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Cause, FaultKind, Phase};
use crate::record::{Segment, TimerKind};

use super::connections::{Connection, Endpoint};
use super::parts::{Known, removal};
use super::result::word;
use super::seconds;
use super::struck::Struck;
use super::timeline::Moment;
use super::units::{exact, measured};

/// A step of a connection's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the case's start.
    #[serde(rename = "at_s", with = "seconds")]
    pub at: Duration,
    /// What kind of step.
    pub kind: StepKind,
    /// In words.
    pub text: String,
}

/// A kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Its SYN went out.
    Dial,
    /// It was opened.
    Opened,
    /// What it was doing at the fault.
    Phase,
    /// A request was handed to it that nobody answered.
    Request,
    /// The timer that ruled it since.
    Timer,
    /// What ended it.
    End,
    /// Its first response from a live server after the fault.
    Response,
}

/// The steps of a connection that lived at the fault or after it; none of others.
pub(super) fn of(known: &Known, struck: &Struck, connection: &Connection) -> Vec<Step> {
    let Some(fault) = struck.fault else {
        return Vec::new();
    };
    if connection.ended().is_some_and(|ended| ended < fault.at) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let dead = struck.dead.is_some_and(|dead| dead.id == connection.id);
    steps.extend(known.dial(connection));
    steps.extend(known.opened(connection));
    if connection.held_at(fault.at) {
        let phase = fault
            .phases
            .iter()
            .find(|(name, _)| *name == known.client.name);
        let target = fault.fault.kind.target();
        let doing = phase.map_or("held", |(_, phase)| doing(*phase));
        steps.push(Step {
            at: fault.at.at,
            kind: StepKind::Phase,
            text: match dead {
                true => format!("{doing} when {target} was struck, and its requests wait on it"),
                false => format!("held when {target} was struck"),
            },
        });
    }
    if dead {
        steps.extend(known.first_in_vain(connection, fault.at));
        steps.extend(known.timer(connection, fault.at));
    }
    steps.extend(known.first_good(connection, fault.at));
    steps.extend(known.end(connection));
    steps.sort_by_key(|step| step.at);
    steps
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::RequestUnacknowledged => "a request sent and not acknowledged",
        Phase::WaitingForResponse => "a request acknowledged, its response awaited",
        Phase::Streaming => "a response under way",
        Phase::Connecting => "being opened",
    }
}

/// Whether an idle connection's peer acknowledged a probe of keepalive: a server that hangs has a kernel that does not.
fn probe_answered(connection: &Connection, probe: &Segment) -> bool {
    let Some((at, end)) = connection.end else {
        return false;
    };
    // An acknowledgement that says nothing else is not recorded, but the socket knows when it had its last one.
    let acknowledged = end.tcp_info.map(|info| {
        let ago = Duration::from_millis(info.last_ack_recv_ms.into());
        at.at.saturating_sub(ago) + super::evidence::TICK
    });
    acknowledged.is_some_and(|last| last >= Duration::from_nanos(probe.stamp_ns))
}

/// What ails an endpoint that a fault silenced, as a relative clause.
fn plight(fault: &FaultKind) -> &'static str {
    match fault {
        FaultKind::PowerLoss { .. } => "which has no power",
        FaultKind::ProcessKill { .. } => "whose program was killed",
        FaultKind::Hang { .. } => "whose program hangs",
        FaultKind::LinkDown { .. } => "whose link is down",
        _ => "which does not answer",
    }
}

impl Known<'_, '_> {
    fn dial(&self, connection: &Connection) -> Option<Step> {
        let dialled = connection.dialled?;
        let target = connection.target?;
        let mut text = match &connection.endpoint {
            Some(endpoint) => match self.syn(connection) {
                Some(syn) if syn.to != target => {
                    format!(
                        "dialled {target}; the rules sent its SYN to {} ({})",
                        endpoint.name, syn.to
                    )
                }
                _ => format!("dialled {target}: {}", endpoint.name),
            },
            None => format!("dialled {target}; where its SYN went is not known"),
        };
        if let Some(endpoint) = &connection.endpoint
            && !self
                .timeline
                .answers(endpoint.node, &endpoint.name, dialled)
        {
            text += &self.why_dead(connection, endpoint, dialled);
        }
        Some(Step {
            at: dialled.at,
            kind: StepKind::Dial,
            text,
        })
    }

    fn syn(&self, connection: &Connection) -> Option<&Segment> {
        let (local, began) = (connection.local?, connection.began()?);
        let last = connection.end.map_or(Moment::END, |(at, _)| at);
        let mut sent = self.archive.sent_from(local, began.at, last.at);
        sent.find(|segment| segment.flags.contains('S'))
    }

    /// Why a dial met an endpoint that could not answer.
    fn why_dead(&self, connection: &Connection, endpoint: &Endpoint, dialled: Moment) -> String {
        let silenced = self
            .timeline
            .silenced_by(endpoint.node, &endpoint.name, dialled);
        let dead = silenced.map_or("which does not answer", |fault| plight(&fault.fault.kind));
        let Some(service) = &self.client.target.service else {
            return format!(", {dead}");
        };
        let removed = removal(self.timeline, service, &endpoint.name);
        if removed.is_none_or(|at| at > dialled.at) {
            return format!(", {dead}, though the rules still name it");
        }
        let before = self.connections.iter().find(|other| {
            other.id < connection.id && other.local.is_some() && other.local == connection.local
        });
        match before {
            Some(other) => format!(
                ", though the rules no longer name it: its port is that of connection {}, whose conntrack entry still \
                 leads there",
                other.id
            ),
            None => String::from(", though the rules no longer name it"),
        }
    }

    fn opened(&self, connection: &Connection) -> Option<Step> {
        let opened = connection.opened?;
        let endpoint = connection.endpoint.as_ref();
        let whom = endpoint.map_or("a server", |endpoint| &endpoint.name);
        Some(Step {
            at: opened.at,
            kind: StepKind::Opened,
            text: format!("open to {whom}"),
        })
    }

    /// The first request that was handed to a dead connection.
    fn first_in_vain(&self, connection: &Connection, fault: Moment) -> Option<Step> {
        let in_vain = self
            .requests
            .by_number
            .iter()
            .filter_map(|(number, request)| {
                let sent = request.sent.iter().find(|(_, id)| *id == connection.id)?.0;
                let open = request.outcome.is_none_or(|(at, _)| at > fault);
                open.then_some((sent, number))
            });
        let (sent, number) = in_vain.min()?;
        let text = match self.client.program() {
            Some(_) => String::from("data sent that nobody answered"),
            None => format!("request {number} handed over"),
        };
        Some(Step {
            at: sent.at,
            kind: StepKind::Request,
            text,
        })
    }

    /// The timer that ruled a dead connection.
    fn timer(&self, connection: &Connection, fault: Moment) -> Option<Step> {
        let (local, last) = (
            connection.local?,
            connection.end.map_or(Moment::END, |(at, _)| at),
        );
        let sent = self.archive.sent_from(local, fault.at, last.at);
        let again: Vec<_> = sent.filter(|segment| segment.retransmission > 0).collect();
        let data = again.iter().find(|segment| segment.len > 0);
        let socket = self.archive.socket(self.client, local);
        let shown = socket
            .iter()
            .rev()
            .find(|(at, _)| *at <= last && *at > fault);
        let kind = shown
            .and_then(|(_, socket)| socket.timer)
            .map(|timer| timer.kind);
        let sysctls = super::evidence::tcp_sysctls(self.client, self.timeline);
        let transport = &self.client.transport;
        let (at, text) = match (data, again.first(), kind) {
            (Some(first), _, _) => {
                let limit = match transport.user_timeout {
                    Some(limit) => format!(
                        "the kernel gives up after its TCP_USER_TIMEOUT of {}",
                        exact(limit)
                    ),
                    None => format!(
                        "with tcp_retries2={} the kernel gives up {} after the first retransmission at the earliest",
                        sysctls.retries2,
                        exact(sysctls.retransmission_bound())
                    ),
                };
                let text = format!("the retransmission timer rules: {limit}");
                (Duration::from_nanos(first.stamp_ns), text)
            }
            (None, Some(first), _) => {
                let text = match transport.keepalive {
                    _ if again
                        .last()
                        .is_some_and(|last| probe_answered(connection, last)) =>
                    {
                        String::from(
                            "keepalive probes are answered: no timer of the kernel ends this",
                        )
                    }
                    Some(k) => format!(
                        "the keepalive timer rules: the kernel gives up after {} probes, {} apart",
                        k.count,
                        exact(k.interval)
                    ),
                    None => String::from("the keepalive timer rules"),
                };
                (Duration::from_nanos(first.stamp_ns), text)
            }
            (None, None, Some(TimerKind::Keepalive)) => {
                (fault.at, String::from("the keepalive timer runs"))
            }
            _ => return None,
        };
        Some(Step {
            at,
            kind: StepKind::Timer,
            text,
        })
    }

    fn first_good(&self, connection: &Connection, fault: Moment) -> Option<Step> {
        let good = self
            .requests
            .by_number
            .iter()
            .filter_map(|(number, request)| {
                let here = request
                    .sent
                    .last()
                    .is_some_and(|(_, id)| *id == connection.id);
                let at = request.good().find(|at| *at > fault)?;
                here.then_some((at, number))
            });
        let (at, number) = good.min()?;
        Some(Step {
            at: at.at,
            kind: StepKind::Response,
            text: format!("response {number}, the first good one on it"),
        })
    }

    fn end(&self, connection: &Connection) -> Option<Step> {
        let ended = connection.ended()?;
        let found = self.cause_of(connection);
        let lasted = ended.since(connection.began()?);
        let verb = if connection.dial_failed {
            "given up"
        } else {
            "closed"
        };
        let cause = match found.cause {
            Cause::Unknown => String::from("for a reason that the evidence does not tell"),
            cause => format!("by {}", word(&cause)),
        };
        Some(Step {
            at: ended.at,
            kind: StepKind::End,
            text: format!(
                "{verb} {cause} after {}: {}",
                measured(lasted),
                found.evidence
            ),
        })
    }
}
