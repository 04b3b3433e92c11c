//! Wrong evidence is caught: whatever single event is taken out of a real record, or altered in it, the cause of every
//! client stays the same or becomes unknown. It never becomes a wrong one.

mod witnesses;

use std::collections::BTreeMap;

use halfopen::plan::Cause;
use halfopen::record::{EndedBy, Event, Observation};
use halfopen::verdict::{Measured, Outcome, measure};

use crate::stored::{events, path};

const RECORDS: [&str; 6] = ["a1", "a2", "a4", "causes", "quickstart", "timers"];

/// All causes but the one that says that there is none.
const CAUSES: [Cause; 16] = [
    Cause::RetransmissionTimeout,
    Cause::Keepalive,
    Cause::UserTimeout,
    Cause::PingTimeout,
    Cause::RequestTimeout,
    Cause::ReadTimeout,
    Cause::IdleTimeout,
    Cause::HeartbeatFailure,
    Cause::DialTimeout,
    Cause::Reset,
    Cause::SocketDestroyed,
    Cause::Refused,
    Cause::Unreachable,
    Cause::ClosedByPeer,
    Cause::ClosedByClient,
    Cause::Never,
];

fn record(name: &str) -> Vec<Event> {
    events(&path(name))
}

/// Causes by client, and whether it had an outage at all.
fn causes(measured: &Measured) -> BTreeMap<&str, Option<Cause>> {
    let each = measured.clients.iter();
    each.map(|client| (client.name.as_str(), client.cause))
        .collect()
}

/// What mutations came to, client by client.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    same: usize,
    unknown: usize,
    not_judged: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, what: &str, before: &Measured, mutated: &[Event]) {
        let Some(after) = measure(mutated).filter(|m| m.outcome == Outcome::Whole) else {
            self.not_judged += before.clients.len();
            return;
        };
        let (was, is) = (causes(before), causes(&after));
        for (client, cause) in was {
            match is.get(client) {
                Some(other) if *other == cause => self.same += 1,
                Some(Some(Cause::Unknown)) => self.unknown += 1,
                other => self
                    .wrong
                    .push(format!("{client}: {cause:?} became {other:?} by {what}")),
            }
        }
    }
}

/// Tries each alteration of each event of a record that `alter` has.
fn tried(name: &str, alter: impl Fn(&Event) -> Vec<(String, Option<Event>)>) -> Tally {
    let mut whole = record(name);
    let before = measure(&whole).expect("it begins with its case");
    assert_eq!(before.outcome, Outcome::Whole, "{name}");
    let mut tally = Tally::default();
    for index in 1..whole.len() {
        for (what, event) in alter(&whole[index]) {
            let removed = event.is_none();
            let line = index + 1;
            let shown = format!("{:?}", whole[index].what);
            let shown: String = shown.chars().take(160).collect();
            let what = format!("{what} of {name}:{line}: {shown}");
            // In place: a copy of a record costs more than all that is asked of it.
            let original = match event {
                Some(event) => std::mem::replace(&mut whole[index], event),
                None => whole.remove(index),
            };
            tally.add(&what, &before, &whole);
            if removed {
                whole.insert(index, original);
            } else {
                whole[index] = original;
            }
        }
    }
    tally
}

/// Tries it on every record. At least `least` alterations must have made a cause unknown: else nothing was altered that
/// matters.
fn none_is_wrong(least: usize, alter: impl Fn(&Event) -> Vec<(String, Option<Event>)>) {
    let (mut unknown, mut wrong) = (0, Vec::new());
    for name in RECORDS {
        let tally = tried(name, &alter);
        let Tally {
            same,
            unknown: u,
            not_judged,
            wrong: w,
        } = tally;
        println!(
            "{name}: {same} the same, {u} unknown, {not_judged} not judged, {} wrong",
            w.len()
        );
        unknown += u;
        wrong.extend(w);
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(unknown >= least, "only {unknown} became unknown");
}

#[test]
fn the_records_have_the_causes_that_their_scenarios_expect() {
    let found: Vec<_> = RECORDS
        .iter()
        .map(|name| {
            let measured = measure(&record(name)).expect("a record");
            let causes = causes(&measured);
            let each: Vec<_> = causes
                .iter()
                .map(|(client, cause)| {
                    format!(
                        "{client} {}",
                        cause.map_or_else(|| "none".to_owned(), |cause| cause.to_string())
                    )
                })
                .collect();
            each.join(", ")
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn every_cause_has_a_record() {
    let records = RECORDS.map(|name| measure(&record(name)).expect("a record"));
    let clients = records.iter().flat_map(|measured| &measured.clients);
    let found: Vec<_> = clients.filter_map(|client| client.cause).collect();
    for cause in CAUSES {
        assert!(found.contains(&cause), "{cause}");
    }
}

#[test]
fn a_heartbeat_that_nobody_saw_fail_ends_nothing() {
    let beats = |events: &[Event]| {
        let measured = measure(events).expect("a record");
        let mut clients = measured.clients.into_iter();
        let client = clients.find(|c| c.name == "heartbeat-failure");
        let client = client.expect("the client");
        (client.cause, client.evidence.expect("evidence"))
    };
    let whole = record("causes");
    let (cause, evidence) = beats(&whole);
    assert_eq!(cause, Some(Cause::HeartbeatFailure));
    let text = "closed after heartbeats had failed";
    let seen = evidence.strip_prefix(&format!("{text}: no server has an answer to request "));
    assert!(seen.is_some(), "{evidence}");
    let mut without = whole;
    without.retain(|event| match &event.what {
        Observation::RequestFailed { request, .. } => request.client != "heartbeat-failure",
        _ => true,
    });
    let (cause, evidence) = beats(&without);
    assert_eq!(cause, Some(Cause::Unknown));
    let missing = format!("{text}, but no heartbeat was seen to fail then");
    assert_eq!(evidence, missing);
}

#[test]
fn an_event_is_missing() {
    none_is_wrong(30, |_| vec![(String::from("removal"), None)]);
}

#[test]
fn an_event_comes_at_another_time() {
    const SHIFT: u64 = 1_500_000_000;
    none_is_wrong(40, |event| {
        [true, false]
            .iter()
            .map(|later| {
                let shift = |t: u64| {
                    if *later {
                        t + SHIFT
                    } else {
                        t.saturating_sub(SHIFT)
                    }
                };
                let mut event = event.clone();
                event.t_ns = shift(event.t_ns);
                if let Observation::Segment(segment) = &mut event.what {
                    segment.stamp_ns = shift(segment.stamp_ns);
                }
                (format!("a shift, later: {later}"), Some(event))
            })
            .collect()
    });
}

/// The event with `change` done to its connection's end, if it has one.
fn with_end(event: &Event, change: impl Fn(&mut halfopen::record::ConnectionEnd)) -> Option<Event> {
    let mut event = event.clone();
    match &mut event.what {
        Observation::ConnectionClosed { end, .. } | Observation::DialFailed { error: end, .. } => {
            change(end);
            Some(event)
        }
        _ => None,
    }
}

#[test]
fn an_end_is_another() {
    const BY: [EndedBy; 12] = [
        EndedBy::Kernel,
        EndedBy::Client,
        EndedBy::Peer,
        EndedBy::RequestTimeout,
        EndedBy::ReadTimeout,
        EndedBy::PingTimeout,
        EndedBy::IdleTimeout,
        EndedBy::DialTimeout,
        EndedBy::TlsTimeout,
        EndedBy::HeartbeatFailure,
        EndedBy::CaseEnd,
        EndedBy::Protocol,
    ];
    const ERRNO: [Option<i32>; 7] = [
        None,
        Some(libc::ETIMEDOUT),
        Some(libc::ECONNRESET),
        Some(libc::ECONNREFUSED),
        Some(libc::EHOSTUNREACH),
        Some(libc::ENETUNREACH),
        Some(libc::EPIPE),
    ];
    none_is_wrong(100, |event| {
        let mut all = Vec::new();
        for by in BY {
            let altered = with_end(event, |end| end.by = by);
            all.extend(altered.map(|event| (format!("{by:?}"), Some(event))));
            for errno in ERRNO {
                let altered = with_end(event, |end| (end.by, end.errno) = (by, errno));
                all.extend(altered.map(|event| (format!("{by:?} {errno:?}"), Some(event))));
            }
        }
        all
    });
}
