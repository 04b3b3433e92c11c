//! Which timer of a client rules, given what it was doing when its server died.

use std::time::Duration;

use super::kernel::{self, TcpSysctls};
use crate::plan::{
    Cause, Client, Fault, LabPlan, Neighbour, Phase, Protocol, Service, Transport, Trigger, Window,
};

/// Handshakes, scheduling, and a request's own way there and back.
const SLACK: Duration = Duration::from_millis(250);
/// Neighbour discovery gives up after three tries of a second, and connect() with it.
const NEIGHBOUR_FAILS: Window = Window {
    min: Duration::from_secs(1),
    max: Duration::from_secs(5),
};
/// Dials of which one in a million is as unlucky as this says nothing against the model.
const UNLUCKY: f64 = 1e-6;

/// The longest delayed acknowledgement (TCP_DELACK_MAX): a fault that waits for a request to be acknowledged has its
/// response held back for as long.
const HELD: Duration = Duration::from_millis(200);
/// Timers of one sending that lie further apart keep their order.
const TICK: Duration = Duration::from_millis(100);
/// What a cycle of a workload takes besides its pause and the server's delay, at most.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A mechanism that would end the wait, and when, counted from the fault.
pub(super) type Candidate = (Window, Cause);

/// What the dials after the detection meet.
pub(super) struct Dials<'a> {
    pub(super) service: Option<&'a Service>,
    /// Endpoints that live on.
    pub(super) live: usize,
    /// All endpoints.
    pub(super) all: usize,
}

/// What becomes of the connection that a client has at the fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It is given up.
    GivenUp(Candidate),
    /// It is waited on for ever.
    Kept,
    /// It may be waited on for ever, by what the client was doing.
    PerhapsKept,
    /// There is none.
    NoConnection,
    /// There may be one; the window is that of its end.
    Unsure(Option<Window>),
}

/// All that decides how long a client waits.
pub(super) struct Situation<'a> {
    transport: &'a Transport,
    sysctls: TcpSysctls,
    neighbour: Neighbour,
    /// Phase at the fault, where the fault waits for it.
    phase: Option<Phase>,
    /// Pause between requests.
    pause: Window,
    /// Longest time from a request to its response while all is well.
    delay: Duration,
    /// From the fault to the next request, if it strikes an idle client.
    next: Window,
}

impl<'a> Situation<'a> {
    pub(super) fn of(client: &'a Client, plan: &LabPlan, fault: &Fault) -> Self {
        Self {
            transport: &client.transport,
            sysctls: TcpSysctls::with(plan.sysctls_at(&client.place)),
            neighbour: fault.kind.neighbour(),
            phase: match &fault.trigger {
                Trigger::Phase {
                    client: name,
                    phase,
                    ..
                } if *name == client.name => Some(*phase),
                _ => None,
            },
            pause: Window {
                min: client.workloads.shortest_pause(),
                max: client.workloads.longest_pause(),
            },
            delay: plan.slowest(client),
            next: next_request(client, plan, fault),
        }
    }

    /// What becomes of the connection to the dead server.
    pub(super) fn fate(&self) -> Fate {
        match self.phase {
            Some(Phase::Connecting) => Fate::NoConnection,
            Some(Phase::RequestUnacknowledged) => {
                given_up(earliest(self.next_request(Window::default())))
            }
            // Nothing of a streaming client's is outstanding on TCP's level either.
            Some(Phase::WaitingForResponse | Phase::Streaming) => {
                given_up(earliest(self.waiting()))
            }
            Some(Phase::Idle) => self.idle(),
            None if self.delay.is_zero() || self.surely_idle() => self.idle(),
            // The fault may find the client in either phase.
            None => match (self.idle(), earliest(self.waiting())) {
                (Fate::GivenUp(idle), Some(waiting)) => given_up(Some(hull(idle, waiting))),
                (Fate::Kept, None) => Fate::Kept,
                (Fate::Kept | Fate::PerhapsKept, _) | (Fate::GivenUp(_), None) => Fate::PerhapsKept,
                (Fate::NoConnection, waiting) => Fate::Unsure(waiting.map(|w| w.0)),
                (Fate::Unsure(idle), waiting) => {
                    Fate::Unsure(idle.into_iter().chain(waiting.map(|w| w.0)).reduce(around))
                }
            },
        }
    }

    /// Whether the fault can only strike in a pause.
    fn surely_idle(&self) -> bool {
        !self.next.min.is_zero() && self.next.max < self.pause.min
    }

    /// Whether a connection survives every pause between two requests.
    pub(super) fn reuses(&self) -> bool {
        self.transport
            .idle_timeout
            .is_none_or(|limit| limit > self.pause.max)
    }

    /// Nothing is outstanding at the fault; the next request follows within a pause.
    fn idle(&self) -> Fate {
        let Some(limit) = self.transport.idle_timeout.filter(|_| !self.reuses()) else {
            return given_up(self.idle_in_use());
        };
        if limit >= self.pause.min {
            // Some pauses it survives.
            let used = self.idle_in_use().map(|(window, _)| window);
            return Fate::Unsure(used.map(|w| {
                around(
                    w,
                    Window {
                        max: limit,
                        ..Window::default()
                    },
                )
            }));
        }
        let rested = Window {
            min: self.pause.min.saturating_sub(self.next.max),
            max: self.pause.max.saturating_sub(self.next.min),
        };
        if rested.min > limit + SLACK {
            return Fate::NoConnection;
        }
        let left = Window {
            min: limit.saturating_sub(rested.max),
            max: limit.saturating_sub(rested.min),
        };
        if self.phase.is_none() && rested.max + SLACK > limit {
            return Fate::Unsure(Some(left));
        }
        let mut all = vec![(left, Cause::IdleTimeout)];
        all.extend(self.keepalive(self.pause.max));
        given_up(earliest(all))
    }

    /// Nothing is outstanding at the fault, and the next request will go to the dead connection.
    fn idle_in_use(&self) -> Option<Candidate> {
        let from = Window {
            min: Duration::ZERO,
            max: self.pause.max,
        };
        let after_request = earliest(self.next_request(from))?;
        // Keepalive counts until the next request goes out, and never again.
        match self.keepalive(self.pause.max) {
            Some(keepalive) if keepalive.0.max + SLACK <= self.next.min => {
                let from = Window {
                    min: self.next.min,
                    ..from
                };
                let mut all = self.next_request(from);
                all.push(keepalive);
                earliest(all)
            }
            Some((Window { min, max }, cause)) if min < self.pause.max => {
                let max = max.min(self.pause.max);
                Some(hull((Window { min, max }, cause), after_request))
            }
            _ => Some(after_request),
        }
    }

    /// When keepalive ends a connection on which nothing is outstanding; the peer was silent for at most `silent`.
    fn keepalive(&self, silent: Duration) -> Option<Candidate> {
        let keepalive = self.transport.keepalive?;
        let window = kernel::keepalive(&keepalive, self.transport.user_timeout);
        let heard = keepalive.idle.min(silent);
        let window = Window {
            min: window.min.saturating_sub(heard),
            ..window
        };
        // Probes fail before the neighbour entry does: measured with a dead neighbour too.
        let cause = match self.transport.user_timeout {
            Some(_) => Cause::UserTimeout,
            None => Cause::Keepalive,
        };
        Some((window, cause))
    }

    /// What ends a request sent within `from`: nothing of it is acknowledged.
    fn next_request(&self, from: Window) -> Vec<Candidate> {
        let t = self.transport;
        let retransmission = self.retransmission(Window::default());
        // A PING while idle is unacknowledged data too, and may come before the request.
        let idle_ping = t
            .ping
            .filter(|p| p.while_idle && t.protocol == Protocol::H2);
        let mut of_request = self.limits(Window::default());
        let mut all = Vec::new();
        match idle_ping {
            None => of_request.push(retransmission),
            Some(ping) => all.push(self.retransmission(Window {
                min: Duration::ZERO,
                max: from.max.min(ping.idle),
            })),
        }
        all.extend(of_one_sending(of_request, from));
        if let Some(ping) = t.ping.filter(|_| t.protocol == Protocol::H2) {
            let heard = (self.pause.max + self.delay).min(ping.idle);
            let sent = match ping.while_idle {
                true => Window {
                    min: ping.idle - heard,
                    max: ping.idle,
                },
                false => {
                    let wait = ping.idle.max(from.max);
                    let silent = self.pause.max + self.delay;
                    Window {
                        min: wait.saturating_sub(silent).max(from.min),
                        max: wait,
                    }
                }
            };
            all.push((plus(sent, ping.timeout), Cause::PingTimeout));
        }
        all
    }

    /// What ends a request that was acknowledged and waits for its response: nothing is outstanding on TCP's level.
    fn waiting(&self) -> Vec<Candidate> {
        let t = self.transport;
        // The request went out before the fault.
        let mut all: Vec<Candidate> = self
            .limits(Window::default())
            .into_iter()
            .map(|(w, cause)| (self.earlier(w), cause))
            .collect();
        let mut frames = Vec::new();
        if t.protocol == Protocol::H2 {
            // A reset stream and a PING are frames that nobody acknowledges.
            for limit in [t.request_timeout, t.read_timeout].into_iter().flatten() {
                let sent = self.earlier(Window {
                    min: limit,
                    max: limit,
                });
                all.push(self.retransmission(sent));
                frames.push(sent);
            }
            if let Some(ping) = t.ping {
                let heard = (self.pause.max + self.outstanding()).min(ping.idle);
                let sent = Window {
                    min: ping.idle - heard,
                    max: ping.idle,
                };
                let timeout = plus(Window::default(), ping.timeout);
                let of_ping = vec![
                    (timeout, Cause::PingTimeout),
                    self.retransmission(Window::default()),
                ];
                all.extend(of_one_sending(of_ping, sent));
                frames.push(sent);
            }
        }
        // Keepalive counts until such a frame goes out.
        let keepalive = self.keepalive(self.outstanding()).filter(|(window, _)| {
            let first = frames.iter().map(|sent| sent.max).min();
            first.is_none_or(|sent| window.min < sent)
        });
        match (keepalive, earliest(all.clone())) {
            (Some(keepalive), Some(other))
                if frames.iter().any(|sent| sent.min < keepalive.0.max) =>
            {
                vec![hull(keepalive, other)]
            }
            (keepalive, _) => {
                all.extend(keepalive);
                all
            }
        }
    }

    /// How long before the fault the request that waits may have gone out.
    fn outstanding(&self) -> Duration {
        match self.phase {
            Some(Phase::WaitingForResponse) => self.delay + HELD,
            _ => self.delay,
        }
    }

    fn earlier(&self, window: Window) -> Window {
        Window {
            min: window.min.saturating_sub(self.outstanding()),
            ..window
        }
    }

    /// Data sent within `sent` is retransmitted until the kernel has enough.
    fn retransmission(&self, sent: Window) -> Candidate {
        let window = kernel::retransmission(&self.sysctls, self.transport.user_timeout);
        (
            Window {
                min: sent.min + window.min,
                max: sent.max + window.max,
            },
            match (self.neighbour, self.transport.user_timeout) {
                (Neighbour::Dead, _) => Cause::Unreachable,
                (Neighbour::Resolves, Some(_)) => Cause::UserTimeout,
                (Neighbour::Resolves, None) => Cause::RetransmissionTimeout,
            },
        )
    }

    /// The client's own limits on a request sent within `sent`, as far as they end the connection.
    fn limits(&self, sent: Window) -> Vec<Candidate> {
        let t = self.transport;
        let limits = [
            (t.request_timeout, Cause::RequestTimeout),
            (t.read_timeout, Cause::ReadTimeout),
        ];
        let limits = limits
            .into_iter()
            .filter_map(|(limit, cause)| Some((limit?, cause)));
        match (t.protocol, t.ping_after_timeout) {
            (Protocol::H1, _) => limits
                .map(|(limit, cause)| (plus(sent, limit), cause))
                .collect(),
            // On HTTP/2 a limit ends the stream alone; the connection goes if a PING says so.
            (Protocol::H2, Some(answer)) => limits
                .map(|(limit, _)| (plus(sent, limit + answer), Cause::PingTimeout))
                .collect(),
            (Protocol::H2, None) => Vec::new(),
        }
    }

    /// How long a dial of a dead endpoint takes.
    fn connect_limit(&self) -> Window {
        let own = [self.transport.dial_timeout, self.transport.request_timeout];
        let own = own.into_iter().flatten().min();
        let mut limit = kernel::connect(&self.sysctls, self.transport.user_timeout);
        if self.neighbour == Neighbour::Dead {
            limit = NEIGHBOUR_FAILS;
        }
        if let Some(own) = own {
            limit = Window {
                min: limit.min.min(own),
                max: limit.max.min(own),
            };
        }
        limit
    }

    /// When the client dials for the first time after the fault; `None` = never.
    pub(super) fn first_dial(&self, fate: Fate) -> Option<Window> {
        // With no connection to give up, the next request dials.
        let next = Window {
            min: Duration::ZERO,
            max: self.pause.max + self.delay,
        };
        match fate {
            Fate::GivenUp((given_up, Cause::IdleTimeout)) => Some(Window {
                min: given_up.min,
                ..next
            }),
            Fate::GivenUp((given_up, _)) => Some(self.redial(given_up)),
            Fate::Kept | Fate::PerhapsKept => None,
            Fate::NoConnection | Fate::Unsure(None) => Some(next),
            Fate::Unsure(Some(given_up)) => Some(around(next, self.redial(given_up))),
        }
    }

    /// When the client has a response again, if it begins to dial within `first_dial`.
    pub(super) fn recovery(&self, first_dial: Window, dials: &Dials<'_>) -> Option<Window> {
        if dials.live == 0 {
            return None;
        }
        let limit = self.connect_limit().max + self.pause.max + self.transport.retry.backoff;
        let removal = dials.service?.removal;
        let chance = (dials.all - dials.live) as f64 / dials.all as f64;
        // A client that keeps meeting the dead endpoint.
        let unlucky = (UNLUCKY.ln() / chance.ln()).ceil().max(1.0) as u32;
        let dice = first_dial.max + limit * unlucky;
        let latest = match removal {
            Some(removal) if removal <= first_dial.min => first_dial.max,
            // The last dial that can still go wrong begins just before the removal.
            Some(removal) => first_dial
                .max
                .max(removal + limit)
                .min(dice.max(first_dial.max)),
            None => dice,
        };
        Some(Window {
            min: first_dial.min,
            max: latest + self.delay + SLACK,
        })
    }

    /// When the first dial after giving up begins.
    fn redial(&self, given_up: Window) -> Window {
        use crate::plan::RetryOn::{ConnectionLost, ReusedConnectionLost};
        let t = self.transport;
        let retry = &t.retry;
        let again = retry.attempts > 0
            && retry
                .on
                .iter()
                .any(|on| matches!(on, ReusedConnectionLost | ConnectionLost));
        let streams_end_alone =
            t.protocol == Protocol::H2 && (t.request_timeout.is_some() || t.read_timeout.is_some());
        // The next request may come as soon as an idle connection is gone.
        let tested_idle = t.keepalive.is_some()
            || (t.protocol == Protocol::H2 && t.ping.is_some_and(|ping| ping.while_idle));
        let ends_idle = matches!(self.phase, None | Some(Phase::Idle))
            && given_up.min < self.pause.max
            && (tested_idle || !self.reuses());
        let pause = match again {
            true => retry.backoff.min(self.pause.min),
            // Between two tries, the next one may come at once.
            false if streams_end_alone => Duration::ZERO,
            false => self.pause.min,
        };
        Window {
            min: given_up.min + if ends_idle { Duration::ZERO } else { pause },
            max: given_up.max + self.pause.max.max(retry.backoff),
        }
    }
}

/// From the fault to the next request of a client that is idle then.
fn next_request(client: &Client, plan: &LabPlan, fault: &Fault) -> Window {
    let pause = client.workloads.shortest_pause();
    let anytime = Window {
        min: Duration::ZERO,
        max: client.workloads.longest_pause(),
    };
    // An earlier fault may have stopped it.
    let at = match &fault.trigger {
        _ if plan.faults.len() > 1 => return anytime,
        Trigger::At(at) => *at,
        Trigger::Phase {
            client: name,
            phase: Phase::Idle,
            after,
        } if *name == client.name => *after,
        Trigger::Phase { .. } => return anytime,
    };
    // The first request that may not have begun by then. Leader election sends two a cycle.
    let cycle = client.workloads.longest_pause() + plan.slowest(client) * 2 + ROUND_TRIP;
    let Some(since) = at.checked_sub(client.start + SLACK) else {
        return anytime;
    };
    let cycles = since.as_nanos() / cycle.as_nanos() + 1;
    let Ok(cycles) = u32::try_from(cycles) else {
        return anytime;
    };
    let (Some(earliest), Some(latest)) = (pause.checked_mul(cycles), cycle.checked_mul(cycles))
    else {
        return anytime;
    };
    let left = Window {
        min: (client.start + earliest).saturating_sub(at),
        max: (client.start + latest + SLACK)
            .saturating_sub(at)
            .min(anytime.max),
    };
    if left.min.is_zero() { anytime } else { left }
}

impl Default for Window {
    /// No time at all.
    fn default() -> Self {
        Self {
            min: Duration::ZERO,
            max: Duration::ZERO,
        }
    }
}

fn plus(window: Window, time: Duration) -> Window {
    Window {
        min: window.min + time,
        max: window.max + time,
    }
}

/// The smallest window around both.
fn around(a: Window, b: Window) -> Window {
    Window {
        min: a.min.min(b.min),
        max: a.max.max(b.max),
    }
}

/// Ticks and scheduling make every timer late.
fn given_up(by: Option<Candidate>) -> Fate {
    by.map_or(Fate::Kept, |(window, cause)| {
        let max = window.max + SLACK;
        Fate::GivenUp((Window { max, ..window }, cause))
    })
}

/// Of mechanisms that all count from one sending within `sent`, those that may be the first; their windows count from
/// the sending.
fn of_one_sending(candidates: Vec<Candidate>, sent: Window) -> Vec<Candidate> {
    let first = candidates.iter().map(|(w, _)| w.max).min();
    let first = first.unwrap_or_default() + TICK;
    let early = candidates.into_iter().filter(|(w, _)| w.min <= first);
    early
        .map(|(w, cause)| {
            let window = Window {
                min: sent.min + w.min,
                max: sent.max + w.max,
            };
            (window, cause)
        })
        .collect()
}

/// The first mechanism to fire rules. Of two that may be the first, nobody knows which.
fn earliest(candidates: Vec<Candidate>) -> Option<Candidate> {
    let (first, cause) = *candidates.iter().min_by_key(|(w, _)| w.min + w.max)?;
    let min = candidates.iter().map(|(w, _)| w.min).min()?;
    let max = candidates.iter().map(|(w, _)| w.max).min()?;
    let rivals = candidates
        .iter()
        .any(|(w, other)| *other != cause && w.min < first.max);
    let cause = if rivals { Cause::Unknown } else { cause };
    Some((Window { min, max }, cause))
}

/// Either may come to pass.
fn hull(a: Candidate, b: Candidate) -> Candidate {
    (
        around(a.0, b.0),
        if a.1 == b.1 { a.1 } else { Cause::Unknown },
    )
}
