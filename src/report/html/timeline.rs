//! A client's outage by time: its requests, its connections with what packets and sockets said of them, and the moments that
//! matter. A row a track; beside each stands in words what it shows.

use std::time::Duration;

use maud::{Markup, html};

use super::moments::{self, Moment};
use super::scale::{Marks, Scale, axis, track};
use super::text::{count, line, plain};
use crate::plan::units::measured;
use crate::record::TimerKind;
use crate::result::{
    CaseResult, ClientHistory, ClientResult, ConnectionHistory, ConnectionResult, PartKind,
    RequestOutcome, SocketSpan, word,
};

/// Connections with a track of their own; the others share one.
const CONNECTIONS: usize = 6;

/// The stretch of time that all clients of a case are shown in: from shortly before the first fault until shortly after the
/// last recovery, or to the end where somebody never recovered.
pub(super) fn view(result: &CaseResult) -> Scale {
    let out = result
        .clients
        .iter()
        .filter(|client| client.unexplained.is_some());
    let end = |client: &ClientResult| match (client.fault_at, client.recovered_after) {
        (Some(fault), Some(after)) => fault + after,
        _ => result.duration,
    };
    let begin = result.faults.iter().filter_map(|fault| fault.at).min();
    let (Some(begin), Some(end)) = (begin, out.map(end).max()) else {
        return Scale::new(Duration::ZERO, result.duration);
    };
    let length = end.saturating_sub(begin).max(Duration::from_millis(20));
    let from = begin.saturating_sub(length / 8);
    let to = (end + length / 10).min(result.duration.max(end));
    Scale::new(from, to)
}

/// The picture.
pub(super) fn timeline(client: &ClientResult, result: &CaseResult, scale: Scale) -> Markup {
    let moments = moments::of(client, result);
    let history = result.history.as_ref();
    let history = history.and_then(|h| h.clients.iter().find(|c| c.name == client.name));
    let picture = Picture {
        client,
        result,
        history,
        scale,
        moments: &moments,
    };
    let zero = client
        .fault_at
        .or_else(|| result.faults.iter().find_map(|fault| fault.at));
    let whole = scale.from <= 0.0 && scale.to >= result.duration.as_secs_f64();
    html! {
        div class="timeline" role="group" aria-label={ "Timeline of " (plain(&client.name)) } {
            div class="lane head" { div class="label" {} (moments::numbers(&moments, scale)) }
            @if let Some(history) = history { (picture.requests(history)) }
            (picture.connections())
            div class="lane foot" {
                div class="label" { (if zero.is_some() { "since the fault" } else { "since the start" }) }
                (axis(scale, zero.unwrap_or_default().as_secs_f64()))
            }
        }
        (moments::list(&moments, zero))
        @if !whole {
            p class="small" {
                "Shown: " (measured(Duration::from_secs_f64(scale.from))) " to " (measured(Duration::from_secs_f64(scale.to)))
                " of " (measured(result.duration)) "."
            }
        }
    }
}

struct Picture<'a> {
    client: &'a ClientResult,
    result: &'a CaseResult,
    history: Option<&'a ClientHistory>,
    scale: Scale,
    moments: &'a [Moment],
}

impl Picture<'_> {
    /// A track with what is said of it beside it, and the moments as lines across it.
    fn lane(&self, height: f64, label: &Markup, told: &str, content: &Markup) -> Markup {
        html! {
            div class="lane" {
                div class="label" { (label) }
                (track(height, told, html! {
                    (self.faults(height))
                    (content)
                    @for moment in self.moments {
                        @let x = self.scale.at(moment.at);
                        line class=(moment.kind.class()) x1=(x) x2=(x) y1="0" y2=(height) {}
                    }
                }))
            }
        }
    }

    /// While a fault is in force.
    fn faults(&self, height: f64) -> Markup {
        let mut marks = Marks::default();
        for fault in &self.result.faults {
            if let (Some(at), Some(ends)) = (fault.at, fault.ends_at) {
                marks.bar(self.scale, at, ends, 0.0, height);
            }
        }
        marks.path("broken")
    }

    fn requests(&self, history: &ClientHistory) -> Markup {
        const HEIGHT: f64 = 24.0;
        let (mut well, mut failed, mut waits, mut ends) = (
            Marks::default(),
            Marks::default(),
            Marks::default(),
            Marks::default(),
        );
        let mut counts = [0_usize; 3];
        for request in &history.requests {
            let (from, until) = (request.from, request.until);
            match request.outcome {
                RequestOutcome::Well => {
                    counts[0] += 1;
                    well.bar(self.scale, from, until, 4.0, 7.0);
                }
                RequestOutcome::Failed => {
                    counts[1] += 1;
                    failed.bar(self.scale, from, until, 13.0, 7.0);
                    ends.tick(self.scale, until, 11.0, 11.0);
                }
                RequestOutcome::Waits => {
                    counts[2] += 1;
                    waits.bar(self.scale, from, until, 13.0, 7.0);
                }
            }
        }
        let [answered, vain, waiting] = counts;
        let program = self.client.program.is_some();
        let mut told = format!("{answered} answered, {vain} failed");
        if waiting > 0 {
            told += &format!(", {waiting} waiting to the end");
        }
        if program {
            told += " (as servers saw them)";
        }
        let content = html! {
            (well.path("well")) (failed.path("failed")) (waits.path("waits")) (ends.path("mark failed"))
        };
        let label = html! { b { "requests" } " " span { (told) } };
        self.lane(HEIGHT, &label, &format!("Requests: {told}"), &content)
    }

    fn connections(&self) -> Markup {
        let seen: Vec<&ConnectionResult> = self
            .client
            .connections
            .iter()
            .filter(|c| {
                let from = c.dialled_at.or(c.opened_at).unwrap_or_default();
                self.scale.shows(from, c.closed_at.unwrap_or(Duration::MAX))
            })
            .collect();
        // Those that the outage was spent on, and those that lived long, tell most.
        let mut ranked = seen.clone();
        ranked.sort_by_key(|c| {
            (
                !self.is_waited_on(c),
                std::cmp::Reverse(self.lived(c)),
                c.id,
            )
        });
        ranked.truncate(CONNECTIONS);
        ranked.sort_by_key(|c| c.id);
        let others: Vec<_> = seen
            .into_iter()
            .filter(|c| ranked.iter().all(|own| own.id != c.id))
            .collect();
        html! {
            @for connection in &ranked { (self.connection(connection)) }
            @if !others.is_empty() { (self.others(&others)) }
        }
    }

    fn is_waited_on(&self, connection: &ConnectionResult) -> bool {
        self.client.parts.iter().any(|part| {
            part.kind == PartKind::DeadConnection && part.connection == Some(connection.id)
        })
    }

    fn lived(&self, connection: &ConnectionResult) -> Duration {
        let from = connection
            .dialled_at
            .or(connection.opened_at)
            .unwrap_or_default();
        let to = connection.closed_at.unwrap_or(self.result.duration);
        to.saturating_sub(from)
    }

    /// A connection: while it was dialled, while it was open, how it ended; when segments were sent again; which timer ran.
    fn connection(&self, connection: &ConnectionResult) -> Markup {
        const HEIGHT: f64 = 32.0;
        let history = self.history.iter().flat_map(|h| &h.connections);
        let history = history.clone().find(|c| c.id == connection.id);
        let mut bars = self.bars(&[connection]);
        let mut again = Marks::default();
        for at in history.iter().flat_map(|h| &h.sent_again) {
            again.tick(self.scale, *at, 16.0, 8.0);
        }
        let mut end = Marks::default();
        if let Some(at) = connection.closed_at {
            end.tick(self.scale, at, 2.0, 14.0);
        }
        bars.push(html! { (end.path("mark end")) (again.path("mark again")) });
        let timers = history.map(|h| self.timers(h));
        let told = self.told(connection, history);
        let label = html! {
            b { "connection " (connection.id) } " " span { (line(&told)) }
        };
        let content = html! {
            @for bar in &bars { (bar) }
            @if let Some(timers) = timers { (timers) }
        };
        let told = format!("Connection {}: {}", connection.id, plain(&told));
        self.lane(HEIGHT, &label, &told, &content)
    }

    /// In words, what a connection's track shows.
    fn told(&self, connection: &ConnectionResult, history: Option<&ConnectionHistory>) -> String {
        let mut told = match &connection.endpoint {
            Some(endpoint) => format!("to {endpoint}"),
            None => String::from("to an endpoint not known"),
        };
        if connection.opened_at.is_none() {
            told += ", never opened";
        }
        match connection.closed_at {
            Some(at) => {
                let at = moments::since(at, self.client.fault_at);
                told += &format!(", ended {at} by {}", word(&connection.cause));
            }
            None => told += ", there to the end",
        }
        let again = history.map_or(0, |h| h.sent_again.len());
        if again > 0 {
            told += &format!("; segments sent again {}", count(again, "time"));
        }
        let kinds = history.map(timer_words).unwrap_or_default();
        if !kinds.is_empty() {
            told += &format!("; timers: {}", kinds.join(", "));
        }
        told
    }

    fn timers(&self, history: &ConnectionHistory) -> Markup {
        let mut all: [(Marks, &str); 4] = [
            (Marks::default(), "timer retransmission"),
            (Marks::default(), "timer keepalive"),
            (Marks::default(), "timer probe"),
            (Marks::default(), "timer timewait"),
        ];
        for span in &history.socket {
            let place = match span.timer {
                None => continue,
                Some(TimerKind::Retransmission) => 0,
                Some(TimerKind::Keepalive) => 1,
                Some(TimerKind::ZeroWindowProbe) => 2,
                Some(TimerKind::TimeWait) => 3,
            };
            all[place]
                .0
                .bar(self.scale, span.from, span.until, 26.0, 4.0);
        }
        html! { @for (marks, class) in &all { (marks.path(class)) } }
    }

    /// What connections were by time: dialled, open, and what of the outage was spent on them.
    fn bars(&self, connections: &[&ConnectionResult]) -> Vec<Markup> {
        let (mut dialled, mut open, mut dead, mut vain) = (
            Marks::default(),
            Marks::default(),
            Marks::default(),
            Marks::default(),
        );
        for connection in connections {
            let end = connection.closed_at.unwrap_or(self.result.duration);
            let opened = connection.opened_at.unwrap_or(end);
            if let Some(at) = connection.dialled_at {
                dialled.bar(self.scale, at, opened.min(end), 4.0, 10.0);
            }
            if let Some(at) = connection.opened_at {
                open.bar(self.scale, at, end, 4.0, 10.0);
            }
            let parts = self.client.parts.iter();
            for part in parts.filter(|part| part.connection == Some(connection.id)) {
                match part.kind {
                    PartKind::DeadConnection => dead.bar(self.scale, part.from, part.to, 4.0, 10.0),
                    PartKind::EndpointRemoval | PartKind::DeadDial => {
                        vain.bar(self.scale, part.from, part.to, 4.0, 10.0);
                    }
                    PartKind::Handshake
                    | PartKind::Response
                    | PartKind::Backoff
                    | PartKind::LiveConnection => {}
                }
            }
        }
        vec![
            dialled.path("dialled"),
            open.path("open"),
            dead.path("dead"),
            vain.path("vain"),
        ]
    }

    /// All other connections on one track.
    fn others(&self, all: &[&ConnectionResult]) -> Markup {
        const HEIGHT: f64 = 20.0;
        let bars = self.bars(all);
        let vain = all.iter().filter(|c| c.opened_at.is_none()).count();
        let told = match vain {
            0 => count(all.len(), "more connection"),
            vain => format!(
                "{}, {vain} of them never opened",
                count(all.len(), "more connection")
            ),
        };
        let label = html! { span { (told) } };
        self.lane(
            HEIGHT,
            &label,
            &told,
            &html! { @for bar in &bars { (bar) } },
        )
    }
}

/// Which timers a socket had, each with how far it counted.
fn timer_words(history: &ConnectionHistory) -> Vec<String> {
    let kinds = [
        (TimerKind::Retransmission, "retransmission"),
        (TimerKind::Keepalive, "keepalive"),
        (TimerKind::ZeroWindowProbe, "zero window probe"),
        (TimerKind::TimeWait, "time-wait"),
    ];
    let of = |kind: TimerKind| {
        let own: Vec<&SocketSpan> = history
            .socket
            .iter()
            .filter(|s| s.timer == Some(kind))
            .collect();
        let most = own.iter().map(|span| span.count).max()?;
        Some(most)
    };
    let told = kinds.into_iter().filter_map(|(kind, name)| {
        Some(match of(kind)? {
            0 => name.to_owned(),
            most => format!("{name} up to {most}"),
        })
    });
    told.collect()
}

/// What the colours and marks of a timeline mean.
pub(super) fn legend() -> Markup {
    let entries = [
        ("well", "answered"),
        ("failed", "failed: from sending to failure"),
        ("dialled", "dialling"),
        ("open", "open"),
        ("dead", "waited on, dead"),
        ("vain", "dialling a dead endpoint"),
        ("again", "segment sent again"),
        ("retransmission", "retransmission timer runs"),
        ("keepalive", "keepalive timer runs"),
    ];
    html! {
        ul class="legend" aria-label="What the colours mean" {
            @for (class, text) in entries { li { i class=(class) {} (text) } }
        }
    }
}
