//! What ended the wait on the dead connection.

use halfopen::plan::Cause;
use halfopen::verdict::judge;
use halfopen::verdict::result::CaseResult;

use super::stories;
use super::story::Story;

fn cause(mut story: Story) -> Option<Cause> {
    let result: CaseResult = judge(&story.end());
    assert_eq!(result.reason, None, "the case was judged");
    result.clients[0].cause
}

#[test]
fn each_story_has_its_own() {
    assert_eq!(cause(stories::a1()), Some(Cause::RetransmissionTimeout));
    assert_eq!(cause(stories::a2()), Some(Cause::RequestTimeout));
    assert_eq!(cause(stories::keepalive_ends()), Some(Cause::Keepalive));
    assert_eq!(
        cause(stories::user_timeout_ends()),
        Some(Cause::UserTimeout)
    );
    assert_eq!(cause(stories::ping_ends()), Some(Cause::PingTimeout));
    assert_eq!(cause(stories::reset_ends()), Some(Cause::Reset));
    assert_eq!(cause(stories::unreachable_ends()), Some(Cause::Unreachable));
    assert_eq!(
        cause(stories::refused_while_dialling()),
        Some(Cause::Refused)
    );
    assert_eq!(cause(stories::never_recovers()), Some(Cause::Never));
}

#[test]
fn a_client_that_was_not_struck_has_none() {
    assert_eq!(cause(stories::unaffected()), None);
}

#[test]
fn etimedout_alone_does_not_tell() {
    assert_eq!(cause(stories::no_tcp_info()), Some(Cause::Unknown));
}

#[test]
fn evidence_that_does_not_fit_does_not_tell() {
    assert_eq!(cause(stories::too_early()), Some(Cause::Unknown));
}

#[test]
fn dials_that_met_the_dead_endpoint_are_seen_by_their_syns() {
    let result = judge(&stories::a2().end());
    let seen: Vec<_> = result.clients[0]
        .connections
        .iter()
        .map(|c| (c.id, c.endpoint.as_deref(), c.opened_at.is_some(), c.cause))
        .collect();
    assert_eq!(
        seen,
        [
            (1, Some("aa-1"), true, Cause::RequestTimeout),
            (2, Some("aa-1"), false, Cause::RequestTimeout),
            (3, Some("aa-1"), false, Cause::RequestTimeout),
            (4, Some("aa-2"), true, Cause::Never),
        ]
    );
}

#[test]
fn a_sysctl_of_the_clients_pod_sets_the_bound() {
    let mut story = stories::too_early();
    // 9 doublings end after 102.2 s at the least with 8; with 7 after 51.0 s.
    story.sysctl("standby", "net.ipv4.tcp_retries2", "7");
    assert_eq!(cause(story), Some(Cause::RetransmissionTimeout));
}
