//! An outage in its parts, and what became of each connection, on records made by hand.

use halfopen::record::{EndedBy, Event, Observation, RequestError};
use halfopen::verdict::judge;
use halfopen::verdict::result::{ClientResult, PartKind, StepKind};

use super::stories;
use super::story::{Story, address, ended};

fn client(record: &[Event]) -> ClientResult {
    let result = judge(record);
    assert_eq!(result.reason, None, "the case was judged");
    result.clients[0].clone()
}

/// Kinds with their milliseconds.
fn parts(client: &ClientResult) -> Vec<(PartKind, u128)> {
    let each = client.parts.iter();
    each.map(|part| (part.kind, part.lasted().as_millis()))
        .collect()
}

/// A dial from `from` to `to` that meets the dead endpoint, and is cancelled by its request's timeout.
fn dials_in_vain(story: &mut Story, from: f64, to: f64, number: u32, connection: u32) {
    story.dial(from, "standby", connection, "aa-1");
    story.failed(to, "standby", number, None, RequestError::Timeout);
    story.dial_failed(to, "standby", connection, ended(EndedBy::RequestTimeout));
}

#[test]
fn what_a_faster_removal_would_have_saved_is_a_part_of_its_own() {
    let a2 = client(&stories::a2().end());
    assert_eq!(
        parts(&a2),
        [
            (PartKind::DeadConnection, 10_002),
            (PartKind::Backoff, 3_000),
            (PartKind::EndpointRemoval, 9_999),
            (PartKind::Backoff, 3_000),
            (PartKind::EndpointRemoval, 9_999),
            // 4.1 s is longer than the client pauses, so nobody knows what it did.
            (PartKind::Handshake, 1),
            (PartKind::Response, 2),
        ]
    );
    let unexplained = a2.unexplained.expect("an outage").as_millis();
    assert!((4_098..4_108).contains(&unexplained), "{unexplained}");
}

/// The endpoint is removed at 50 s, in the middle of a dial.
#[test]
fn a_dial_is_split_where_its_endpoint_leaves_the_rules() {
    let mut story = stories::a2();
    story.events.retain(|event| event.at().as_secs_f64() < 49.0);
    story.open.retain(|(_, connection)| *connection < 4);
    dials_in_vain(&mut story, 49.002, 59.002, 7, 4);
    story.removed(50.0);
    let split = client(&story.end());
    let of_dial: Vec<_> = split
        .parts
        .iter()
        .filter(|p| p.connection == Some(4))
        .collect();
    let told: Vec<_> = of_dial
        .iter()
        .map(|p| {
            (
                p.kind,
                p.lasted().as_millis(),
                p.begins_with.as_str(),
                p.ends_with.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                PartKind::EndpointRemoval,
                997,
                "SYN of dial 4 to aa-1 on the wire",
                "aa-1 left the rules of aa"
            ),
            (
                PartKind::DeadDial,
                9_002,
                "aa-1 left the rules of aa",
                "dial 4 given up: request_timeout"
            ),
        ]
    );
}

#[test]
fn a_port_that_is_used_again_meets_its_old_conntrack_entry() {
    let mut story = stories::a2();
    story.events.retain(|event| event.at().as_secs_f64() < 49.0);
    story.open.retain(|(_, connection)| *connection < 4);
    story.removed(50.0);
    let first = story.events.len();
    dials_in_vain(&mut story, 51.002, 61.002, 7, 4);
    let (old, new) = (story.local("standby", 1), story.local("standby", 4));
    for event in &mut story.events[first..] {
        match &mut event.what {
            Observation::DialStarted { local, .. } => *local = Some(old),
            Observation::Segment(segment) if segment.from == new => segment.from = old,
            _ => {}
        }
    }
    let reused = client(&story.end());
    let connection = reused
        .connections
        .iter()
        .find(|c| c.id == 4)
        .expect("the dial");
    let dial = connection
        .chain
        .iter()
        .find(|step| step.kind == StepKind::Dial);
    let text = &dial.expect("its dial").text;
    let wanted = "though the rules no longer name it: its port is that of connection 1";
    assert!(text.contains(wanted), "{text}");
    let dead = reused.parts.iter().find(|part| part.connection == Some(4));
    assert_eq!(dead.map(|part| part.kind), Some(PartKind::DeadDial));
}

#[test]
fn witnesses_that_contradict_each_other_name_no_endpoint() {
    let mut record = stories::a1().end();
    for event in &mut record {
        if let Observation::Segment(segment) = &mut event.what
            && segment.flags == "S"
        {
            segment.to = address("192.168.2.2:443");
        }
    }
    assert_eq!(judge(&record).clients[0].affected, None);
}

/// What left the rules and came back is named by them again: only the removal that a dial lies in, or runs into, counts.
#[test]
fn a_dial_after_an_endpoint_came_back_is_due_to_the_rules_that_name_it() {
    for (back, kind) in [
        (Some(45.0), PartKind::EndpointRemoval),
        (None, PartKind::DeadDial),
    ] {
        let mut story = stories::a2();
        story.events.retain(|event| event.at().as_secs_f64() < 49.0);
        story.open.retain(|(_, connection)| *connection < 4);
        story.removed(44.0);
        if let Some(back) = back {
            story.event(
                back,
                Observation::EndpointAdded {
                    node: None,
                    service: "aa".to_owned(),
                    endpoint: "aa-1".to_owned(),
                },
            );
        }
        dials_in_vain(&mut story, 49.002, 59.002, 7, 4);
        story.removed(70.0);
        let told = client(&story.end());
        let dial = told.parts.iter().find(|part| part.connection == Some(4));
        assert_eq!(dial.map(|part| part.kind), Some(kind), "back: {back:?}");
    }
}
