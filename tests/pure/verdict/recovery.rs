//! When a client is well again, by what servers saw.

use std::time::Duration;

use halfopen::explain::{Options, explain};
use halfopen::record::{Event, Observation};
use halfopen::verdict::result::{CaseResult, ClientResult};
use halfopen::verdict::{Verdict, judge};

use super::stories;
use super::story::{Story, seconds};

fn judged(mut story: Story) -> CaseResult {
    judge(&story.end())
}

fn client(story: Story) -> ClientResult {
    judged(story).clients.swap_remove(0)
}

fn rounded(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1e3).round() / 1e3)
}

#[test]
fn a1_recovers_after_its_socket_died() {
    let client = client(stories::a1());
    assert_eq!(client.fault_at, Some(seconds(10.0)));
    assert_eq!(rounded(client.detected_after), Some(928.2));
    assert_eq!(rounded(client.recovered_after), Some(939.312));
    assert_eq!((client.requests_failed, client.dials), (Some(72), 1));
    assert!(!client.outside_prediction);
}

#[test]
fn a2_recovers_when_the_endpoint_is_removed() {
    let client = client(stories::a2());
    assert_eq!(rounded(client.detected_after), Some(10.002));
    assert_eq!(rounded(client.recovered_after), Some(40.112));
    assert_eq!((client.requests_failed, client.dials), (Some(3), 3));
}

#[test]
fn a_client_that_was_not_struck_is_well_at_its_next_response() {
    let client = client(stories::unaffected());
    assert_eq!(client.affected, Some(false));
    assert_eq!(client.detected_after, None);
    assert_eq!(rounded(client.recovered_after), Some(0.012));
    assert_eq!((client.requests_failed, client.dials), (Some(0), 0));
}

#[test]
fn a_wait_that_nothing_ends_is_not_a_recovery() {
    let client = client(stories::never_recovers());
    assert_eq!(
        (client.detected_after, client.recovered_after),
        (None, None)
    );
    assert_eq!(client.requests_failed, Some(1));
}

#[test]
fn a_relapse_moves_recovery() {
    let client = client(stories::relapses());
    assert_eq!(rounded(client.detected_after), Some(2.5));
    assert_eq!(rounded(client.recovered_after), Some(28.012));
    assert_eq!(client.requests_failed, Some(3));
}

#[test]
fn a_client_that_ends_unwell_has_not_recovered() {
    assert_eq!(client(stories::ends_unwell()).recovered_after, None);
    assert_eq!(client(stories::ends_dialling()).recovered_after, None);
    let relapse = client(stories::relapses_dialling());
    assert_eq!(rounded(relapse.recovered_after), Some(27.012));
}

/// A request that could not have been answered by then says nothing; one that could says that the client is not well.
#[test]
fn a_request_cut_short_by_the_end_is_neither_failed_nor_unwell() {
    let cut_short = client(stories::ends_waiting(3.0));
    assert_eq!(rounded(cut_short.recovered_after), Some(4.012));
    assert_eq!(cut_short.requests_failed, Some(1));
    let overdue = client(stories::ends_waiting(6.0));
    assert_eq!(overdue.recovered_after, None);
    assert_eq!(overdue.requests_failed, Some(2));
}

#[test]
fn a_response_that_no_server_gave_does_not_count() {
    let result = judged(stories::claims_success());
    assert_eq!(result.verdict, Verdict::Fail);
    assert_eq!(result.clients[0].recovered_after, None);
    assert_eq!(result.clients[0].requests_failed, Some(1));
    let warned = &result.warnings[0].text;
    assert_eq!(
        warned,
        "optimist: responses that no server's record has, so they do not count: requests 4"
    );
}

/// With the server's own record of it, the same response counts.
#[test]
fn a_response_that_a_server_gave_counts() {
    let mut story = stories::claims_success();
    story.served(11.5, "optimist", 4, 1, "aa-2");
    assert_eq!(rounded(client(story).recovered_after), Some(2.0));
}

#[test]
fn a_response_that_a_dead_node_gave_is_no_recovery() {
    let mut story = stories::claims_success();
    story.served(9.9, "optimist", 4, 1, "aa-1");
    let client = client(story);
    assert_eq!(client.recovered_after, None);
    assert_eq!(
        client.requests_failed,
        Some(0),
        "it was answered all the same"
    );
}

/// A program that is not ours does not number its requests: then the address must fit.
#[test]
fn a_response_to_an_unnumbered_request_is_told_by_its_peer() {
    let unnumber = |events: Vec<Event>| -> Vec<Event> {
        let strip = |mut event: Event| {
            if let Observation::ServerResponse { request, .. }
            | Observation::ServerRequest { request, .. } = &mut event.what
            {
                *request = None;
            }
            event
        };
        events.into_iter().map(strip).collect()
    };
    let numbered = stories::a2().end();
    let unnumbered = judge(&unnumber(numbered.clone()));
    assert_eq!(unnumbered.clients, judge(&numbered).clients);
    let claimed = judge(&unnumber(stories::claims_success().end()));
    assert_eq!(claimed.clients[0].recovered_after, None);
}

#[test]
fn a_client_on_the_dead_node_is_gone_and_not_failed() {
    let result = judged(stories::gone());
    assert!(result.clients[0].gone);
    assert_eq!(result.clients[0].cause, None);
    assert_eq!(result.expectations[0].verdict, Verdict::Skipped);
    assert_eq!(
        result.expectations[0].actual,
        "the client is gone: its node lost power at 10.0 s"
    );
    assert_eq!(result.verdict, Verdict::Skipped, "nothing was tested");
    let record = stories::gone().end();
    let told = explain(&record, &result, Options::default()).expect("a story");
    assert!(
        told.contains(": gone: its own node lost its power\n"),
        "{told}"
    );
}

/// Two events of one instant, as a virtual clock has them, keep their order.
#[test]
fn the_order_of_one_instant_is_kept() {
    let mut story = stories::never_recovers();
    story.case.lab.clients[0].transport.request_timeout = None;
    let events = story.end();
    let mut instant = events.clone();
    // All but the end, which comes late enough for the last request to count.
    for event in instant.iter_mut().filter(|e| e.t_ns < 60_000_000_000) {
        event.t_ns = 0;
    }
    let client = judge(&instant).clients.swap_remove(0);
    assert_eq!(
        (client.affected, client.requests_failed, client.dials),
        (Some(true), Some(1), 0)
    );
}
