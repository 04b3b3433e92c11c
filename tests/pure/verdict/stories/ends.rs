//! Connections that end before anybody would have used them again, each by something else.

use halfopen::plan::{Keepalive, Neighbour, Phase, Ping, Protocol};
use halfopen::record::{EndedBy, Observation, RequestError};

use super::super::cast::power_loss;
use super::super::story::{Story, dead_socket, ended, errno, seconds};
use super::{expect_soon, well_again, well_until_the_fault};

fn keepalive() -> Keepalive {
    Keepalive {
        idle: seconds(5.0),
        interval: seconds(5.0),
        count: 3,
    }
}

/// One client whose dead connection ends with `end` at `t`, after which it is well.
fn ends(
    scenario: &str,
    knobs: impl FnOnce(&mut Story),
    t: f64,
    end: halfopen::record::ConnectionEnd,
) -> Story {
    let mut story = Story::new(scenario, 1100.0);
    story.client("standby", 1, Protocol::H2);
    knobs(&mut story);
    story.sysctl("standby", "net.ipv4.tcp_retries2", "15");
    expect_soon(&mut story, "standby");
    well_until_the_fault(&mut story, "standby");
    story.sent(9.0, "standby", 4, 1);
    story.cut(10.0, &[("standby", Phase::WaitingForResponse)]);
    story.closed(t, "standby", 1, end);
    story.failed(t, "standby", 4, Some(1), RequestError::ConnectionLost);
    well_again(&mut story, t + 3.0, "standby", 5, 2);
    story
}

pub(super) fn transport(story: &mut Story) -> &mut halfopen::plan::Transport {
    &mut story.case.lab.clients[0].transport
}

/// Keepalive: nothing unacknowledged, three probes unanswered.
pub(crate) fn keepalive_ends() -> Story {
    let end = errno(libc::ETIMEDOUT, Some(dead_socket(0, 3, 20.1)));
    ends(
        "keepalive",
        |story| transport(story).keepalive = Some(keepalive()),
        29.1,
        end,
    )
}

/// TCP_USER_TIMEOUT of 30 s.
pub(crate) fn user_timeout_ends() -> Story {
    let end = errno(libc::ETIMEDOUT, Some(dead_socket(7, 0, 30.3)));
    ends(
        "user-timeout",
        |story| transport(story).user_timeout = Some(seconds(30.0)),
        40.0,
        end,
    )
}

/// No answer to a PING.
pub(crate) fn ping_ends() -> Story {
    let ping = Ping {
        idle: seconds(30.0),
        timeout: seconds(15.0),
        while_idle: true,
    };
    let mut story = ends(
        "ping",
        |story| transport(story).ping = Some(ping),
        54.0,
        ended(EndedBy::PingTimeout),
    );
    story.event(
        39.0,
        Observation::PingSent {
            client: "standby".to_owned(),
            connection: 1,
        },
    );
    story
}

/// RST.
pub(crate) fn reset_ends() -> Story {
    ends(
        "reset",
        |_| (),
        12.0,
        errno(libc::ECONNRESET, Some(dead_socket(2, 0, 3.0))),
    )
}

/// The neighbour table says there is no way.
pub(crate) fn unreachable_ends() -> Story {
    ends(
        "unreachable",
        |story| {
            story.case.lab.faults[0].effects = power_loss("node3", Neighbour::Dead);
        },
        945.0,
        errno(libc::EHOSTUNREACH, Some(dead_socket(20, 0, 936.0))),
    )
}

/// ETIMEDOUT, but no TCP_INFO.
pub(crate) fn no_tcp_info() -> Story {
    ends("no-tcp-info", |_| (), 938.0, errno(libc::ETIMEDOUT, None))
}

/// ETIMEDOUT with retransmissions, but far too early for the kernel's bound.
pub(crate) fn too_early() -> Story {
    ends(
        "too-early",
        |_| (),
        100.0,
        errno(libc::ETIMEDOUT, Some(dead_socket(9, 0, 91.0))),
    )
}
