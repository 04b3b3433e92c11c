//! Records of busy clients: judging goes through a record a fixed number of times, however much is in it.

use std::time::{Duration, Instant};

use halfopen::plan::{Phase, Protocol};
use halfopen::record::{EndedBy, Event, RequestError};
use halfopen::verdict::judge;
use halfopen::verdict::result::ClientResult;

use super::story::{Story, ended, seconds};

/// A request every 10 ms over one connection, half of them before the fault, the rest, after a wait of 10 s, with a live
/// server.
fn one_connection(requests: u32) -> Vec<Event> {
    let each = 0.01;
    let half = requests / 2;
    let lasts = f64::from(requests) * each + 20.0;
    let mut story = Story::new("busy", lasts);
    story.client("poller", 1, Protocol::H1).request_timeout = Some(seconds(10.0));
    story.open(0.0, "poller", 1, "aa-1");
    let at = |n: u32| f64::from(n) * each + 0.001;
    for n in 0..half {
        story.exchange(at(n), "poller", 1 + n, 1, "aa-1");
    }
    let cut = at(half);
    story.cut(cut, &[("poller", Phase::Idle)]);
    story.times_out(cut + each, 10.0, "poller", half + 1, 1);
    let again = cut + each + 10.0;
    story.closed(again, "poller", 1, ended(EndedBy::RequestTimeout));
    story.open(again, "poller", 2, "aa-2");
    for n in 0..half {
        story.exchange(again + 0.002 + at(n), "poller", half + 2 + n, 2, "aa-2");
    }
    story.end()
}

/// A connection for each request: one before the fault, all others dials of the dead in vain.
fn many_connections(dials: u32) -> Vec<Event> {
    let lasts = f64::from(dials) * 0.2 + 20.0;
    let mut story = Story::new("dialler", lasts);
    story.client("poller", 1, Protocol::H1).request_timeout = Some(seconds(0.1));
    story.open(0.0, "poller", 1, "aa-1");
    story.exchange(0.1, "poller", 1, 1, "aa-1");
    story.cut(1.0, &[("poller", Phase::Idle)]);
    story.times_out(1.1, 0.1, "poller", 2, 1);
    story.closed(1.2, "poller", 1, ended(EndedBy::RequestTimeout));
    for n in 0..dials {
        let at = 1.3 + f64::from(n) * 0.2;
        story.dial(at, "poller", 2 + n, "aa-1");
        story.failed(at + 0.1, "poller", 3 + n, None, RequestError::Timeout);
        story.dial_failed(at + 0.1, "poller", 2 + n, ended(EndedBy::RequestTimeout));
    }
    story.end()
}

fn judged(record: &[Event]) -> (ClientResult, Duration) {
    let begun = Instant::now();
    let mut result = judge(record);
    (result.clients.swap_remove(0), begun.elapsed())
}

#[test]
fn a_busy_client_is_judged_like_any_other() {
    let (client, _) = judged(&one_connection(10_000));
    assert_eq!(client.requests_failed, Some(1));
    assert_eq!(client.connections.len(), 2);
    let recovered = client.recovered_after.expect("it works again");
    assert!(recovered > seconds(10.0) && recovered < seconds(10.1));
    let (client, _) = judged(&many_connections(2_000));
    assert_eq!(client.requests_failed, Some(2_001));
    assert_eq!(client.connections.len(), 2_001);
    assert_eq!(client.recovered_after, None);
    let dead: Duration = client.parts.iter().map(|part| part.lasted()).sum();
    assert!(dead > seconds(390.0), "{dead:?}");
}

/// By hand, with `--release --ignored --nocapture`: four times as much takes four times as long.
#[test]
#[ignore = "what it shows is a time"]
fn how_long_judging_takes() {
    for requests in [22_500, 90_000, 360_000] {
        let record = one_connection(requests);
        let (_, took) = judged(&record);
        println!("{requests} requests, {} events: {took:?}", record.len());
    }
    for dials in [2_750, 11_000, 22_000] {
        let record = many_connections(dials);
        let (_, took) = judged(&record);
        println!("{dials} dials, {} events: {took:?}", record.len());
    }
}
