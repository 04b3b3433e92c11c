//! Wrong evidence is caught: whatever single event is taken out of a real record, or altered in it, the cause of every
//! client stays the same or becomes unknown. It never becomes a wrong one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use halfopen::plan::Cause;
use halfopen::record::{
    EndedBy, Event, Observation, RequestError, SocketChange, TcpInfo, TcpState, TimerKind,
};
use halfopen::report::record_reader;
use halfopen::verdict::{Measured, Outcome, measure};

const RECORDS: [&str; 5] = ["a1", "a2", "a4", "quickstart", "timers"];

fn record(name: &str) -> Vec<Event> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/records/{name}.ndjson"));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    record_reader::read(text.as_slice())
        .expect("a record")
        .events
}

/// Causes by client, and whether it had an outage at all.
fn causes(measured: &Measured) -> BTreeMap<&str, Option<Cause>> {
    let each = measured.clients.iter();
    each.map(|client| {
        (
            client.name.as_str(),
            client.cause.as_ref().map(|found| found.cause),
        )
    })
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
        EndedBy::Cancelled,
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

/// Every alteration of one field of a TCP_INFO.
fn infos(info: TcpInfo) -> Vec<TcpInfo> {
    let half_and_double = |ms: u32| [ms / 2, ms.saturating_mul(2)];
    let mut all = Vec::new();
    for state in [1, 2, 4, 7] {
        all.push(TcpInfo { state, ..info });
    }
    for n in [
        0,
        1,
        3,
        info.retransmits + 3,
        info.retransmits.saturating_sub(3),
    ] {
        all.push(TcpInfo {
            retransmits: n,
            ..info
        });
    }
    for probes in [0, 1, 5, 9] {
        all.push(TcpInfo { probes, ..info });
    }
    for unacked in [0, 1, 4] {
        all.push(TcpInfo { unacked, ..info });
    }
    all.push(TcpInfo { rtt_us: 0, ..info });
    for ms in half_and_double(info.last_data_sent_ms) {
        all.push(TcpInfo {
            last_data_sent_ms: ms,
            ..info
        });
    }
    for ms in half_and_double(info.last_data_recv_ms) {
        all.push(TcpInfo {
            last_data_recv_ms: ms,
            ..info
        });
    }
    for ms in half_and_double(info.last_ack_recv_ms) {
        all.push(TcpInfo {
            last_ack_recv_ms: ms,
            ..info
        });
    }
    all
}

#[test]
fn a_tcp_info_is_another_or_missing() {
    none_is_wrong(40, |event| {
        let mut all = Vec::new();
        let none = with_end(event, |end| end.tcp_info = None);
        all.extend(none.map(|event| (String::from("no TCP_INFO"), Some(event))));
        let info = match &event.what {
            Observation::ConnectionClosed { end, .. }
            | Observation::DialFailed { error: end, .. } => end.tcp_info,
            _ => None,
        };
        for other in info.map(infos).unwrap_or_default() {
            let altered = with_end(event, |end| end.tcp_info = Some(other));
            all.extend(altered.map(|event| (format!("{other:?}"), Some(event))));
        }
        // Two mistakes of one hand: a live socket's info told as that of one the kernel ended.
        for errno in [libc::ETIMEDOUT, libc::ECONNRESET] {
            for other in info.map(infos).unwrap_or_default() {
                let altered = with_end(event, |end| {
                    (end.by, end.errno) = (EndedBy::Kernel, Some(errno));
                    end.tcp_info = Some(TcpInfo { state: 7, ..other });
                });
                all.extend(altered.map(|event| (format!("{errno} {other:?}"), Some(event))));
            }
        }
        all
    });
}

#[test]
fn a_segment_is_another() {
    none_is_wrong(20, |event| {
        let Observation::Segment(segment) = &event.what else {
            return Vec::new();
        };
        let mut others = Vec::new();
        for flags in ["S", "SA", "A", "PA", "F", "FA", "R", "RA"] {
            let mut other = segment.clone();
            other.flags = flags.to_owned();
            others.push(other);
        }
        let mut other = segment.clone();
        (other.from, other.to) = (other.to, other.from);
        others.push(other);
        for ports in [(1, 0), (0, 1)] {
            let mut other = segment.clone();
            other.from.set_port(other.from.port() + ports.0);
            other.to.set_port(other.to.port() + ports.1);
            others.push(other);
        }
        for address in ["192.168.2.2", "192.168.3.2", "10.0.0.2", "10.0.0.3"] {
            let address = address.parse().expect("an address");
            let mut other = segment.clone();
            other.to.set_ip(address);
            others.push(other);
            let mut other = segment.clone();
            other.from.set_ip(address);
            others.push(other);
        }
        for (len, retransmission) in [(0, segment.retransmission), (segment.len, 0), (100, 4)] {
            let mut other = segment.clone();
            (other.len, other.retransmission) = (len, retransmission);
            others.push(other);
        }
        let each = others.into_iter().map(|other| {
            let what = Observation::Segment(other.clone());
            let event = Event { what, ..*event };
            (format!("{other:?}"), Some(event))
        });
        each.collect()
    });
}

#[test]
fn a_socket_is_another() {
    none_is_wrong(5, |event| {
        let Observation::Socket(socket) = &event.what else {
            return Vec::new();
        };
        let mut others = Vec::new();
        for kind in [
            TimerKind::Retransmission,
            TimerKind::Keepalive,
            TimerKind::TimeWait,
            TimerKind::ZeroWindowProbe,
        ] {
            let mut other = socket.clone();
            other.timer = other
                .timer
                .map(|timer| halfopen::record::SocketTimer { kind, ..timer });
            others.push(other);
        }
        let mut other = socket.clone();
        other.timer = None;
        others.push(other);
        let mut other = socket.clone();
        other.info = None;
        others.push(other);
        for change in [
            SocketChange::Born,
            SocketChange::Changed,
            SocketChange::Ended,
        ] {
            let mut other = socket.clone();
            other.change = change;
            others.push(other);
        }
        let mut other = socket.clone();
        other.state = TcpState::Close;
        others.push(other);
        if let Some(info) = socket.info.filter(|_| socket.change == SocketChange::Ended) {
            for info in infos(info) {
                let mut other = socket.clone();
                other.info = Some(info);
                others.push(other);
            }
        }
        let each = others.into_iter().map(|other| {
            let what = Observation::Socket(other.clone());
            let event = Event { what, ..*event };
            (
                format!("{:?} {:?} {:?}", other.change, other.timer, other.info),
                Some(event),
            )
        });
        each.collect()
    });
}

#[test]
fn another_witness_says_otherwise() {
    none_is_wrong(10, |event| {
        let mut all = Vec::new();
        let mut add = |what: &str, altered: Observation| {
            let event = Event {
                what: altered,
                ..*event
            };
            all.push((what.to_owned(), Some(event)));
        };
        match event.what.clone() {
            Observation::Sysctl { place, key, .. } => {
                for value in ["0", "1", "3", "5", "9", "15", "100"] {
                    let (place, key, value) = (place.clone(), key.clone(), value.to_owned());
                    add("sysctl", Observation::Sysctl { place, key, value });
                }
            }
            Observation::ServerAccepted {
                server,
                peer,
                protocol,
            } => {
                for other in ["aa-1", "aa-2", "web-1", "web-2", "httptest"] {
                    if other != server {
                        let server = other.to_owned();
                        add(
                            "server",
                            Observation::ServerAccepted {
                                server,
                                peer,
                                protocol,
                            },
                        );
                    }
                }
            }
            Observation::RequestFailed {
                request,
                connection,
                text,
                ..
            } => {
                for error in [
                    RequestError::Dial,
                    RequestError::Timeout,
                    RequestError::ConnectionLost,
                ] {
                    let (request, text) = (request.clone(), text.clone());
                    add(
                        "error",
                        Observation::RequestFailed {
                            request,
                            connection,
                            error,
                            text,
                        },
                    );
                }
                for connection in [None, Some(1), Some(2)] {
                    let (request, text) = (request.clone(), text.clone());
                    let error = RequestError::Timeout;
                    add(
                        "connection",
                        Observation::RequestFailed {
                            request,
                            connection,
                            error,
                            text,
                        },
                    );
                }
            }
            Observation::PingSent { client, connection } => {
                add("PING", Observation::PingAcked { client, connection });
            }
            _ => {}
        }
        all
    });
}
