//! What made the kernel end a connection.
//!
//! ETIMEDOUT is the same for a retransmission timeout, keepalive and TCP_USER_TIMEOUT; what tells them apart is the
//! socket's last TCP_INFO, and that must fit the packets, the socket's last timer, the options and the sysctls.

use std::time::Duration;

use super::{Judged, STATE_CLOSE, found, milliseconds, unanswered_for, unanswered_syn};
use crate::plan::{Cause, Keepalive};
use crate::record::{TcpInfo, TimerKind};
use crate::timeout_model::connect;

use super::super::evidence::Evidence;
use super::super::units::{exact, measured};
use super::super::wire::Wire;

/// Jiffies round TCP_INFO's ages: one tick of the slowest kernel (HZ=100).
const TICK: Duration = Duration::from_millis(10);
/// Two clocks' readings of one instant, on a busy machine.
const AGREE: Duration = Duration::from_millis(150);

pub(super) fn of(e: &Evidence) -> Judged {
    match e.end.errno {
        Some(libc::ETIMEDOUT) => of_timeout(e),
        // A program's own: only it was told the error. What no packet explains can only be a timer.
        None if e.program && e.end.tcp_info.is_some() => of_timeout(e),
        Some(libc::ECONNRESET) => reset(e),
        Some(libc::ECONNREFUSED) => refused(e),
        Some(libc::ECONNABORTED) => destroyed(e),
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => unreachable(e),
        _ => Err(e.end.text.clone()),
    }
}

fn reset(e: &Evidence) -> Judged {
    if e.dial && e.wire.syn_acked.is_none() && !e.tls {
        return Err(format!("{}, but it was never open", e.end.text));
    }
    if !e.wire.reset {
        return Err(format!(
            "{}, but no RST to it was seen on the wire",
            e.end.text
        ));
    }
    if e.end.tcp_info.is_some_and(|info| info.state != STATE_CLOSE) {
        return Err(format!("{}, but its socket reads otherwise", e.end.text));
    }
    let text = format!("{}: a RST to it was seen on the wire", e.end.text);
    found(Cause::Reset, text)
}

fn destroyed(e: &Evidence) -> Judged {
    let text = &e.end.text;
    if !e.destroyed {
        return Err(format!("{text}, but nobody destroyed its socket"));
    }
    if e.end.tcp_info.is_some_and(|info| info.state != STATE_CLOSE) {
        return Err(format!("{text}, but its socket reads otherwise"));
    }
    found(
        Cause::SocketDestroyed,
        format!("{text}: its kernel was told to destroy it"),
    )
}

fn refused(e: &Evidence) -> Judged {
    if !e.dial || e.wire.syn_acked.is_some() {
        return Err(format!("{}, but its SYN had been answered", e.end.text));
    }
    if !e.wire.reset {
        return Err(format!(
            "{}, but no RST to it was seen on the wire",
            e.end.text
        ));
    }
    if e.end.tcp_info.is_some_and(|info| info.state != STATE_CLOSE) {
        return Err(format!("{}, but its socket reads otherwise", e.end.text));
    }
    let text = format!("{}: a RST answered its SYN", e.end.text);
    found(Cause::Refused, text)
}

fn unreachable(e: &Evidence) -> Judged {
    let who = match (e.dead_neighbour, e.icmp) {
        (true, _) => "the dead node's link-layer address does not resolve",
        (false, true) => "an ICMP error came",
        (false, false) => {
            let text = &e.end.text;
            return Err(format!(
                "{text}, but no ICMP error came, and its neighbour resolves"
            ));
        }
    };
    if let Some(info) = e.end.tcp_info.filter(|_| !e.dial) {
        // On an established connection it is what the kernel remembers when its retransmissions run out.
        let (least, _) = least(e);
        if info.state != STATE_CLOSE || unanswered(&info) + TICK < least {
            let text = &e.end.text;
            return Err(format!("{text}, but its retransmissions had not run out"));
        }
    }
    found(Cause::Unreachable, format!("{}: {who}", e.end.text))
}

/// Which timer ended it.
fn of_timeout(e: &Evidence) -> Judged {
    let Some(info) = e.end.tcp_info.or(e.socket.last) else {
        // Without TLS a dial is over with the handshake, so its timeout can only be that of the SYNs.
        if e.dial && !e.tls {
            return syns(e, None);
        }
        return Err(String::from(
            "ETIMEDOUT, and the socket's TCP_INFO is missing",
        ));
    };
    if let Some(last) = e.socket.last
        && (last.retransmits, last.probes) != (info.retransmits, info.probes)
    {
        return Err(format!(
            "{}, but the kernel's last word of the socket says {} and {}",
            describe(e, &info),
            last.retransmits,
            last.probes
        ));
    }
    // A round trip is measured once the SYN is answered.
    if e.opened.is_none() && e.dial && info.rtt_us == 0 {
        return syns(e, Some(&info));
    }
    let judged = of_established(e, &info);
    judged.map_err(|doubt| format!("{}, but {doubt}", describe(e, &info)))
}

/// The kernel's own limit on SYNs.
fn syns(e: &Evidence, info: Option<&TcpInfo>) -> Judged {
    unanswered_syn(e)?;
    if info.is_some_and(|info| info.state != STATE_CLOSE) {
        return Err(format!("{}, but its socket lives on", e.end.text));
    }
    let least = connect(&e.sysctls, e.user_timeout, e.kernel).min;
    let waited = e.ended.saturating_sub(e.began.unwrap_or(e.ended));
    if waited + TICK < least {
        let (waited, least) = (measured(waited), exact(least));
        return Err(format!(
            "{} after {waited}, but SYNs go on for {least}",
            e.end.text
        ));
    }
    found(Cause::DialTimeout, unanswered_for(e, waited))
}

fn of_established(e: &Evidence, info: &TcpInfo) -> Judged {
    if info.state != STATE_CLOSE {
        return Err(String::from("its socket lives on"));
    }
    if e.wire.reset {
        return Err(String::from("a RST to it was seen on the wire"));
    }
    if info.retransmits > 0 {
        of_retransmissions(e, info)
    } else if info.probes > 0 && info.unacked == 0 {
        of_probes(e, info)
    } else {
        Err(String::from(
            "neither retransmissions nor probes had run out",
        ))
    }
}

/// How long the kernel goes on at the least, and the cause that this makes.
fn least(e: &Evidence) -> (Duration, Cause) {
    // With TCP_USER_TIMEOUT the kernel looks at it alone, and not at tcp_retries2.
    match e.user_timeout {
        Some(timeout) => (timeout, Cause::UserTimeout),
        None => (
            e.sysctls.retransmission_bound(),
            Cause::RetransmissionTimeout,
        ),
    }
}

/// The retransmission timer ruled: nothing else ends a connection with data unacknowledged.
fn of_retransmissions(e: &Evidence, info: &TcpInfo) -> Judged {
    // Keepalive probes may have been under way when the data was sent, but not all of them.
    if e.keepalive
        .is_some_and(|k| u32::from(info.probes) >= k.count)
    {
        return Err(String::from("keepalive had run out as well"));
    }
    timer_is(e, TimerKind::Retransmission)?;
    let (least, cause) = least(e);
    match alone(e, info, least) {
        Ok(()) => {}
        Err(_) if e.lossy => return of_recovery(e, info, least, cause),
        Err(doubt) => return Err(doubt),
    }
    let on_the_wire = format!(
        "{}; on the wire one segment was sent {} times in {}",
        describe(e, info),
        e.wire.sendings.len(),
        measured(span(&e.wire.sendings)),
    );
    found(cause, on_the_wire)
}

/// One segment alone was sent again and again, and nothing was heard meanwhile.
fn alone(e: &Evidence, info: &TcpInfo, least: Duration) -> Result<(), String> {
    if unanswered(info) + TICK < least {
        return Err(format!("it would go on for {}", exact(least)));
    }
    sendings_agree(&e.wire, info, e, least)
}

/// Packets are lost by chance, and acknowledgements of some come while others are sent again: the kernel counts its limit
/// from the first retransmission of a recovery that is not over, however much was acknowledged since.
fn of_recovery(e: &Evidence, info: &TcpInfo, least: Duration, cause: Cause) -> Judged {
    let struggled = e.wire.struggled(e.ended, least);
    if struggled + TICK < least {
        let (least, struggled) = (exact(least), measured(struggled));
        return Err(format!(
            "it would go on for {least}, and segments were sent again for {struggled}"
        ));
    }
    let text = format!(
        "{}; on the wire segments were sent again for {}, on a path that loses some",
        describe(e, info),
        measured(struggled)
    );
    found(cause, text)
}

/// Whether the wire tells the same story as the socket.
fn sendings_agree(
    wire: &Wire,
    info: &TcpInfo,
    e: &Evidence,
    least: Duration,
) -> Result<(), String> {
    if e.dead_neighbour {
        // Nothing leaves the node any more.
        return Ok(());
    }
    let (Some(first), Some(last)) = (wire.sendings.first(), wire.sendings.last()) else {
        return Err(String::from(
            "nothing was seen to be sent twice on the wire",
        ));
    };
    // A tail loss probe is one more that the kernel does not count.
    let again = wire.sendings.len() - 1;
    let counted = usize::from(info.retransmits);
    if again.abs_diff(counted) > 1 {
        return Err(format!("on the wire it was sent again {again} times"));
    }
    let since_last = e.ended.saturating_sub(*last);
    if since_last.abs_diff(milliseconds(info.last_data_sent_ms)) > AGREE {
        let seen = measured(since_last);
        let said = measured(milliseconds(info.last_data_sent_ms));
        return Err(format!(
            "its last sending was {seen} ago on the wire and {said} by its socket"
        ));
    }
    // The first sending and the probe after it come before the time that counts; a kernel that fired beyond its
    // limit would have given up there.
    let waited = e.ended.saturating_sub(*first);
    let beyond = last.saturating_sub(*wire.sendings.get(1).unwrap_or(first));
    if waited + TICK < least || beyond > least + least / 8 + AGREE {
        let (waited, least) = (measured(waited), exact(least));
        return Err(format!(
            "on the wire it took {waited}, and its limit is {least}"
        ));
    }
    Ok(())
}

/// The keepalive timer ruled: nothing was unacknowledged.
fn of_probes(e: &Evidence, info: &TcpInfo) -> Judged {
    let Some(keepalive) = e.keepalive else {
        // Probes of a zero window look the same.
        return Err(String::from("its keepalive is off, or not known"));
    };
    timer_is(e, TimerKind::Keepalive)?;
    // With TCP_USER_TIMEOUT the count is ignored.
    let (cause, count, least) = match e.user_timeout {
        Some(timeout) => (Cause::UserTimeout, 1, timeout),
        None => {
            let least = keepalive.idle + keepalive.interval * keepalive.count;
            (Cause::Keepalive, keepalive.count, least)
        }
    };
    let silent = unanswered(info).min(milliseconds(info.last_data_recv_ms));
    if u32::from(info.probes) < count {
        return Err(format!("it would probe {count} times"));
    }
    if silent + TICK < least {
        return Err(format!("it would wait for {}", exact(least)));
    }
    probes_agree(&e.wire, info, e, &keepalive)?;
    let text = format!(
        "{}; on the wire {} probes in {}",
        describe(e, info),
        e.wire.probes.len(),
        measured(span(&e.wire.probes))
    );
    found(cause, text)
}

fn probes_agree(
    wire: &Wire,
    info: &TcpInfo,
    e: &Evidence,
    keepalive: &Keepalive,
) -> Result<(), String> {
    if e.dead_neighbour {
        return Ok(());
    }
    let Some(last) = wire.probes.last() else {
        return Err(String::from("no probe was seen on the wire"));
    };
    if wire.probes.len().abs_diff(usize::from(info.probes)) > 1 {
        return Err(format!("on the wire there were {}", wire.probes.len()));
    }
    if wire.sendings.last().is_some_and(|sent| sent > last) {
        return Err(String::from("data was sent again after its last probe"));
    }
    // The last interval is cut short by TCP_USER_TIMEOUT.
    let waited = e.ended.saturating_sub(*last);
    let interval = keepalive.interval;
    let short = e.user_timeout.is_none() && waited + AGREE < interval;
    if short || waited > interval + interval / 7 + AGREE {
        let (waited, interval) = (measured(waited), exact(interval));
        return Err(format!(
            "its last probe was {waited} before, and its interval is {interval}"
        ));
    }
    Ok(())
}

/// The socket's last timer, where it was seen, is the one that ruled.
fn timer_is(e: &Evidence, kind: TimerKind) -> Result<(), String> {
    match e.socket.timer {
        Some(timer) if timer.kind != kind => {
            Err(String::from("the socket's last timer was another"))
        }
        _ => Ok(()),
    }
}

fn unanswered(info: &TcpInfo) -> Duration {
    milliseconds(info.last_ack_recv_ms)
}

fn span(times: &[Duration]) -> Duration {
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => last.saturating_sub(*first),
        _ => Duration::ZERO,
    }
}

fn describe(e: &Evidence, info: &TcpInfo) -> String {
    let error = if e.end.errno.is_some() {
        "ETIMEDOUT"
    } else {
        &e.end.text
    };
    format!(
        "{error} after {} retransmissions and {} unanswered probes, {} after the last acknowledgement",
        info.retransmits,
        info.probes,
        measured(unanswered(info)),
    )
}
