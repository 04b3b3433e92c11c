//! What made the kernel end a connection.
//!
//! ETIMEDOUT is the same for a retransmission timeout, keepalive and TCP_USER_TIMEOUT; what tells them apart is the
//! socket's last TCP_INFO, and that must fit the packets, the socket's last timer, the options and the sysctls.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::Duration;

use super::{
    AGREE, Judged, STATE_CLOSE, found, milliseconds, times, unanswered_for, unanswered_syn,
};
use crate::plan::{Cause, Keepalive};
use crate::record::{TcpInfo, TimerKind};
use crate::timeout_model::connect;

use super::super::evidence::Evidence;
use super::super::index::TICK;
use super::super::wire::Wire;
use super::window::of_window_probes;
use crate::plan::units::{exact, measured};

/// A neighbour is asked for its link-layer address three times, a second apart, before it counts as dead; the timer wheel
/// makes up to 1.08 s of each second (at HZ=100), and the error takes a moment to come.
const UNRESOLVED: Duration = Duration::from_millis(3400);
/// Errors that the kernel makes of ICMP's (`icmp_err_convert`, `tab_unreach` of ICMPv6).
const OF_ICMP: [i32; 6] = [
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::ECONNREFUSED,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::EACCES,
];

pub(super) fn of(e: &Evidence) -> Judged {
    match e.end.errno {
        Some(libc::ETIMEDOUT) => of_timeout(e),
        // A program's own: only it was told the error. What no packet explains can only be a timer.
        None if e.program && e.end.tcp_info.is_some() => match remembers_icmp(e) {
            true => unreachable(e),
            false => of_timeout(e),
        },
        Some(libc::ECONNRESET) => reset(e),
        Some(libc::ECONNREFUSED) if e.dial => refused(e),
        Some(libc::ECONNABORTED) => destroyed(e),
        Some(errno) if OF_ICMP.contains(&errno) => unreachable(e),
        _ => Err(e.end.text.clone()),
    }
}

/// Whether the kernel gave up data with an ICMP error in mind: it remembers the last one about what it sends again
/// (`sk_err_soft`), until an acknowledgement comes.
fn remembers_icmp(e: &Evidence) -> bool {
    let Some((icmp, info)) = e.icmp.zip(e.end.tcp_info) else {
        return false;
    };
    let last_acknowledged = info.last_acknowledged(e.ended);
    !e.dial && info.retransmits > 0 && icmp.last.at.at > last_acknowledged + TICK
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
    if e.wire.syn_acked.is_some() {
        return Err(format!("{}, but its SYN had been answered", e.end.text));
    }
    let who = match e.icmp {
        _ if e.wire.reset => String::from("a RST answered its SYN"),
        Some(icmp) if icmp.last.refuses() => icmp.text(),
        Some(_) | None => {
            let text = &e.end.text;
            return Err(format!("{text}, but no RST to it was seen on the wire"));
        }
    };
    // An ICMP error that comes while connect() is at work is only remembered (`sk_err_soft`): the socket would send on.
    let closed = |info: TcpInfo| info.state == STATE_CLOSE;
    if e.wire.reset && !e.end.tcp_info.is_none_or(closed) {
        return Err(format!("{}, but its socket reads otherwise", e.end.text));
    }
    found(Cause::Refused, format!("{}: {who}", e.end.text))
}

fn unreachable(e: &Evidence) -> Judged {
    let who = match (e.icmp, e.dead_neighbour) {
        (Some(icmp), false) => icmp.text(),
        (_, true) => String::from("the dead node's link-layer address does not resolve"),
        (None, false) => {
            let text = &e.end.text;
            return Err(format!(
                "{text}, but no ICMP error came, and its neighbour resolves"
            ));
        }
    };
    let mut text = format!("{}: {who}", e.end.text);
    if let Some(info) = e.end.tcp_info.filter(|_| !e.dial) {
        // On an established connection it is what the kernel remembers when its retransmissions run out.
        let (least, _) = least(e);
        if info.state != STATE_CLOSE || info.silent_for() + TICK < least {
            let text = &e.end.text;
            return Err(format!("{text}, but its retransmissions had not run out"));
        }
        let _ = write!(
            text,
            "; it gave up after {} retransmissions, {} after the last acknowledgement",
            counted(&e.wire, &info),
            measured(info.silent_for()),
        );
    }
    found(Cause::Unreachable, text)
}

/// Retransmissions by the kernel's timer. TCP_INFO has a byte for them, so of more than 255 the packets say how often it went
/// round.
fn counted(wire: &Wire, info: &TcpInfo) -> usize {
    const ROUND: usize = 1 << u8::BITS;
    let (said, seen) = (
        usize::from(info.retransmits),
        wire.sendings.len().saturating_sub(1),
    );
    // The nearest to what was seen.
    let beyond = (seen + ROUND / 2).saturating_sub(said);
    said + beyond / ROUND * ROUND
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
    if let Some(closed) = e.socket.window_closed
        && info.retransmits == 0
        && info.unacked == 0
    {
        of_window_probes(e, info, closed)
    } else if info.retransmits > 0 {
        of_retransmissions(e, info)
    } else if info.probes > 0 && info.unacked == 0 {
        of_probes(e, info)
    } else {
        Err(String::from(
            "neither retransmissions nor probes had run out",
        ))
    }
}

/// How long the data that is sent again had been under way, at most.
fn since_sent(e: &Evidence, info: &TcpInfo) -> Duration {
    let silent = info.silent_for();
    let ping = e.ping_sent.filter(|at| *at + silent + TICK > e.ended);
    let asked = e.requests.first_unheard.into_iter().chain(ping);
    let sent = asked.chain(e.wire.sendings.first().copied()).min();
    sent.map_or(silent, |at| e.ended.saturating_sub(at))
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
    // Keepalive probes may have been under way when the data was sent, but not all of them, and not beyond their time; with
    // TCP_USER_TIMEOUT their count plays no part.
    let overtaken = |interval: Duration| match (e.wire.probes.last(), e.wire.sendings.first()) {
        (Some(probe), Some(sent)) => *sent < *probe + interval,
        _ => false,
    };
    if e.user_timeout.is_none()
        && e.keepalive
            .is_some_and(|k| u32::from(info.probes) >= k.count && !overtaken(k.interval))
    {
        return Err(String::from("keepalive had run out as well"));
    }
    // The kernel remembers that from when the resolution failed, and says it in the end. (Of an error about a probe it takes
    // no note: a probe bears a number that lies before what is unacknowledged.)
    if e.unresolved && e.end.errno.is_some() && since_sent(e, info) > UNRESOLVED {
        return Err(String::from("its neighbour does not resolve"));
    }
    timer_is(e, TimerKind::Retransmission)?;
    let (least, cause) = least(e);
    match alone(e, info, least) {
        Ok(()) => {}
        Err(_) if e.lossy => return of_recovery(e, info, least, cause),
        Err(doubt) => return Err(doubt),
    }
    let on_the_wire = format!(
        "{}; on the wire one segment was sent again {}",
        describe(e, info),
        sent_again(&e.wire, info),
    );
    found(cause, on_the_wire)
}

/// How often, and why that is another number than the kernel's.
fn sent_again(wire: &Wire, info: &TcpInfo) -> String {
    let again = wire.sendings.len().saturating_sub(1);
    let often = times(again);
    let beside = match again.cmp(&counted(wire, info)) {
        Ordering::Less => ", once less than the kernel counts",
        Ordering::Equal => "",
        Ordering::Greater => ", once as a tail loss probe, which the kernel does not count",
    };
    format!("{often} in {}{beside}", measured(span(&wire.sendings)))
}

/// One segment alone was sent again and again, and nothing was heard meanwhile that could acknowledge it.
fn alone(e: &Evidence, info: &TcpInfo, least: Duration) -> Result<(), String> {
    if !e.healed && info.silent_for() + TICK < least {
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
    let counted = counted(wire, info);
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
    // A tail loss probe does not start the kernel's time.
    let starts = if again > counted { 2 } else { 1 };
    let beyond = last.saturating_sub(*wire.sendings.get(starts).unwrap_or(first));
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
    let silent = info.silent_for().min(milliseconds(info.last_data_recv_ms));
    if u32::from(info.probes) < count {
        return Err(format!("it would probe {count} times"));
    }
    if silent + TICK < least {
        return Err(format!("it would wait for {}", exact(least)));
    }
    probes_agree(&e.wire, info, e, &keepalive)?;
    let text = format!(
        "{}; on the wire it was probed {} in {}",
        describe(e, info),
        times(e.wire.probes.len()),
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

/// The socket's last timer, where it was seen, is the one that ruled. A socket is looked at when packets pass: of one whose request found
/// no neighbour, what was seen before that says nothing.
fn timer_is(e: &Evidence, kind: TimerKind) -> Result<(), String> {
    let asked = e
        .last_request
        .is_some_and(|last| last.sent > e.socket.timer_at);
    let unseen = e.dead_neighbour && asked && e.wire.sendings.is_empty();
    match e.socket.timer {
        Some(timer) if timer.kind != kind && !unseen => {
            Err(String::from("the socket's last timer was another"))
        }
        _ => Ok(()),
    }
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
        counted(&e.wire, info),
        info.probes,
        measured(info.silent_for()),
    )
}
