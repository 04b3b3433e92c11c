//! Whether a fault tested anything of a client: "never" and "0 failed" are true of one that does nothing, too.

use crate::plan::{Client, Phase, Trigger};

use super::connections::Connection;
use super::requests::Requests;
use super::timeline::Injected;

/// Why nothing can be said of a client: it was not working before the fault, or asked for nothing after it.
pub(super) fn untested(
    client: &Client,
    fault: &Injected,
    affected: Option<bool>,
    connections: &[Connection],
    requests: &Requests,
) -> Option<&'static str> {
    let at = fault.at;
    // One that is struck as it connects, or that begins only afterwards, has had no response yet.
    let connecting = matches!(
        fault.fault.trigger,
        Trigger::Phase {
            phase: Phase::Connecting,
            ..
        }
    );
    let well_before = requests.good.first().is_some_and(|first| *first < at);
    if !connecting && client.start < at.at && !well_before {
        return Some("it had no response before the fault");
    }
    let active = requests.active_after(at)
        || connections.iter().any(|connection| {
            connection.began().is_some_and(|began| began > at)
                || connection.ended().is_some_and(|ended| ended > at)
                || (connection.held_at(at) && connection.opened.is_none_or(|opened| opened > at))
        });
    // A program may hold a dead connection and only listen.
    let listens = client.program().is_some() && affected != Some(false);
    (!active && !listens).then_some("it sent nothing after the fault")
}
