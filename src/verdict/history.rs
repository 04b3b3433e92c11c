//! What happened in a case by time, for reports that show it: read from the same stages as the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::{Client, LabPlan};
use crate::record::{Event, Observation, OutputStream, SocketChange, Stage};
use crate::result::{
    ClientHistory, ConnectionHistory, History, Moment, OutputLine, PlaceCounters, RequestOutcome,
    RequestSpan, RulesChange, SocketSpan,
};

use super::connections::{self, Connection};
use super::index::Index;
use super::programs;
use super::request::{Outcome, Request};
use super::requests::Requests;

/// Lines of output that are kept for a page: the first and the last ones, half of it each.
const OUTPUT_LINES: usize = 400;
/// Connections of a client whose packets and socket are kept for a page. (A client can have ten thousand.)
const CONNECTIONS: usize = 200;

/// What a record says by time; `None` if it does not say which case it is of. Its story is empty.
#[must_use]
pub fn history(record: &[Event]) -> Option<History> {
    let index = Index::of(record)?;
    let clients = index.case.lab.clients.iter();
    let (output, output_left_out) = output(record);
    Some(History {
        clients: clients.map(|client| of_client(client, &index)).collect(),
        endpoints: endpoints(record, &index.case.lab),
        rules: rules(record),
        counters: counters(record),
        output,
        output_left_out,
        ..History::default()
    })
}

fn of_client(client: &Client, index: &Index) -> ClientHistory {
    let connections = connections::of(client, index);
    let requests = match client.program() {
        Some(_) => programs::requests_of(client, index, &connections),
        None => Requests::of(client, index, &connections),
    };
    let spans = requests.by_number.iter();
    let mut spans: Vec<_> = spans
        .map(|(number, request)| span(*number, request, index.last))
        .collect();
    spans.sort_by_key(|span| span.from);
    let told = connections.iter().take(CONNECTIONS);
    ClientHistory {
        name: client.name.clone(),
        requests: spans,
        connections: told.map(|c| of_connection(client, c, index)).collect(),
        ..ClientHistory::default()
    }
}

fn span(number: u32, request: &Request, end: Duration) -> RequestSpan {
    let from = request.first.at;
    let (until, outcome) = match request.outcome {
        None => (end, RequestOutcome::Waits),
        Some((at, outcome)) => {
            let outcome = match outcome {
                Outcome::Answered { .. }
                | Outcome::CutShort
                | Outcome::GoesOn
                | Outcome::HealthyCut => RequestOutcome::Well,
                // What no server's record has is no answer.
                Outcome::Claimed | Outcome::Failed(_) => RequestOutcome::Failed,
                Outcome::Unfinished => RequestOutcome::Waits,
            };
            (at.at.min(end), outcome)
        }
    };
    RequestSpan {
        number,
        connection: request.sent.last().map(|(_, connection)| *connection),
        from,
        until: until.max(from),
        outcome,
    }
}

fn of_connection(client: &Client, connection: &Connection, index: &Index) -> ConnectionHistory {
    let mut told = ConnectionHistory {
        id: connection.id,
        ..ConnectionHistory::default()
    };
    let (Some(local), Some(began)) = (connection.local, connection.began()) else {
        return told;
    };
    let end = connection.end.map_or(index.last, |(at, _)| at.at);
    let sent = index.sent_from(local, began.at, end).iter();
    told.sent_again = sent
        .filter(|(_, segment)| segment.retransmission > 0)
        .map(|(_, segment)| Duration::from_nanos(segment.stamp_ns))
        .collect();
    let seen = index.socket(client.place.name(), local).iter();
    let seen = seen.filter(|(at, _)| (began.at..=end).contains(&at.at));
    let mut ended = false;
    for (at, socket) in seen {
        if let Some(last) = told.socket.last_mut() {
            last.until = at.at;
        }
        if socket.change == SocketChange::Ended {
            ended = true;
            break;
        }
        let now = SocketSpan::seen(at.at, socket);
        match told.socket.last_mut() {
            Some(last) if last.timer == now.timer => {
                last.count = last.count.max(now.count);
                last.send_queue = last.send_queue.max(now.send_queue);
            }
            Some(_) | None => told.socket.push(now),
        }
    }
    // It is shown when something of it changes: until then it is as it was.
    if let Some(last) = told.socket.last_mut().filter(|_| !ended) {
        last.until = end.max(last.from);
    }
    told
}

fn endpoints(record: &[Event], lab: &LabPlan) -> Vec<Moment> {
    let each = record.iter().filter_map(|event| {
        let text = if let Observation::EndpointRemoved {
            service,
            endpoint,
            node,
        } = &event.what
        {
            format!("{}{}", lab.leaves(service, endpoint), on(node.as_deref()))
        } else if let Observation::EndpointAdded {
            service,
            endpoint,
            node,
        } = &event.what
        {
            format!("{}{}", lab.is_back(service, endpoint), on(node.as_deref()))
        } else {
            return None;
        };
        let at = event.at();
        Some(Moment { at, text })
    });
    each.collect()
}

/// Where it is of one node's rules alone.
fn on(node: Option<&str>) -> String {
    node.map_or_else(String::new, |node| format!(" on {node}"))
}

fn rules(record: &[Event]) -> Vec<RulesChange> {
    let mut before: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    let mut changes = Vec::new();
    for event in record {
        let Observation::Rules {
            node, stage, rules, ..
        } = &event.what
        else {
            continue;
        };
        let now: BTreeSet<_> = rules.iter().filter(|rule| !rule.starts_with('#')).collect();
        let known = before.insert(node, now);
        // In the order of the rules themselves, which is what they mean.
        let all = rules.iter().filter(|rule| !rule.starts_with('#'));
        let come = all.filter(|rule| known.as_ref().is_none_or(|known| !known.contains(*rule)));
        let come: Vec<String> = come.cloned().collect();
        let now = &before[node.as_str()];
        let gone = known.iter().flatten().filter(|rule| !now.contains(*rule));
        let gone: Vec<String> = gone.map(|rule| (*rule).clone()).collect();
        if !come.is_empty() || !gone.is_empty() {
            changes.push(RulesChange {
                node: node.clone(),
                at: event.at(),
                when: stage_words(stage),
                come,
                gone,
            });
        }
    }
    changes
}

fn stage_words(stage: &Stage) -> String {
    match stage {
        Stage::Start => String::from("at the start"),
        Stage::Fault(_) => String::from("at the fault"),
        Stage::EndpointRemoved(endpoint) => format!("after {endpoint} was removed"),
        Stage::End => String::from("at the end"),
    }
}

fn counters(record: &[Event]) -> Vec<PlaceCounters> {
    let mut places: BTreeMap<&str, BTreeMap<&String, u64>> = BTreeMap::new();
    for event in record {
        let Observation::Counters {
            place,
            stage,
            deltas,
        } = &event.what
        else {
            continue;
        };
        if *stage == Stage::Start {
            continue;
        }
        let grown = places.entry(place).or_default();
        for (counter, delta) in deltas {
            let sum = grown.entry(counter).or_default();
            *sum = sum.saturating_add(*delta);
        }
    }
    let each = places.into_iter().map(|(place, grown)| PlaceCounters {
        place: place.to_owned(),
        grown: grown
            .into_iter()
            .map(|(counter, sum)| (counter.clone(), sum))
            .collect(),
    });
    each.filter(|place| !place.grown.is_empty()).collect()
}

/// The lines that programs wrote, the first and the last of them, and how many are left out between.
fn output(record: &[Event]) -> (Vec<OutputLine>, usize) {
    let mut lines = Vec::new();
    for event in record {
        let (who, stream, text) = if let Observation::ProgramOutput {
            client,
            stream,
            text,
            ..
        } = &event.what
        {
            (client, stream, text)
        } else if let Observation::ServerOutput {
            server,
            stream,
            text,
            ..
        } = &event.what
        {
            (server, stream, text)
        } else {
            continue;
        };
        lines.extend(text.lines().map(|line| OutputLine {
            at: event.at(),
            who: who.clone(),
            error: *stream == OutputStream::Stderr,
            text: line.to_owned(),
        }));
    }
    let left_out = lines.len().saturating_sub(OUTPUT_LINES);
    if left_out > 0 {
        let from = OUTPUT_LINES / 2;
        lines.drain(from..from + left_out);
    }
    (lines, left_out)
}
