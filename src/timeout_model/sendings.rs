//! What is sent again and again on a path that is dead for a time: which sending is the first to get through.

use std::time::Duration;

use super::kernel::{Kernel, linear_syns, rule, syn_timers};
use super::rto::{self, Path};
use super::series::{Series, in_jiffies_up, jiffies};
use super::sysctls::TcpSysctls;
use super::timer::{Rounding, wheel_bucket};
use super::window::{Candidate, earliest};
use crate::plan::{Cause, Window};

/// As many first RTOs are told apart.
const CELLS: u64 = 64;
/// What a kernel needs to hear of an answer.
const TICK: Duration = Duration::from_millis(2);

/// One sending, counted from the first one of its course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) at: Window,
    /// Whether it is sure to go out, and its answer to be in time.
    pub(super) sure: bool,
    /// From the one before it that is sure, at the most.
    pub(super) gap: Duration,
}

impl Sending {
    fn first() -> Self {
        Self {
            at: Window::default(),
            sure: true,
            gap: Duration::MAX,
        }
    }
}

/// All that is sent until it is given up, for one state of the timer wheel and nearly one first RTO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) sendings: Vec<Sending>,
    /// When the kernel gives up.
    pub(super) end: Window,
}

/// A limit on the time of an answer, counted from the first sending, and what an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) end: Candidate,
    pub(super) answer: Window,
}

/// A sending that is the first to get through, if the course begins within `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Through {
    pub(super) first: Window,
    /// From the first sending to this one.
    pub(super) after: Window,
    /// From the one before it, which did not get through, at the most.
    gap: Duration,
}

/// What becomes of a course that begins on a path that is dead until it heals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// The sendings that may be the first to get through.
    pub(super) through: Vec<Through>,
    /// Where the course may begin so that none does.
    pub(super) none: Option<Window>,
}

impl Through {
    /// When it is sent.
    pub(super) fn at(&self, heals: Window) -> Window {
        let at = self.first.then(self.after);
        let latest = heals.max.saturating_add(self.gap);
        Window::of(at.min.max(heals.min), at.max.min(latest).max(heals.min))
    }
}

impl Course {
    /// Which of its sendings can be answered within `limits`.
    fn within(&self, limits: &[Limit]) -> Vec<Sending> {
        let each = self.sendings.iter().filter_map(|sending| {
            let can = |limit: &Limit| sending.at.min + limit.answer.min <= limit.end.0.max;
            let sure = |limit: &Limit| sending.at.max + limit.answer.max < limit.end.0.min;
            limits.iter().all(can).then(|| Sending {
                sure: sending.sure && limits.iter().all(sure),
                ..*sending
            })
        });
        each.collect()
    }

    /// What becomes of it if it begins within `first` and the path is well again within `heals`; and what gives it up,
    /// counted from the first sending, if nothing gets through. `by_kernel` is what the kernel's end is called.
    pub(super) fn meets(
        &self,
        limits: &[Limit],
        by_kernel: Cause,
        first: Window,
        heals: Window,
    ) -> (Met, Option<Candidate>) {
        let limits_end = limits.iter().map(|limit| limit.end);
        let end = earliest(limits_end.chain([(self.end, by_kernel)]).collect());
        (meets(&self.within(limits), first, heals), end)
    }
}

/// Those of some sendings to which an answer that takes `rtt` can be back before `end`.
fn answered_by(end: Window, rtt: Duration, sendings: Vec<Sending>) -> Vec<Sending> {
    let each = sendings.into_iter().filter_map(|sending| {
        let can = sending.at.min + rtt <= end.max;
        let sure = sending.sure && sending.at.max + rtt + TICK < end.min;
        can.then_some(Sending { sure, ..sending })
    });
    each.collect()
}

fn meets(sendings: &[Sending], first: Window, heals: Window) -> Met {
    let mut through = Vec::new();
    let mut latest = first.max;
    for sending in sendings {
        let earliest = first.min.max(heals.min.saturating_sub(sending.at.max));
        if earliest <= latest {
            through.push(Through {
                first: Window::of(earliest, latest),
                after: sending.at,
                gap: sending.gap,
            });
        }
        if !sending.sure {
            continue;
        }
        match heals.max.checked_sub(sending.at.min) {
            Some(by) if by >= first.min => latest = latest.min(by),
            Some(_) | None => {
                return Met {
                    through,
                    none: None,
                };
            }
        }
    }
    Met {
        through,
        none: Some(Window::of(first.min, latest)),
    }
}

/// What a kernel sends again and again on an established connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resending<'a> {
    pub(super) sysctls: &'a TcpSysctls,
    pub(super) path: Path,
    pub(super) user_timeout: Option<Duration>,
    pub(super) kernel: Kernel,
}

impl Resending<'_> {
    /// Every course that it may take, as far as it goes until `by`.
    pub(super) fn courses(&self, by: Duration) -> Vec<Course> {
        let rto = rto::first_rto(self.path, self.sysctls);
        let rto_max = Duration::from_millis(self.sysctls.rto_max_ms);
        let longest = rto_max.min(by.max(rto.max * 2));
        let mut all = Vec::new();
        for (hz, start, apart) in self.kernel.tried(longest) {
            let (low, high) = (
                in_jiffies_up(rto.min, hz).max(1),
                in_jiffies_up(rto.max, hz).max(1),
            );
            let step = ((high - low) / CELLS).max(1);
            let cells = (low..=high).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            for shortest in cells {
                let cell = (shortest, (shortest + step - 1).min(high));
                all.push(self.course(cell, rto, (hz, start), by, apart));
            }
        }
        all
    }

    fn course(
        &self,
        (shortest, longest): (u64, u64),
        rto: Window,
        (hz, start): (u64, u64),
        by: Duration,
        apart: Duration,
    ) -> Course {
        let series = |first_rto| Series {
            hz,
            rounding: Rounding::Wheel,
            start,
            first_rto,
            rto_max: in_jiffies_up(Duration::from_millis(self.sysctls.rto_max_ms), hz),
            linear: self.sysctls.linear_retransmissions(),
        };
        let until = rule(self.sysctls, self.user_timeout);
        let low = series(shortest).until_given_up(until);
        let high = match shortest == longest {
            true => low.clone(),
            false => series(longest).until_given_up(until),
        };
        // From where on its wheel the first timers are armed is open.
        let latest = |delay| jiffies(delay + wheel_bucket(delay), hz);
        let once = |at: Window, sure| Sending {
            at,
            sure,
            gap: at.max,
        };
        let mut sendings = vec![Sending::first()];
        let mut first = Window::of(jiffies(shortest, hz), latest(longest));
        if self.sysctls.loss_probe {
            let probe = rto::loss_probe(self.path, rto, self.sysctls);
            let probe = Window::of(probe.min, latest(in_jiffies_up(probe.max, hz)));
            // Where congestion control is not in its open state there is none (tcp_schedule_loss_probe()).
            sendings.push(once(probe, false));
            first.max += probe.max;
        }
        let (fewer, more) = match low.0.len() <= high.0.len() {
            true => (&low.0, &high.0),
            false => (&high.0, &low.0),
        };
        // Counted from the first retransmission.
        let mut again = vec![Sending {
            gap: first.max,
            ..once(Window::default(), true)
        }];
        let mut open = Open::new(apart, hz);
        for (n, at) in more.iter().enumerate() {
            let other = fewer.get(n);
            let at = other.map_or(Window::exactly(*at), |other| {
                Window::of(*at.min(other), *at.max(other))
            });
            let at = open.widened(at);
            let before = again.last().map(|sending| sending.at.min);
            let gap = at.max.saturating_sub(before.unwrap_or_default());
            again.push(Sending {
                gap,
                ..once(at, other.is_some())
            });
            if other.is_some() && at.min > by {
                break;
            }
        }
        let end = open.widened(Window::of(low.1.min(high.1), low.1.max(high.1)));
        let again = answered_by(end, self.path.rtt, again).into_iter();
        sendings.extend(again.map(|sending| Sending {
            at: first.then(sending.at),
            ..sending
        }));
        Course {
            sendings,
            end: first.then(end),
        }
    }
}

/// What is open of a course's times, since between two states of the wheel that are tried lie others.
struct Open {
    /// How far apart these are.
    apart: Duration,
    hz: u64,
    before: Window,
    /// The coarsest timer so far: no state of the wheel makes more of it.
    coarsest: Duration,
}

impl Open {
    fn new(apart: Duration, hz: u64) -> Self {
        Self {
            apart,
            hz,
            before: Window::default(),
            coarsest: Duration::ZERO,
        }
    }

    /// The next time of the course.
    fn widened(&mut self, at: Window) -> Window {
        let gap = at.max.saturating_sub(self.before.min);
        let bucket = jiffies(wheel_bucket(in_jiffies_up(gap, self.hz)), self.hz);
        self.coarsest = self.coarsest.max(bucket);
        self.before = at;
        let slack = self.apart.min(self.coarsest);
        Window::of(at.min.saturating_sub(slack), at.max + slack)
    }
}

/// Every course that a dial's SYNs may take (connect()).
pub(super) fn dials(
    sysctls: &TcpSysctls,
    user_timeout: Option<Duration>,
    rtt: Duration,
    kernel: Kernel,
) -> Vec<Course> {
    let longest = Duration::from_millis(sysctls.rto_max_ms);
    // No timer of a SYN is longer than the time of all.
    let longest = longest.min(sysctls.syn_bound());
    let mut all = Vec::new();
    for linear in linear_syns(sysctls, kernel) {
        for (hz, start, apart) in kernel.tried(longest) {
            let mut open = Open::new(apart, hz);
            let fires = syn_timers(sysctls, linear, user_timeout, (hz, start));
            let mut fires: Vec<Window> = fires
                .into_iter()
                .map(|at| open.widened(Window::exactly(at)))
                .collect();
            let end = fires.pop().unwrap_or_default();
            let mut sendings = vec![Sending::first()];
            for at in fires {
                let before = sendings.last().map(|sending| sending.at.min);
                let gap = at.max.saturating_sub(before.unwrap_or_default());
                let sure = true;
                sendings.push(Sending { at, sure, gap });
            }
            let course = Course {
                sendings: answered_by(end, rtt, sendings),
                end,
            };
            if !all.contains(&course) {
                all.push(course);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn window(min: f64, max: f64) -> Window {
        Window::of(seconds(min), seconds(max))
    }

    fn course(times: &[f64], end: f64) -> Course {
        let sending = |at: &f64| Sending {
            at: window(*at, *at),
            sure: true,
            gap: Duration::MAX,
        };
        Course {
            sendings: times.iter().map(sending).collect(),
            end: window(end, end),
        }
    }

    /// When something gets through, and where a course begins of which nothing does.
    fn met(
        course: &Course,
        limit: f64,
        first: Window,
        heals: f64,
    ) -> (Vec<Window>, Option<Window>) {
        let limit = Limit {
            end: (window(limit, limit), Cause::RequestTimeout),
            answer: window(0.5, 0.5),
        };
        let heals = window(heals, heals);
        let (met, _) = course.meets(&[limit], Cause::RetransmissionTimeout, first, heals);
        let through = met.through.iter().map(|through| through.at(heals));
        (through.collect(), met.none)
    }

    #[test]
    fn the_first_sending_after_the_healing_gets_through() {
        let course = course(&[0.0, 1.0, 3.0, 7.0], 15.0);
        let at = |first, heals| met(&course, 100.0, window(first, first), heals);
        assert_eq!(at(0.25, 2.0), (vec![window(3.25, 3.25)], None));
        assert_eq!(at(2.5, 2.0), (vec![window(2.5, 2.5)], None));
        let (through, none) = at(0.25, 9.0);
        assert!(through.is_empty() && none == Some(window(0.25, 0.25)));
    }

    #[test]
    fn where_it_begins_decides_which_one_it_is() {
        let course = course(&[0.0, 1.0, 3.0], 7.0);
        let (through, none) = met(&course, 100.0, window(0.0, 2.0), 2.5);
        // Begun by 1.5 s it is the third, which is sent between 3 s and 4.5 s; later the second, between 2.5 s and 3 s.
        assert_eq!(through, [window(2.5, 3.0), window(3.0, 4.5)]);
        assert_eq!(none, None);
    }

    #[test]
    fn an_answer_that_comes_too_late_is_none() {
        let course = course(&[0.0, 1.0, 3.0, 7.0], 15.0);
        let (through, none) = met(&course, 3.4, window(0.0, 0.0), 2.0);
        assert!(through.is_empty() && none == Some(window(0.0, 0.0)));
        let (through, none) = met(&course, 3.6, window(0.0, 0.0), 2.0);
        assert_eq!((through, none), (vec![window(3.0, 3.0)], None));
    }

    fn resending(sysctls: &TcpSysctls, hz: u32) -> Resending<'_> {
        Resending {
            sysctls,
            path: Path::default(),
            user_timeout: None,
            kernel: Kernel::of("7.3", Some(hz)),
        }
    }

    /// The first retransmission comes 0.2 to 0.5 s after the request; then 0.4, 0.8, 1.6 s pass, each a little more.
    #[test]
    fn a_silence_of_thirty_seconds_is_over_with_the_next_retransmission() {
        let at = |sysctls: &TcpSysctls| {
            let heals = window(29.3, 29.3);
            let courses = resending(sysctls, 250).courses(heals.max);
            let through = courses.iter().flat_map(|course| {
                let (met, _) =
                    course.meets(&[], Cause::RetransmissionTimeout, window(0.0, 0.0), heals);
                assert_eq!(met.none, None);
                met.through
            });
            let all = through.map(|through| through.at(heals));
            let all = all.reduce(Window::around).expect("one gets through");
            (all.min.as_secs_f64(), all.max.as_secs_f64())
        };
        // 0.25 · (2^7 − 1) s and half a second are 32.3 s. With an RTO of 215 ms the same are 27.8 s, and the next one comes after
        // 55.3 s; the wheel adds up to an eighth.
        let (min, max) = at(&TcpSysctls::default());
        assert!((29.3..32.0).contains(&min), "{min}");
        assert!((51.0..62.0).contains(&max), "{max}");
        let (min, max) = at(&TcpSysctls {
            rto_max_ms: 1_000,
            retries2: 60,
            ..TcpSysctls::default()
        });
        assert!(min >= 29.3 && max < 29.3 + 1.15, "{min} to {max}");
    }

    /// TCP_THIN_LINEAR_RETRIES: seven timers of the first RTO, the last of which was doubled by none before.
    #[test]
    fn a_thin_flow_is_sent_again_six_times_without_back_off() {
        let sysctls = TcpSysctls {
            thin_linear: true,
            loss_probe: false,
            ..TcpSysctls::default()
        };
        let courses = resending(&sysctls, 1000).courses(seconds(4.0));
        let of = courses
            .iter()
            .find(|course| course.sendings[1].at.min == seconds(0.2));
        let of = of.expect("the shortest RTO");
        let gaps: Vec<_> = of
            .sendings
            .windows(2)
            .skip(1)
            .map(|pair| (pair[1].at.min - pair[0].at.min).as_millis())
            .take(9)
            .collect();
        let about = [200, 200, 200, 200, 200, 200, 400, 800, 1600];
        for (gap, about) in gaps.iter().zip(about) {
            assert!((about - 5..about + about / 7 + 5).contains(gap), "{gaps:?}");
        }
    }

    #[test]
    fn syns_go_out_a_second_apart_and_then_with_a_back_off() {
        let sysctls = TcpSysctls {
            syn_retries: 2,
            ..TcpSysctls::default()
        };
        let all = dials(
            &sysctls,
            None,
            Duration::ZERO,
            Kernel::of("6.1", Some(1000)),
        );
        for course in &all {
            let times: Vec<_> = course.sendings.iter().map(|s| s.at.max.as_secs()).collect();
            // 1 s, and 2 s more; given up 4 s after that.
            assert_eq!((times, course.end.max.as_secs()), (vec![0, 1, 3], 7));
        }
    }
}
