//! A peer that takes nothing more: its window is closed, and the kernel asks from time to time whether it still is.
//!
//! The kernel's `tcp_probe_timer`: an answered probe lets the connection live for ever, `tcp_retries2` probes that nobody
//! answers end it, and a TCP_USER_TIMEOUT ends it as well, answered or not, counted from when that timer fired first.

use std::time::Duration;

use super::super::evidence::Evidence;
use super::super::index::TICK;
use super::{AGREE, Judged, found, milliseconds, times};
use crate::plan::Cause;
use crate::plan::units::{exact, measured};
use crate::record::TcpInfo;

/// The zero-window probe timer ruled: nothing was unacknowledged, and data waited.
pub(super) fn of_window_probes(e: &Evidence, info: &TcpInfo, closed: Duration) -> Judged {
    // Data that went out since was let in.
    let sent = e.ended.saturating_sub(milliseconds(info.last_data_sent_ms));
    let shut = closed.max(sent);
    let probes = e.wire.all_probes.iter();
    let probes: Vec<_> = probes.filter(|at| **at + TICK >= shut).collect();
    let Some(first) = probes.first() else {
        return Err(String::from(
            "no probe of its peer's window was seen on the wire",
        ));
    };
    let unanswered_probes = e.wire.probes.len();
    if unanswered_probes.abs_diff(info.probes.into()) > 1 {
        return Err(format!(
            "on the wire {unanswered_probes} probes of its peer's window went unanswered"
        ));
    }
    let waited = e.ended.saturating_sub(**first);
    let answers = match unanswered_probes {
        0 => String::from("and answered each time"),
        1 => String::from("the last time without an answer"),
        times => format!("the last {times} times without an answer"),
    };
    let seen = format!(
        "its peer's window was closed; on the wire it was probed {} in {}, {answers}",
        times(probes.len()),
        measured(waited),
    );
    let end = &e.end.text;
    // Some kernels cut the last wait short, others do not.
    let by_user_timeout =
        |limit: &Duration| waited + TICK >= *limit && waited <= *limit * 2 + AGREE;
    if e.user_timeout.as_ref().is_some_and(by_user_timeout) {
        return found(Cause::UserTimeout, format!("{end}: {seen}"));
    }
    // A TCP_USER_TIMEOUT leaves the other limit in force.
    let most = e.sysctls.retries2;
    if u64::from(info.probes) < u64::from(most) {
        let limit = e.user_timeout.map_or_else(String::new, |limit| {
            format!(" and its TCP_USER_TIMEOUT is {}", exact(limit))
        });
        return Err(format!("{seen}, and it would probe {most} times{limit}"));
    }
    let silent = measured(info.silent_for());
    found(
        Cause::WindowProbeTimeout,
        format!("{end}: {seen} for {silent}"),
    )
}
