//! A client's outage in order of time.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Told, clock, socket};
use crate::printable::printable;
use crate::record::{Observation, SocketChange, signal_name};
use crate::result::{ConnectionResult, Step, StepKind, word};

/// Dials alike that are told one by one; of more, the rest are counted.
const ALIKE: usize = 2;

/// What is said of the first good response.
fn well_again(told: &Told) -> &'static str {
    match told.until {
        None => "well again, and stays so",
        Some(_) => "well again, until another fault strikes",
    }
}

/// Something that happened.
struct Line {
    at: Duration,
    text: String,
}

/// The story, a line an event. Times are from the case's start and from the fault.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let Some(fault) = told.client.fault_at else {
        return Vec::new();
    };
    let mut story = if told.options.verbose {
        everything(told)
    } else {
        screenful(told, fault)
    };
    story.sort_by_key(|line| line.at);
    story.iter().map(|line| shown(line, fault)).collect()
}

fn shown(line: &Line, fault: Duration) -> String {
    let since = match line.at.checked_sub(fault) {
        Some(since) => format!("+{:.3}", since.as_secs_f64()),
        None => String::new(),
    };
    format!("{} {since:>10}  {}", clock(line.at), line.text)
}

/// What changed of the rules of the service that a client asks, each with when, in order of time.
pub(super) fn changes_of_rules(told: &Told) -> Vec<(Duration, String)> {
    let changes = removals(told, Duration::ZERO, None).into_iter();
    changes.map(|line| (line.at, line.text)).collect()
}

/// What fits a screen.
fn screenful(told: &Told, fault: Duration) -> Vec<Line> {
    let mut story = Vec::new();
    if let Some(at) = told.client.last_good_at {
        let text = String::from("last good response");
        story.push(Line { at, text });
    }
    let recovered = told.client.recovered_after.map(|after| fault + after);
    story.extend(removals(told, fault, recovered));
    story.extend(failures(told, fault));
    story.extend(timers(told, fault));
    let until = recovered.unwrap_or(Duration::MAX);
    let alive = told
        .client
        .connections
        .iter()
        .filter(|c| c.dialled_at.or(c.opened_at).is_none_or(|at| at <= until));
    let mut dials = Dials::default();
    for connection in alive {
        let vain =
            connection.opened_at.is_none() && connection.dialled_at.is_some_and(|at| at > fault);
        if vain && !dials.tells(connection) {
            continue;
        }
        let steps = steps(told, connection, fault, until);
        // The evidence of the cause stands above all this.
        let evidence = told.client.evidence.as_ref();
        let said = evidence.filter(|evidence| **evidence == connection.evidence);
        story.extend(steps.map(|line| without(line, said)));
    }
    story.extend(dials.rest());
    let mut steps = told.client.connections.iter().flat_map(|c| &c.chain);
    let told_already = steps.any(|step| Some(step.at) == recovered && is_response(step));
    if let Some(at) = recovered.filter(|_| !told_already) {
        let text = well_again(told).to_owned();
        story.push(Line { at, text });
    }
    story
}

fn without(line: Line, said: Option<&String>) -> Line {
    let shorter = said.and_then(|said| line.text.strip_suffix(&format!(": {said}")));
    Line {
        text: shorter.map_or_else(|| line.text.clone(), str::to_owned),
        ..line
    }
}

/// Dials without a connection: the first ones are told, then they are counted.
#[derive(Default)]
struct Dials {
    told: usize,
    untold: usize,
    last: Option<(Duration, String)>,
}

impl Dials {
    fn tells(&mut self, dial: &ConnectionResult) -> bool {
        if self.told < ALIKE {
            self.told += 1;
            return true;
        }
        self.untold += 1;
        let at = dial.closed_at.or(dial.dialled_at).unwrap_or_default();
        let to = dial.led_to();
        let how = match dial.closed_at {
            Some(_) => format!("to {to}, given up by {}", word(&dial.cause)),
            None => format!("to {to}, still under way at the end"),
        };
        self.last = Some((at, how));
        false
    }

    fn rest(self) -> Option<Line> {
        let (at, how) = self.last?;
        let dials = if self.untold == 1 { "dial" } else { "dials" };
        let text = format!("… {} more {dials} in vain, the last {how}", self.untold);
        Some(Line { at, text })
    }
}

fn steps(
    told: &Told,
    connection: &ConnectionResult,
    fault: Duration,
    until: Duration,
) -> impl Iterator<Item = Line> {
    let well_again = well_again(told);
    let wanted = connection.chain.iter().filter(move |step| {
        let early = step.at < fault;
        !early && step.at <= until && step.kind != StepKind::Opened
    });
    wanted.map(move |step| {
        let mut text = format!("connection {}: {}", connection.id, step.text);
        if is_response(step) && step.at == until {
            text += &format!(": {well_again}");
        }
        Line { at: step.at, text }
    })
}

fn is_response(step: &Step) -> bool {
    step.kind == StepKind::Response
}

fn removals(told: &Told, fault: Duration, until: Option<Duration>) -> Vec<Line> {
    let Some(own) = &told.planned.target.service else {
        return Vec::new();
    };
    let lab = &told.case.lab;
    let each = told.record.iter().filter_map(|event| {
        let (service, node, text) = if let Observation::EndpointRemoved {
            service,
            endpoint,
            node,
        } = &event.what
        {
            let stay = match lab.moves(service) {
                true => "who has it next knows of no connections",
                false => "connections that exist stay where they are",
            };
            let text = format!("{}; {stay}", lab.leaves(service, endpoint));
            (service, node, text)
        } else if let Observation::EndpointAdded {
            service,
            endpoint,
            node,
        } = &event.what
        {
            (service, node, lab.is_back(service, endpoint))
        } else {
            return None;
        };
        let here = node.as_ref().is_none_or(|node| *node == told.planned.node);
        (service == own && here).then(|| Line {
            at: event.at(),
            text,
        })
    });
    each.filter(|line| line.at >= fault && until.is_none_or(|until| line.at <= until))
        .collect()
}

/// The first request that failed, and how many did.
fn failures(told: &Told, fault: Duration) -> Vec<Line> {
    let failed = told.record.iter().filter_map(|event| {
        let Observation::RequestFailed {
            request,
            error,
            text,
            ..
        } = &event.what
        else {
            return None;
        };
        let own = request.client == told.client.name
            && event.at() >= fault
            && told.until.is_none_or(|until| event.at() < until);
        own.then(|| (event.at(), request.number, word(error), text))
    });
    let failed: Vec<_> = failed.collect();
    let mut lines = Vec::new();
    if let Some((at, number, _, text)) = failed.first() {
        let text = format!("request {number} fails: {text}");
        lines.push(Line { at: *at, text });
    }
    if let [_, .., (at, number, error, _)] = failed.as_slice() {
        let count = failed.len() - 1;
        let text = format!("request {number} fails ({error}): {count} more since the first");
        lines.push(Line { at: *at, text });
    }
    lines
}

/// What the socket of the dead connection showed: at its fullest back-off seen, and last before the end.
fn timers(told: &Told, fault: Duration) -> Vec<Line> {
    let Some(end) = told.client.detected_after.map(|after| fault + after) else {
        return Vec::new();
    };
    let dead = told
        .client
        .connections
        .iter()
        .find(|c| c.closed_at == Some(end));
    let began = dead.and_then(|c| c.dialled_at.or(c.opened_at));
    let Some(local) = dead.and_then(|c| local_of(told, c.id)) else {
        return Vec::new();
    };
    let shown: Vec<_> = sockets(told, local, began.unwrap_or_default(), end)
        .filter(|(at, _)| *at >= fault)
        .collect();
    let half = shown.len() / 2;
    let picks = shown
        .iter()
        .enumerate()
        .filter(|(n, _)| *n == half || *n + 1 == shown.len());
    picks
        .map(|(_, (at, socket))| Line {
            at: *at,
            text: format!(
                "its socket: {} Send-Q {}, {}",
                word(&socket.state),
                socket.send_queue,
                socket::timer(socket.timer)
            ),
        })
        .collect()
}

/// Sockets of a local address while they lived.
fn sockets<'a>(
    told: &'a Told,
    local: SocketAddr,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = (Duration, &'a crate::record::Socket)> {
    told.record.iter().filter_map(move |event| {
        let Observation::Socket(socket) = &event.what else {
            return None;
        };
        let own = socket.local == local
            && socket.place == told.planned.place.name()
            && socket.change != SocketChange::Ended
            && (from..=to).contains(&event.at());
        own.then(|| (event.at(), socket))
    })
}

fn local_of(told: &Told, connection: u32) -> Option<SocketAddr> {
    told.record.iter().find_map(|event| {
        let (client, id, local) = if let Observation::DialStarted {
            client,
            connection,
            local: Some(local),
            ..
        } = &event.what
        {
            (client, connection, local)
        } else if let Observation::ConnectionOpened {
            client,
            connection,
            local,
            ..
        } = &event.what
        {
            (client, connection, local)
        } else {
            return None;
        };
        (*client == told.client.name && *id == connection).then_some(*local)
    })
}

/// Every event that speaks of the client.
fn everything(told: &Told) -> Vec<Line> {
    let name = told.client.name.as_str();
    let locals: Vec<_> = told
        .client
        .connections
        .iter()
        .filter_map(|c| local_of(told, c.id))
        .collect();
    let mut story: Vec<_> = told
        .record
        .iter()
        .filter_map(|event| {
            let text = told_of(told, &event.what, name, &locals)?;
            let at = if let Observation::Segment(segment) = &event.what {
                Duration::from_nanos(segment.stamp_ns)
            } else {
                event.at()
            };
            Some(Line { at, text })
        })
        .collect();
    for connection in &told.client.connections {
        story.extend(steps(told, connection, Duration::ZERO, Duration::MAX));
    }
    story
}

fn ends(program: &str, code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (Some(code), _) => format!("{program} exits with {code}"),
        (None, Some(signal)) => format!("{program} is ended by signal {signal}"),
        (None, None) => format!("{program} ends"),
    }
}

fn writes(program: &str, text: &str) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    format!("{program} writes: {}", lines.join(" ⏎ "))
}

fn told_of(told: &Told, what: &Observation, name: &str, locals: &[SocketAddr]) -> Option<String> {
    let asked = &told.planned.target.servers;
    Some(match what {
        Observation::FaultInjected { fault, .. } => told.case.lab.faults.get(*fault)?.to_string(),
        Observation::EndpointRemoved {
            service, endpoint, ..
        } => told.case.lab.leaves(service, endpoint),
        Observation::EndpointAdded {
            service, endpoint, ..
        } => told.case.lab.is_back(service, endpoint),
        Observation::Forgotten {
            middlebox,
            from,
            to,
        } => format!("{middlebox} knows the connection from {from} to {to} no more"),
        Observation::RequestSent {
            request,
            connection,
            attempt,
        } if request.client == name => {
            format!(
                "request {} handed to connection {connection}, try {attempt}",
                request.number
            )
        }
        Observation::Response {
            request,
            status,
            server,
            ..
        } if request.client == name => {
            let server = server.as_deref().unwrap_or("a server");
            format!("response {} from {server}: {status}", request.number)
        }
        Observation::RequestFailed { request, text, .. } if request.client == name => {
            format!("request {} fails: {text}", request.number)
        }
        Observation::RequestUnfinished { request, .. } if request.client == name => {
            format!("request {} still waits", request.number)
        }
        Observation::ServerRequest {
            server,
            request: Some(request),
            ..
        } if request.client == name => {
            format!("{server} received request {}", request.number)
        }
        Observation::PingSent { client, connection } if client == name => {
            format!("connection {connection}: PING")
        }
        Observation::PingAcked { client, connection } if client == name => {
            format!("connection {connection}: PING answered")
        }
        Observation::Segment(segment)
            if locals.contains(&segment.from) || locals.contains(&segment.to) =>
        {
            let again = match segment.retransmission {
                0 => String::new(),
                n => format!(", again {n}"),
            };
            format!(
                "packet {} -> {} [{}] seq {} len {}{again}",
                segment.from, segment.to, segment.flags, segment.seq, segment.len
            )
        }
        Observation::Socket(socket)
            if locals.contains(&socket.local) && socket.place == told.planned.place.name() =>
        {
            format!("socket {} {}", word(&socket.change), socket::line(socket))
        }
        Observation::Icmp {
            node,
            kind,
            from,
            to,
            ..
        } if *node == told.planned.node || node == told.planned.place.name() => {
            format!("ICMP type {} code {} from {from} to {to}", kind.0, kind.1)
        }
        Observation::ProgramStarted { client, .. } if client == name => {
            String::from("its program starts")
        }
        Observation::ProgramStopped { client, signal } if client == name => {
            format!(
                "the case is over, and its program is sent {}",
                signal_name(*signal)
            )
        }
        Observation::ProgramExited {
            client,
            code,
            signal,
        } if client == name => ends("its program", *code, *signal),
        Observation::ProgramOutput { client, text, .. } if client == name => {
            writes("its program", text)
        }
        Observation::ServerOutput { server, text, .. } if asked.contains(server) => {
            writes(&format!("the program of server {server}"), text)
        }
        Observation::ServerStarted { server, .. } if asked.contains(server) => {
            format!("the program of server {server} starts")
        }
        Observation::ServerReady { server } if asked.contains(server) => {
            format!("the program of server {server} is ready")
        }
        Observation::ServerExited {
            server,
            code,
            signal,
        } if asked.contains(server) => {
            ends(&format!("the program of server {server}"), *code, *signal)
        }
        Observation::Warning { text } => format!("warning: {text}"),
        Observation::CaseStarted { .. }
        | Observation::LabReady { .. }
        | Observation::Sysctl { .. }
        | Observation::ServerListening { .. }
        | Observation::ServerAccepted { .. }
        | Observation::ServerRequest { .. }
        | Observation::ServerResponse { .. }
        | Observation::ServerStreamed { .. }
        | Observation::ServerClosed { .. }
        | Observation::ServerSocketOptions { .. }
        | Observation::DialStarted { .. }
        | Observation::DialFailed { .. }
        | Observation::ConnectionOpened { .. }
        | Observation::ConnectionClosed { .. }
        | Observation::RequestSent { .. }
        | Observation::Response { .. }
        | Observation::ResponseBegan { .. }
        | Observation::StreamReceived { .. }
        | Observation::RequestFailed { .. }
        | Observation::RequestUnfinished { .. }
        | Observation::PingSent { .. }
        | Observation::PingAcked { .. }
        | Observation::LeaderChanged { .. }
        | Observation::LeaderBelief { .. }
        | Observation::NodeReady { .. }
        | Observation::ProgramStarted { .. }
        | Observation::ProgramStopped { .. }
        | Observation::ProgramExited { .. }
        | Observation::ProgramOutput { .. }
        | Observation::ProgramSaid { .. }
        | Observation::PayloadReceived { .. }
        | Observation::PayloadWithheld { .. }
        | Observation::ServerStarted { .. }
        | Observation::ServerReady { .. }
        | Observation::ServerExited { .. }
        | Observation::ServerOutput { .. }
        | Observation::SocketOptions { .. }
        | Observation::Socket(_)
        | Observation::Counters { .. }
        | Observation::Rules { .. }
        | Observation::ClientGone { .. }
        | Observation::FaultHealed { .. }
        | Observation::Segment(_)
        | Observation::Icmp { .. }
        | Observation::Lateness { .. }
        | Observation::RigError { .. }
        | Observation::Skipped { .. }
        | Observation::CaseEnded { .. } => return None,
    })
}
