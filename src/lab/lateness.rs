//! Whether the lab gets its turns on the processor in time.
//!
//! On the real clock an overloaded machine delays servers, clients and faults alike, and what is measured is the machine.

use std::cell::Cell;
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
/// Waiting for less than this is no more than some turns of others, and expectations are rarely as fine.
const WORTH_TELLING: Duration = Duration::from_millis(50);
/// Looks after which a lab says that the machine is busy, if it waited for long in them: half a second of them.
const BUSY_LOOKS: usize = 2;
/// Waiting for longer than this in half a second, a lab would soon wait for too long beside one more.
const BUSY: Duration = Duration::from_millis(125);

/// How late a lab's timers and turns were.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    longest: Cell<Duration>,
}

impl Lateness {
    /// Watches from when the case has `started`. Ends once this thread has waited for the processor for more than a second of
    /// two, or a timer of it has fired so late, and says how long that was.
    pub(super) async fn too_long(&self, started: Instant) -> Duration {
        let mut next = started;
        let mut waits = Waits::of_last(LOOKS);
        waits.look();
        loop {
            next += EVERY;
            sleep_until(next).await;
            let late = next.elapsed();
            waits.look();
            let longest = late.max(waits.recent());
            self.longest.set(self.longest.get().max(longest));
            if longest > TOO_LONG {
                return longest;
            }
            next = next.max(Instant::now());
        }
    }

    /// The longest wait of two seconds, if it is worth telling of.
    pub(super) fn told(&self) -> Option<Duration> {
        Some(self.longest.get()).filter(|longest| *longest >= WORTH_TELLING)
    }
}

/// Calls `say` as long as this thread waits noticeably for the processor. Never returns.
pub(super) async fn tell_when_busy(say: impl Fn()) {
    let mut waits = Waits::of_last(BUSY_LOOKS);
    loop {
        tokio::time::sleep(EVERY).await;
        waits.look();
        if waits.is_full() && waits.recent() > BUSY {
            say();
        }
    }
}

/// How long this thread has waited for the processor between the last looks.
struct Waits {
    looks: usize,
    /// In all its life, by each look.
    waited: VecDeque<Duration>,
}

impl Waits {
    fn of_last(looks: usize) -> Self {
        Self {
            looks,
            waited: VecDeque::with_capacity(looks + 2),
        }
    }

    fn look(&mut self) {
        self.waited.extend(waited_for_processor());
        if self.waited.len() > self.looks + 1 {
            self.waited.pop_front();
        }
    }

    /// Whether there were as many looks.
    fn is_full(&self) -> bool {
        self.waited.len() > self.looks
    }

    fn recent(&self) -> Duration {
        let ends = self.waited.back().zip(self.waited.front());
        ends.map_or(Duration::ZERO, |(now, before)| now.saturating_sub(*before))
    }
}

/// How long this thread has waited on a run queue in its life; `None` where the kernel does not say (CONFIG_SCHED_INFO).
fn waited_for_processor() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
