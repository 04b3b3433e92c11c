//! What became of a connection, step by step: how it was dialled, what it was doing at the fault, which timer ruled,
//! what closed it, and its first good response.

use std::time::Duration;

use crate::plan::{Effect, Fault, Phase};
use crate::record::{Socket, TimerKind};

use super::client_record::ClientRecord;
use super::connections::{Connection, Endpoint};
use super::evidence::options;
use super::index::TICK;
use super::outages::Outage;
use super::struck::phase;
use super::timeline::Moment;
use crate::plan::units::{exact, measured};
use crate::result::{Step, StepKind};

/// The steps of a connection that lived at the fault or after it; none of others.
pub(super) fn of(
    record: &ClientRecord,
    outage: Option<&Outage>,
    connection: &Connection,
) -> Vec<Step> {
    let Some(outage) = outage else {
        return Vec::new();
    };
    let fault = outage.fault;
    if connection.ended().is_some_and(|ended| ended < fault.at) {
        return Vec::new();
    }
    let mut steps = Vec::new();
    let dead = outage
        .waited_on
        .is_some_and(|dead| dead.id == connection.id);
    steps.extend(record.dial(connection));
    steps.extend(record.opened(connection));
    if connection.held_at(fault.at) {
        let target = &fault.fault.target;
        let doing = phase(&record.client.name, fault).map_or("held", doing);
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
        steps.extend(record.first_in_vain(connection, fault.at));
        steps.extend(record.timer(connection, fault.at));
    }
    steps.extend(record.first_good(connection, fault.at));
    steps.extend(record.end(connection));
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

/// What ails an endpoint that a fault silenced, as a relative clause.
fn plight(fault: &Fault) -> &'static str {
    if fault.dead_node().is_some() {
        return "which has no power";
    }
    let mut effects = fault.effects.iter();
    let plight = effects.find_map(|effect| match effect {
        Effect::Silence { .. } => Some("which is cut off"),
        Effect::Stop { .. } => Some("whose node has stopped"),
        Effect::Kill { .. } => Some("whose program was killed"),
        Effect::Hang { .. } => Some("whose program hangs"),
        Effect::Carrier { .. } => Some("whose link is down"),
        // They silence nobody.
        Effect::Restore { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => None,
    });
    plight.unwrap_or("which does not answer")
}

impl ClientRecord<'_, '_> {
    fn dial(&self, connection: &Connection) -> Option<Step> {
        let dialled = connection.dialled?;
        let target = connection.target?;
        let mut text = match &connection.endpoint {
            Some(endpoint) => match connection.syn(self.index) {
                Some(syn) if syn.to != target => {
                    format!(
                        "dialled {target}; the rules sent its SYN to {} ({})",
                        endpoint.name, syn.to
                    )
                }
                Some(_) | None => format!("dialled {target}: {}", endpoint.name),
            },
            None => format!("dialled {target}; no packet in the record tells where that led"),
        };
        let timeline = &self.index.timeline;
        if let Some(endpoint) = &connection.endpoint
            && !timeline.answers(endpoint.node, &endpoint.name, dialled)
        {
            text += &self.why_dead(connection, endpoint, dialled);
        }
        Some(Step {
            at: dialled.at,
            kind: StepKind::Dial,
            text,
        })
    }

    /// Why a dial met an endpoint that could not answer.
    fn why_dead(&self, connection: &Connection, endpoint: &Endpoint, dialled: Moment) -> String {
        let timeline = &self.index.timeline;
        let silenced = timeline.silenced_by(endpoint.node, &endpoint.name, dialled);
        let dead = silenced.map_or("which does not answer", |fault| plight(fault.fault));
        let Some(service) = &self.client.target.service else {
            return format!(", {dead}");
        };
        let (node, at) = (&self.client.node, dialled.at);
        let removed = self.index.removal(service, &endpoint.name, node, at);
        if removed.is_none_or(|at| at > dialled.at) {
            let lab = &self.index.case.lab;
            let affinity = lab
                .services
                .iter()
                .any(|s| s.name == *service && s.affinity.is_some());
            let why = match (lab.moves(service), affinity) {
                (true, _) => "though it has the address still",
                (false, true) => "though the rules still name it, and affinity may lead back to it",
                (false, false) => "though the rules still name it",
            };
            return format!(", {dead}, {why}");
        }
        match self.before_on_its_port(connection) {
            Some(other) => format!(
                ", though the rules no longer name it: its port is that of connection {other}, whose conntrack entry still \
                 leads there"
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
            .on(connection.id)
            .filter_map(|(number, request)| {
                let (sent, _) = request.sent.iter().find(|(_, id)| *id == connection.id)?;
                let open = request.outcome.is_none_or(|(at, _)| at > fault);
                open.then_some((*sent, number))
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
        let sent = self.index.sent_from(local, fault.at, last.at).iter();
        let again = sent
            .map(|(_, segment)| *segment)
            .filter(|s| s.retransmission > 0);
        let again: Vec<_> = again.collect();
        let data = again.iter().find(|segment| segment.len > 0);
        let socket = self.index.socket(self.client.place.name(), local);
        let shown = socket
            .iter()
            .rev()
            .find(|(at, _)| *at <= last && *at > fault);
        let kind = shown
            .and_then(|(_, socket)| socket.timer)
            .map(|timer| timer.kind);
        let answered = || {
            let heard = self.last_acknowledged(connection, shown);
            let last = again.last().map(|last| Duration::from_nanos(last.stamp_ns));
            heard.zip(last).is_some_and(|(heard, last)| heard >= last)
        };
        let (at, text) = match (data, again.first(), kind) {
            (_, Some(first), Some(TimerKind::ZeroWindowProbe)) => {
                (first, self.window_rules(connection, answered()))
            }
            (Some(first), ..) => (first, self.retransmission_rules(connection)),
            (None, Some(first), _) => (first, self.keepalive_rules(connection, answered())),
            (None, None, Some(TimerKind::Keepalive)) => {
                return Some(Step {
                    at: fault.at,
                    kind: StepKind::Timer,
                    text: String::from("the keepalive timer runs"),
                });
            }
            (
                None,
                None,
                None
                | Some(TimerKind::Retransmission | TimerKind::ZeroWindowProbe | TimerKind::TimeWait),
            ) => return None,
        };
        let at = Duration::from_nanos(at.stamp_ns);
        Some(Step {
            at,
            kind: StepKind::Timer,
            text,
        })
    }

    /// When a connection's socket had its last acknowledgement, by its own last word. (One that says nothing else is not
    /// recorded.) A server that hangs has a kernel that does not.
    fn last_acknowledged(
        &self,
        connection: &Connection,
        shown: Option<&(Moment, &Socket)>,
    ) -> Option<Duration> {
        let end = connection
            .end
            .and_then(|(at, end)| Some((at, end.tcp_info?)));
        let shown = shown.and_then(|(at, socket)| Some((*at, socket.info?)));
        let looks = [end, shown].into_iter().flatten();
        looks
            .map(|(at, info)| info.last_acknowledged(at.at) + TICK)
            .max()
    }

    fn retransmission_rules(&self, connection: &Connection) -> String {
        let (_, user_timeout) = options(self.client, self.index, connection);
        let limit = match user_timeout {
            Some(limit) => format!(
                "the kernel gives up after its TCP_USER_TIMEOUT of {}",
                exact(limit)
            ),
            None => format!(
                "with tcp_retries2={} the kernel gives up {} after the first retransmission at the earliest",
                self.sysctls.retries2,
                exact(self.sysctls.retransmission_bound())
            ),
        };
        format!("the retransmission timer rules: {limit}")
    }

    fn keepalive_rules(&self, connection: &Connection, answered: bool) -> String {
        let (keepalive, user_timeout) = options(self.client, self.index, connection);
        match (keepalive, user_timeout) {
            _ if answered => {
                String::from("keepalive probes are answered: no timer of the kernel ends this")
            }
            // The kernel looks at either the one or the other (`tcp_keepalive_timer`).
            (Some(k), Some(limit)) => format!(
                "the keepalive timer rules: it fires every {}, and with TCP_USER_TIMEOUT the kernel gives up when nothing was \
                 heard for {}, however many probes that is",
                exact(k.interval),
                exact(limit)
            ),
            (Some(k), None) => format!(
                "the keepalive timer rules: the kernel gives up after {} probes, {} apart",
                k.count,
                exact(k.interval)
            ),
            (None, _) => String::from("the keepalive timer rules"),
        }
    }

    fn window_rules(&self, connection: &Connection, answered: bool) -> String {
        let (_, user_timeout) = options(self.client, self.index, connection);
        let limit = match (user_timeout, answered) {
            (Some(limit), _) => format!(
                "the kernel gives up after its TCP_USER_TIMEOUT of {}, answered or not, or after {} probes that nobody answers",
                exact(limit),
                self.sysctls.retries2
            ),
            (None, true) => {
                String::from("its probes are answered, so no timer of the kernel ends this")
            }
            (None, false) => format!(
                "with tcp_retries2={0} the kernel gives up after {0} probes that nobody answers",
                self.sysctls.retries2
            ),
        };
        format!("its peer's window is closed and the timer of window probes rules: {limit}")
    }

    fn first_good(&self, connection: &Connection, fault: Moment) -> Option<Step> {
        let good = self
            .requests
            .last_on(connection.id)
            .filter_map(|(number, request)| {
                let at = request.good().find(|at| *at > fault)?;
                Some((at, number))
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
        let found = self.diagnosis(connection)?;
        let lasted = ended.since(connection.began()?);
        let verb = if connection.dial_failed {
            "given up"
        } else {
            "closed"
        };
        Some(Step {
            at: ended.at,
            kind: StepKind::End,
            text: format!(
                "{verb} {} after {}: {}",
                found.cause.by(),
                measured(lasted),
                found.evidence
            ),
        })
    }
}
