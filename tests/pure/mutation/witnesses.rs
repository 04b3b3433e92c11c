//! One witness says something else: a TCP_INFO, a packet, a socket, a sysctl, a server, the client.

use halfopen::record::{
    EndedBy, Event, Observation, RequestError, SocketChange, TcpInfo, TcpState, TimerKind,
};

use super::{none_is_wrong, with_end};

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
                for other in [
                    "aa-1", "aa-2", "web-1", "web-2", "httptest", "beats-1", "killed-1",
                ] {
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
