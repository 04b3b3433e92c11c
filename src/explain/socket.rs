//! A socket as `netstat -o` and `ss -o` print it.

use crate::record::{Socket, SocketTimer, TimerKind};
use crate::result::word;

/// The timer as netstat prints it: kind, seconds left, retransmissions, probes.
pub(super) fn timer(timer: Option<SocketTimer>) -> String {
    let Some(SocketTimer {
        kind,
        left_ms,
        count,
    }) = timer
    else {
        return String::from("off (0.00/0/0)");
    };
    let left = f64::from(left_ms) / 1e3;
    match kind {
        TimerKind::Retransmission => format!("on ({left:.2}/{count}/0)"),
        TimerKind::Keepalive => format!("keepalive ({left:.2}/0/{count})"),
        TimerKind::TimeWait => format!("timewait ({left:.2}/0/0)"),
        TimerKind::ZeroWindowProbe => format!("probe ({left:.2}/0/{count})"),
    }
}

/// A socket in one line: addresses, state, queues and timer.
pub(super) fn line(socket: &Socket) -> String {
    format!(
        "{} -> {} {} Recv-Q {} Send-Q {} {}",
        socket.local,
        socket.peer,
        word(&socket.state),
        socket.receive_queue,
        socket.send_queue,
        timer(socket.timer)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_read_as_netstat_prints_them() {
        let shown = |kind, left_ms, count| {
            timer(Some(SocketTimer {
                kind,
                left_ms,
                count,
            }))
        };
        assert_eq!(
            shown(TimerKind::Retransmission, 21_570, 9),
            "on (21.57/9/0)"
        );
        assert_eq!(
            shown(TimerKind::Keepalive, 4_390, 0),
            "keepalive (4.39/0/0)"
        );
        assert_eq!(
            shown(TimerKind::ZeroWindowProbe, 500, 3),
            "probe (0.50/0/3)"
        );
        assert_eq!(timer(None), "off (0.00/0/0)");
    }
}
