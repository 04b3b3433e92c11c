//! What a connection makes of a silence that ends: the longest that it survives.
//!
//! A silence is survived if something that is sent after its end is answered before anything gives the connection up. So
//! what counts is not when that is, but the last sending before it: half as long, where a back-off doubles.

use std::time::Duration;

use super::kernel::{self, Kernel, first_and_series};
use super::rhythm::Seen;
use super::rto::{self, Path};
use super::series::{Series, in_jiffies_up};
use super::situation::{Fate, Situation};
use super::sysctls::TcpSysctls;
use super::timer::Rounding;
use super::window::Candidate;
use crate::plan::{Cause, Client, Fault, LabPlan, Phase, Protocol, Window};

/// The longest silence that a client's healthy connection survives, if it begins in `phase`: all up to the lower bound, none
/// beyond the upper one. `fault` begins it; `None` where the model does not know.
#[must_use]
pub fn longest_blip(
    client: &Client,
    plan: &LabPlan,
    fault: &Fault,
    phase: Phase,
    kernel: Kernel,
) -> Option<Window> {
    let known = client.workloads.cycle().is_some()
        && plan
            .servers_of(client)
            .all(|server| server.program.is_none());
    if !known {
        return None;
    }
    let seen = Seen {
        kernel,
        ..Seen::default()
    };
    let situation = Situation::of(client, plan, fault, &seen);
    let own = Sending::of(&situation, client, kernel);
    let end = match situation.fate() {
        Fate::GivenUp(end) => Some(end),
        Fate::Kept => None,
        Fate::PerhapsKept | Fate::NoConnection | Fate::Unsure(_) => return None,
    };
    match phase {
        Phase::Idle => {
            let next = situation.rhythm.idle?.next;
            Some(situation.of_idle(&own, next, end?))
        }
        Phase::RequestUnacknowledged => Some(own.last_before(Window::default(), end?.0)),
        Phase::WaitingForResponse => {
            // Its server's kernel sends the response again and again.
            let server = plan.servers_of(client).next()?;
            let theirs = Sending {
                sysctls: TcpSysctls::with(plan.sysctls_at(&server.place)),
                user_timeout: None,
                ..own
            };
            let forever = Window::of(Duration::MAX, Duration::MAX);
            // A server that has given the connection up answers nothing more.
            let given_up = kernel::retransmission(&theirs.sysctls, theirs.path, None, kernel);
            let until = end
                .map_or(forever, |(window, _)| window)
                .or_sooner(given_up);
            let frames = situation.frames_while_waiting().into_iter();
            let frames = frames.filter(|sent| sent.max < until.min);
            let own = frames.map(|sent| own.last_before(sent, until));
            let probe = situation.last_probe(end);
            // Where in the back-off these are when the silence ends is open: the server's are sure to come.
            let later = |a: Window, b: Window| Window::of(a.min, a.max.max(b.max));
            let all = own.chain(probe);
            Some(all.fold(theirs.last_before(Window::default(), until), later))
        }
        Phase::Streaming | Phase::Connecting => None,
    }
}

/// What the kernel's retransmissions alone make of a silence that begins with a request: of a client whose own limits nobody
/// knows, where to begin to look.
#[must_use]
pub fn longest_blip_by_kernel(client: &Client, plan: &LabPlan, kernel: Kernel) -> Window {
    let own = Sending {
        sysctls: TcpSysctls::with(plan.sysctls_at(&client.place)),
        path: Path {
            rtt: plan.round_trip(),
            exchanges: 1,
        },
        user_timeout: None,
        kernel,
    };
    let end = kernel::retransmission(&own.sysctls, own.path, None, kernel);
    own.last_before(Window::default(), end)
}

/// How likely loss of each of `percents` of all packets each way, for `lasts`, is to end a client's healthy connection: an estimate,
/// rather too high. An exchange fails if each sending of its request, or the acknowledgement of it, is lost until something gives up.
#[must_use]
pub fn killed_by_loss(
    client: &Client,
    plan: &LabPlan,
    fault: &Fault,
    (percents, lasts): (&[f64], Duration),
    kernel: Kernel,
) -> Option<Vec<f64>> {
    client.workloads.cycle()?;
    let seen = Seen {
        kernel,
        ..Seen::default()
    };
    let situation = Situation::of(client, plan, fault, &seen);
    let Fate::GivenUp((end, _)) = situation.fate() else {
        return None;
    };
    let own = Sending::of(&situation, client, kernel);
    let sendings = own.sendings_before(end.min);
    let pause = situation.cycle.pause.min.max(Duration::from_millis(1));
    let exchanges = lasts.as_secs_f64() / pause.as_secs_f64();
    let killed = percents.iter().map(|percent| {
        let lost = 1.0 - (1.0 - percent / 100.0).powi(2);
        1.0 - (1.0 - lost.powi(sendings)).powf(exchanges)
    });
    Some(killed.collect())
}

impl Situation<'_> {
    /// The last probe of keepalive before it gives up: it is sent as the timer of the one before fires, which is late by an eighth at
    /// the most.
    pub(super) fn last_probe(&self, end: Option<Candidate>) -> Option<Window> {
        let (end, cause) = end?;
        let interval = self.transport.keepalive?.interval;
        matches!(cause, Cause::Keepalive | Cause::UserTimeout).then(|| {
            Window::of(
                end.min.saturating_sub(interval + interval / 7),
                end.max.saturating_sub(interval),
            )
        })
    }

    /// When a client of HTTP/2 sends something itself while it waits for a response: the reset of a request that ran out of time,
    /// and a PING.
    fn frames_while_waiting(&self) -> Vec<Window> {
        let t = self.transport;
        if t.protocol != Protocol::H2 {
            return Vec::new();
        }
        let waited = self.rhythm.busy.unwrap_or_default();
        let limits = [
            t.request_timeout,
            t.read_timeout,
            t.ping.map(|ping| ping.idle),
        ];
        let limits = limits.into_iter().flatten();
        limits
            .map(|limit| Window::exactly(limit).earlier(waited))
            .collect()
    }

    /// Of a silence that begins while nothing is outstanding: the next request, or a PING before it, is what is sent again;
    /// or keepalive's probes, if they give up before that.
    fn of_idle(&self, own: &Sending, next: Window, (end, cause): Candidate) -> Window {
        if let Some(probe) = self
            .last_probe(Some((end, cause)))
            .filter(|_| end.max <= next.min)
        {
            return probe;
        }
        let pinged = self.transport.ping.filter(|ping| ping.while_idle);
        let sent = match pinged {
            Some(ping) if cause == Cause::PingTimeout => next.or_sooner(Window::of(
                end.min.saturating_sub(ping.timeout),
                end.max.saturating_sub(ping.timeout),
            )),
            Some(_) | None => next,
        };
        own.last_before(sent, end)
    }
}

/// What a kernel sends again and again.
#[derive(Clone, Copy)]
struct Sending {
    sysctls: TcpSysctls,
    path: Path,
    user_timeout: Option<Duration>,
    kernel: Kernel,
}

impl Sending {
    /// A client's own.
    fn of(situation: &Situation<'_>, client: &Client, kernel: Kernel) -> Self {
        Self {
            sysctls: situation.sysctls,
            path: Path {
                rtt: situation.cycle.rtt,
                exchanges: situation.rhythm.exchanges,
            },
            user_timeout: client.transport.user_timeout,
            kernel,
        }
    }

    /// After this, counted from the first retransmission, the kernel gives up.
    fn limit(&self) -> Duration {
        let bound = self.sysctls.retransmission_bound();
        self.user_timeout.unwrap_or(bound)
    }

    /// Sendings of one segment, the first one included and a tail loss probe not, of which an answer can be back before `end`.
    fn sendings_before(&self, end: Duration) -> i32 {
        let limit = self.limit();
        let rto = rto::first_rto(self.path, &self.sysctls).max;
        let longest = Duration::from_millis(self.sysctls.rto_max_ms);
        let (mut at, mut wait, mut count) = (self.path.rtt, rto, 1);
        while at + wait < end.min(limit + rto) {
            at += wait;
            wait = (wait * 2).min(longest);
            count += 1;
        }
        count
    }

    /// The last sending of what was first sent within `sent`, of which an answer can be back before `end`, and before the
    /// kernel itself gives up.
    fn last_before(&self, sent: Window, end: Window) -> Window {
        let (first, _) = first_and_series(&self.sysctls, self.path, self.user_timeout, self.kernel);
        let rto = rto::first_rto(self.path, &self.sysctls);
        let rto_max = Duration::from_millis(self.sysctls.rto_max_ms);
        let within = |end: Duration, sent: Duration, first: Duration| {
            end.saturating_sub(sent + first + self.path.rtt)
        };
        let (soonest, latest) = (
            within(end.min, sent.min, first.min),
            within(end.max, sent.max, first.max),
        );
        let limit = self.limit();
        let window = self.kernel.around(rto_max.min(end.max), |hz, start| {
            let last = |first_rto: Duration, by: Duration| {
                let series = Series {
                    hz,
                    rounding: Rounding::Wheel,
                    start,
                    first_rto: in_jiffies_up(first_rto, hz).max(1),
                    rto_max: in_jiffies_up(rto_max, hz),
                    linear: self.sysctls.linear_retransmissions(),
                };
                let sendings = series.fires().take_while(|at| *at < limit && *at < by);
                sendings.last().unwrap_or_default()
            };
            // A longer RTO may make for one sending less.
            let of = |by| [rto.min, rto.max].map(|first_rto| last(first_rto, by));
            let ([a, b], [c, d]) = (of(soonest), of(latest));
            (a.min(b).min(c).min(d), a.max(b).max(c).max(d))
        });
        let least = match soonest.is_zero() {
            // Not even the first retransmission is sure to be in time.
            true => sent.min,
            false => sent.min + first.min + window.min,
        };
        Window::of(least, sent.max + first.max + window.max)
    }
}
