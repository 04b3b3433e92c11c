//! What a program said of its own work, as a witness beside servers and the wire.

use std::time::Duration;

use super::pace::may_come_again;
use crate::result::{ClientResult, SaidResult};

/// What a scheduler or a timer adds to a pause.
const SLACK: Duration = Duration::from_millis(100);

/// By how much both witnesses may differ of a program that did not say twice that it is well before the fault.
const ONE_POLL: Duration = Duration::from_secs(1);

/// What the `lines` say, each with its time since the case's start, of a program that `result` is of; the case lasted until
/// `last`. Servers and the wire may have seen no more of an answer than its beginning.
pub(super) fn of(
    lines: &[(Duration, bool)],
    result: &ClientResult,
    last: Duration,
    parts_are_seen: bool,
) -> SaidResult {
    let count = |wanted| lines.iter().filter(|(_, ok)| *ok == wanted).count();
    let (ok, errors) = (count(true), count(false));
    // What another fault did later is no more of this outage.
    let last = result.first_until().map_or(last, |until| until.min(last));
    let lines = &lines[..lines.partition_point(|(at, _)| *at <= last)];
    let fault = result.fault_at;
    let after = fault.map(|fault| after(lines, fault, last));
    let usual = fault.and_then(|fault| usual(lines, fault));
    let silent = fault.filter(|_| parts_are_seen);
    let silent = silent.and_then(|fault| longest_silence(lines, fault, last));
    let agrees = after
        .filter(|_| !lines.is_empty())
        .and_then(|own| agree(own, result, usual, silent));
    let (recovered_after, noticed) = match after {
        Some(Own::Well) | None => (None, false),
        Some(Own::Recovered(after)) => (Some(after), true),
        Some(Own::Never) => (None, true),
    };
    SaidResult {
        ok,
        errors,
        noticed,
        recovered_after,
        agrees,
    }
}

/// What a program says of its outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    /// It had none.
    Well,
    /// So long after the fault it was well again for good.
    Recovered(Duration),
    Never,
}

/// The longest pause from one good line to the next before the fault.
fn usual(lines: &[(Duration, bool)], fault: Duration) -> Option<Duration> {
    let good = lines.iter().filter(|(at, ok)| *ok && *at <= fault);
    let good: Vec<Duration> = good.map(|(at, _)| *at).collect();
    good.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// The longest pause that is nothing unusual: half as long again as the longest before the fault.
fn not_unusual(usual: Duration) -> Duration {
    usual + usual / 2 + SLACK
}

/// An outage ends with the good line that follows an error or an unusual pause, if nothing of the kind comes later.
fn after(lines: &[(Duration, bool)], fault: Duration, last: Duration) -> Own {
    let longest = usual(lines, fault).map(not_unusual);
    let too_long = |from: Duration, to: Duration| {
        // Before the fault no pause counts, whatever began there.
        longest.is_some_and(|longest| to > fault && to.saturating_sub(from) > longest)
    };
    let mut own = Own::Well;
    let mut before: Option<(Duration, bool)> = None;
    for &(at, ok) in lines {
        if at > fault {
            let ill =
                before.is_some_and(|(since, well)| !well && since > fault || too_long(since, at));
            own = match (ok, ill) {
                (false, _) => Own::Never,
                (true, true) => Own::Recovered(at - fault),
                (true, false) => own,
            };
        }
        before = Some((at, ok));
    }
    let errors = lines.iter().filter(|(at, ok)| !ok && *at > fault);
    let mut errors: Vec<Duration> = errors.map(|(at, _)| *at).collect();
    match (before, own) {
        (Some((since, true)), _) if too_long(since, last) => Own::Never,
        (_, Own::Recovered(after))
            if may_come_again(&mut errors, last.saturating_sub(fault + after)) =>
        {
            Own::Never
        }
        _ => own,
    }
}

/// The longest time without a good line that ends after the fault, counted as that of servers without a response is.
fn longest_silence(
    lines: &[(Duration, bool)],
    fault: Duration,
    last: Duration,
) -> Option<Duration> {
    let good = lines.iter().filter(|(_, ok)| *ok).map(|(at, _)| *at);
    let good: Vec<Duration> = good.chain([last]).collect();
    let pairs = good.windows(2).filter(|pair| pair[1] > fault);
    pairs.map(|pair| pair[1] - pair[0]).max()
}

/// Whether both witnesses tell the same, to one poll; nothing where one has nothing to tell.
fn agree(
    own: Own,
    result: &ClientResult,
    usual: Option<Duration>,
    silent: Option<Duration>,
) -> Option<bool> {
    let poll = usual.unwrap_or(ONE_POLL) + SLACK;
    let affected = result.affected?;
    // It says that it had answers while no server gave one.
    if let (Some(own), Some(servers)) = (silent, result.longest_without_response)
        && own + poll < servers
    {
        return Some(false);
    }
    Some(match (own, result.recovered_after) {
        (Own::Well, _) if !affected => true,
        // Whose rhythm is not known may have been silent for too long; what was over within a poll need not show.
        (Own::Well, wire) => {
            let longest = not_unusual(usual?);
            wire.is_some_and(|wire| wire <= longest)
        }
        (Own::Recovered(own), Some(wire)) => own.abs_diff(wire) <= poll,
        (Own::Never, None) => true,
        (Own::Recovered(_), None) | (Own::Never, Some(_)) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Duration = Duration::from_secs(10);

    /// Lines a second each: `+` good, `-` an error, ` ` nothing.
    fn said(lines: &str, last: u64) -> Own {
        let lines = (1..).zip(lines.chars()).filter(|(_, c)| *c != ' ');
        let lines: Vec<_> = lines
            .map(|(at, c)| (Duration::from_secs(at), c == '+'))
            .collect();
        after(&lines, FAULT, Duration::from_secs(last))
    }

    #[test]
    fn an_outage_ends_with_the_first_good_line_after_what_was_bad() {
        let recovered = |after| Own::Recovered(Duration::from_secs(after));
        assert_eq!(said("++++++++++++++++++++", 20), Own::Well);
        assert_eq!(said("++++++++++---+++++++", 20), recovered(4));
        assert_eq!(said("++++++++++     +++++", 20), recovered(6));
        assert_eq!(said("++++++++++  -    +++", 20), recovered(8));
        assert_eq!(said("++++++++++-+-+++++++", 20), recovered(4));
        assert_eq!(said("++++++++++--        ", 20), Own::Never);
        assert_eq!(said("++++++++++          ", 20), Own::Never);
        assert_eq!(said("++++++++++-++++     ", 20), Own::Never);
    }

    #[test]
    fn a_silence_counts_from_the_last_good_line_before_the_fault() {
        let seconds = Duration::from_secs;
        let lines: Vec<_> = [1, 9, 16, 18].map(|at| (seconds(at), true)).into();
        assert_eq!(
            longest_silence(&lines, FAULT, seconds(20)),
            Some(seconds(7))
        );
        assert_eq!(
            longest_silence(&lines, FAULT, seconds(30)),
            Some(seconds(12))
        );
        assert_eq!(longest_silence(&[], FAULT, seconds(30)), None);
    }

    #[test]
    fn what_was_bad_before_the_fault_is_no_outage_of_it() {
        assert_eq!(said("--+   +++-++++++++++", 20), Own::Well);
        assert_eq!(said("          ++++++++++", 20), Own::Well);
    }
}
