//! What is known of a connection besides its own end: its socket's options, its namespace's sysctls, its client's requests.

use std::time::Duration;

use crate::plan::{Cause, Client, Keepalive, Place};
use crate::record::{Observation, RequestError};
use crate::timeout_model::TcpSysctls;

use super::cause::{self, Circumstances, Found};
use super::connections::Connection;
use super::timeline::{Moment, Timeline};

/// What ended a connection.
pub(super) fn found(client: &Client, timeline: &Timeline, connection: &Connection) -> Found {
    let Some((at, end)) = connection.end else {
        return Found {
            cause: Cause::Unknown,
            evidence: String::from("its end was not recorded"),
        };
    };
    let (keepalive, user_timeout) = options(client, timeline, connection);
    let known = Circumstances {
        opened: connection.opened.is_some() || !connection.dial_failed,
        tls: client.target.tls,
        keepalive,
        user_timeout,
        gives_up_after: tcp_sysctls(client, timeline).retransmission_bound(),
        request_timed_out: timed_out_during(client, timeline, connection, at),
    };
    cause::of_end(end, &known)
}

/// A socket's keepalive and TCP_USER_TIMEOUT: ours has what the plan says, a program's what was read from it, if it
/// was.
fn options(
    client: &Client,
    timeline: &Timeline,
    connection: &Connection,
) -> (Option<Keepalive>, Option<Duration>) {
    if client.program().is_none() {
        let transport = &client.transport;
        return (transport.keepalive, transport.user_timeout);
    }
    let read = timeline
        .events
        .iter()
        .rev()
        .find_map(|(_, what)| match what {
            Observation::SocketOptions {
                client: c,
                connection: id,
                keepalive,
                user_timeout,
            } if *c == client.name && *id == connection.id => Some((*keepalive, *user_timeout)),
            _ => None,
        });
    read.unwrap_or_default()
}

/// The sysctls in the client's namespace: by what was read back there, else by what was asked for, else the kernel's
/// defaults.
pub(super) fn tcp_sysctls(client: &Client, timeline: &Timeline) -> TcpSysctls {
    let lab = &timeline.case.lab;
    let (place, planned) = match &client.place {
        Place::Node(name) => {
            let node = lab.nodes.iter().find(|node| node.name == *name);
            (name, node.map(|node| &node.sysctls))
        }
        Place::Pod(name) => {
            let pod = lab.pods.iter().find(|pod| pod.name == *name);
            (name, pod.map(|pod| &pod.sysctls))
        }
    };
    let mut sysctls = planned.cloned().unwrap_or_default();
    sysctls.extend(timeline.sysctls(place));
    TcpSysctls::with(&sysctls)
}

fn timed_out_during(
    client: &Client,
    timeline: &Timeline,
    connection: &Connection,
    ended: Moment,
) -> bool {
    let began = connection.began().unwrap_or(Moment::START);
    timeline.events.iter().any(|(at, what)| match what {
        Observation::RequestFailed {
            request,
            error: RequestError::Timeout,
            ..
        } => {
            // The request fails and its dial is cancelled at one instant, in either order.
            request.client == client.name && *at > began && at.at <= ended.at
        }
        _ => false,
    })
}
