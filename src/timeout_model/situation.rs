//! Which timer of a client rules, given what it was doing when its server died.

use std::time::Duration;

use super::kernel::{self, TcpSysctls};
use crate::plan::{
    Cause, Client, Fault, FaultKind, LabPlan, Neighbour, Phase, Place, Protocol, Service, Sysctl,
    Transport, Trigger, Window,
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

/// All that decides how long a client waits.
pub(super) struct Situation<'a> {
    transport: &'a Transport,
    sysctls: TcpSysctls,
    neighbour: Neighbour,
    /// Phase at the fault, where the fault waits for it.
    phase: Option<Phase>,
    /// Pause between requests.
    every: Duration,
    /// Longest time from a request to its response while all is well.
    delay: Duration,
}

impl<'a> Situation<'a> {
    pub(super) fn of(client: &'a Client, plan: &LabPlan, fault: &Fault) -> Self {
        let delays = plan
            .servers
            .iter()
            .filter(|s| client.target.servers.contains(&s.name));
        let FaultKind::PowerLoss { neighbour, .. } = fault.kind;
        Self {
            transport: &client.transport,
            sysctls: TcpSysctls::with(sysctls_at(&client.place, plan)),
            neighbour,
            phase: match &fault.trigger {
                Trigger::Phase {
                    client: name,
                    phase,
                    ..
                } if *name == client.name => Some(*phase),
                _ => None,
            },
            every: client.workload.longest_pause(),
            delay: delays.map(|s| s.response_delay).max().unwrap_or_default(),
        }
    }

    /// When the client gives up its dead connection, and why.
    pub(super) fn detection(&self) -> Option<Candidate> {
        match self.phase {
            Some(Phase::Connecting) => None,
            Some(Phase::RequestUnacknowledged) => earliest(self.next_request(Duration::ZERO)),
            Some(Phase::WaitingForResponse) => earliest(self.waiting()),
            Some(Phase::Idle) => self.idle(),
            None if self.delay.is_zero() => self.idle(),
            // The fault may find the client in either phase.
            None => Some(hull(self.idle()?, earliest(self.waiting())?)),
        }
    }

    /// Whether a connection survives the pause between two requests.
    pub(super) fn reuses(&self) -> bool {
        self.transport
            .idle_timeout
            .is_none_or(|limit| limit > self.every)
    }

    /// Nothing is outstanding at the fault; the next request follows within `every`.
    fn idle(&self) -> Option<Candidate> {
        if !self.reuses() {
            return None;
        }
        let after_request = earliest(self.next_request(self.every))?;
        // Keepalive counts until the next request goes out, and never again.
        let keepalive = self.transport.keepalive.map(|keepalive| {
            let window = kernel::keepalive(&keepalive, self.transport.user_timeout);
            let heard = keepalive.idle.min(self.every);
            (window.min.saturating_sub(heard), window.max)
        });
        match keepalive {
            Some((min, max)) if min < self.every => {
                let first = (
                    Window {
                        min,
                        max: max.min(self.every.max(min)),
                    },
                    Cause::Keepalive,
                );
                Some(hull(first, after_request))
            }
            _ => Some(after_request),
        }
    }

    /// What ends a request sent at most `latest` after the fault: nothing of it is acknowledged.
    fn next_request(&self, latest: Duration) -> Vec<Candidate> {
        let t = self.transport;
        let from = Window {
            min: Duration::ZERO,
            max: latest,
        };
        // A PING while idle is unacknowledged data too, and may come before the request.
        let first_data = t
            .ping
            .filter(|p| p.while_idle && t.protocol == Protocol::H2)
            .map_or(latest, |p| latest.min(p.idle));
        let mut all = vec![self.retransmission(Window {
            max: first_data,
            ..from
        })];
        all.extend(self.limits(from));
        if let Some(ping) = t.ping.filter(|_| t.protocol == Protocol::H2) {
            let heard = (self.every + self.delay).min(ping.idle);
            let sent = match ping.while_idle {
                true => Window {
                    min: ping.idle - heard,
                    max: ping.idle,
                },
                false => {
                    let wait = ping.idle.max(latest);
                    Window {
                        min: wait.saturating_sub(self.every + self.delay),
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
        let mut all = Vec::new();
        if let Some(keepalive) = t.keepalive {
            let window = kernel::keepalive(&keepalive, t.user_timeout);
            let heard = keepalive.idle.min(self.delay);
            all.push((
                Window {
                    min: window.min.saturating_sub(heard),
                    ..window
                },
                Cause::Keepalive,
            ));
        }
        // The request went out up to `delay` before the fault.
        all.extend(
            self.limits(Window::default())
                .into_iter()
                .map(|(w, cause)| (self.earlier(w), cause)),
        );
        if t.protocol == Protocol::H1 {
            return all;
        }
        // A reset stream and a PING are frames that nobody acknowledges.
        for limit in [t.request_timeout, t.read_timeout].into_iter().flatten() {
            let sent = self.earlier(Window {
                min: limit,
                max: limit,
            });
            all.push(self.retransmission(sent));
        }
        if let Some(ping) = t.ping {
            let heard = (self.every + self.delay).min(ping.idle);
            let sent = Window {
                min: ping.idle - heard,
                max: ping.idle,
            };
            all.push((plus(sent, ping.timeout), Cause::PingTimeout));
            all.push(self.retransmission(sent));
        }
        all
    }

    fn earlier(&self, window: Window) -> Window {
        Window {
            min: window.min.saturating_sub(self.delay),
            ..window
        }
    }

    /// Data sent within `sent` is retransmitted until the kernel has enough.
    fn retransmission(&self, sent: Window) -> Candidate {
        let window = kernel::retransmission(&self.sysctls, self.transport.user_timeout);
        let cause = match (self.transport.user_timeout, self.neighbour) {
            (Some(_), _) => Cause::UserTimeout,
            (None, Neighbour::Dead) => Cause::Unreachable,
            (None, Neighbour::Resolves) => Cause::RetransmissionTimeout,
        };
        (
            Window {
                min: sent.min + window.min,
                max: sent.max + window.max,
            },
            cause,
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

    /// When the client has a response again.
    pub(super) fn recovery(&self, detection: Option<Window>, dials: &Dials<'_>) -> Option<Window> {
        if dials.live == 0 {
            return None;
        }
        let first_dial = match detection {
            Some(given_up) => self.redial(given_up),
            // There was no connection to give up: the next request dials.
            None if self.phase == Some(Phase::Connecting) || !self.reuses() => Window {
                min: Duration::ZERO,
                max: self.every + self.delay,
            },
            None => return None,
        };
        let limit = self.connect_limit().max + self.every + self.transport.retry.backoff;
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
        let min = match (again, streams_end_alone) {
            (true, _) => given_up.min + retry.backoff.min(self.every),
            // Between two tries, the next one may come at once.
            (false, true) => given_up.min,
            (false, false) => given_up.min + self.every,
        };
        Window {
            min,
            max: given_up.max + self.every.max(retry.backoff),
        }
    }
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

/// The first mechanism to fire rules.
fn earliest(candidates: Vec<Candidate>) -> Option<Candidate> {
    let cause = candidates.iter().min_by_key(|(w, _)| w.min + w.max)?.1;
    let min = candidates.iter().map(|(w, _)| w.min).min()?;
    let max = candidates.iter().map(|(w, _)| w.max).min()?;
    Some((Window { min, max }, cause))
}

/// Either may come to pass.
fn hull(a: Candidate, b: Candidate) -> Candidate {
    let window = Window {
        min: a.0.min.min(b.0.min),
        max: a.0.max.max(b.0.max),
    };
    (window, if a.1 == b.1 { a.1 } else { Cause::Unknown })
}

fn sysctls_at<'a>(place: &Place, plan: &'a LabPlan) -> &'a [Sysctl] {
    match place {
        Place::Node(name) => plan
            .nodes
            .iter()
            .find(|n| n.name == *name)
            .map(|n| n.sysctls.as_slice()),
        Place::Pod(name) => plan
            .pods
            .iter()
            .find(|p| p.name == *name)
            .map(|p| p.sysctls.as_slice()),
    }
    .unwrap_or_default()
}
