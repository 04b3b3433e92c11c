//! Whether the lab gets its turns on the processor in time.
//!
//! On the real clock an overloaded machine delays servers, clients and faults alike, and what is measured is the machine.

use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Looks that are taken together: two seconds of them.
const LOOKS: usize = 8;
/// Waiting for longer than this makes seconds wrong; expectations are rarely finer than that.
const TOO_LONG: Duration = Duration::from_secs(1);

/// Ends once this thread has waited for the processor for more than a second of two, or a timer of it has fired so late,
/// and says how long that was.
pub(super) async fn starved() -> Duration {
    let mut next = Instant::now();
    let mut waited: VecDeque<Duration> = VecDeque::with_capacity(LOOKS + 1);
    loop {
        next += EVERY;
        sleep_until(next).await;
        let late = next.elapsed();
        waited.extend(waited_for_processor());
        let before = match waited.len() > LOOKS {
            true => waited.pop_front(),
            false => waited.front().copied(),
        };
        let recently = waited.back().zip(before);
        let recently = recently.map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        let longest = late.max(recently);
        if longest > TOO_LONG {
            return longest;
        }
        next = next.max(Instant::now());
    }
}

/// How long this thread has waited on a run queue in its life; `None` where the kernel does not say (CONFIG_SCHED_INFO).
fn waited_for_processor() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
