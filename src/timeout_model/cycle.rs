//! How long the parts of a client's cycle take: it asks, has its response, pauses, and asks again.

use std::time::Duration;

use super::rhythm::Idle;
use crate::plan::{Client, LabPlan, Window, Workload};

/// What a request takes at most on top of the path and its server's delay: timers of a millisecond, handing over, and
/// other work of the machine. It adds up from cycle to cycle, which is why of a late fault less can be said.
pub(super) const OVERHEAD: Duration = Duration::from_millis(10);
/// The same of the first connection: keys and certificates.
const HANDSHAKE: Duration = Duration::from_millis(250);

/// How long the parts of a client's cycle take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cycle {
    /// Between a response and the next request.
    pub(super) pause: Window,
    /// Between a request that failed and the next one.
    pub(super) retry: Window,
    /// Requests one right after the other, until one is answered, before it pauses.
    pub(super) attempts: u32,
    /// Whether the second of these that fails, or a later one, closes a connection on which no request waits.
    pub(super) closes_on_failure: bool,
    /// From a request to its response.
    pub(super) service: Window,
    /// Requests of one cycle.
    pub(super) requests: (u32, u32),
    /// A round trip.
    pub(super) rtt: Duration,
    /// What the server adds.
    pub(super) delay: Window,
    /// From one exchange on a connection to the next, at the most; `None` where there may be no second one.
    pub(super) exchange: Option<Duration>,
    /// Opening a connection for a request, where one may not survive the pause before it.
    pub(super) opening: Option<Window>,
    /// Whether a connection begins with a TLS handshake.
    pub(super) tls: bool,
}

impl Cycle {
    pub(super) fn of(client: &Client, plan: &LabPlan) -> Self {
        let rtt = plan.round_trip();
        let delays = plan.servers_of(client);
        let delay = Window {
            min: delays.map(|s| s.response_delay).min().unwrap_or_default(),
            max: plan.slowest(client),
        };
        let pause = around(client, Workload::pause_after_response);
        let (attempts, closes_on_failure) = beats(client);
        let opening = client
            .transport
            .idle_timeout
            .filter(|limit| *limit <= pause.max);
        let opening = opening.map(|limit| Window {
            min: if limit < pause.min {
                rtt
            } else {
                Duration::ZERO
            },
            max: rtt * 4 + OVERHEAD,
        });
        let cycle = Self {
            opening,
            exchange: None,
            tls: client.target.tls,
            pause,
            retry: around(client, Workload::pause_after_failure),
            attempts,
            closes_on_failure,
            service: Window {
                min: delay.min + rtt,
                max: delay.max + rtt + OVERHEAD,
            },
            requests: match client.workloads.cycle() {
                // Reads the lock, and writes it if it may.
                Some(Workload::LeaderElection { .. }) => (1, 2),
                Some(
                    Workload::Poll { .. }
                    | Workload::Watch { .. }
                    | Workload::Resync { .. }
                    | Workload::Heartbeat { .. }
                    | Workload::Download { .. }
                    | Workload::Messages { .. }
                    | Workload::Exec(_),
                )
                | None => (1, 1),
            },
            rtt,
            delay,
        };
        let works = client.workloads.iter();
        let exchanges = works.filter_map(|work| cycle.next_exchange(&work.kind));
        Self {
            exchange: exchanges.min(),
            ..cycle
        }
    }

    /// From one exchange of a workload to the next, at the most.
    fn next_exchange(&self, work: &Workload) -> Option<Duration> {
        match work {
            // What its server sends is acknowledged, but says nothing of how long the client's own data takes.
            Workload::Watch { .. } => None,
            Workload::Messages { interval, .. } => Some(*interval + self.rtt + OVERHEAD),
            Workload::Download {
                duration, every, ..
            } => Some(*duration + *every + self.work().max),
            Workload::Poll { .. }
            | Workload::LeaderElection { .. }
            | Workload::Resync { .. }
            | Workload::Heartbeat { .. }
            | Workload::Exec(_) => Some(work.pause_after_response().1 + self.work().max),
        }
    }

    /// Between the failure of so many requests in a row, of which the first followed a response, and the next request.
    pub(super) fn after_failures(&self, number: u32) -> Window {
        match (self.attempts, number % self.attempts) {
            (1, _) => self.retry,
            (_, 0) => Window::exactly(self.retry.max),
            (_, _) => Window::default(),
        }
    }

    /// Between a request that failed, whatever came before it, and the next one, or between a response and that.
    pub(super) fn any_pause(&self) -> Window {
        self.pause.around(self.retry)
    }

    /// The pause after a response that was on its way when its server died: it still comes. `sent` is how long before that
    /// its request went out.
    pub(super) fn answered(&self, sent: Window) -> Option<Idle> {
        let on_its_way = !self.rtt.is_zero() && sent.max >= self.delay.min + self.rtt / 2;
        on_its_way.then(|| Idle {
            next: Window::of(self.pause.min, self.pause.max + self.rtt),
            rested: Window::default(),
        })
    }

    /// When the request goes out of a dial whose answer was on its way when its server died: it still comes. `dialled` is how
    /// long before that its SYN went out.
    pub(super) fn opened(&self, dialled: Window) -> Option<Window> {
        let one_way = self.rtt / 2;
        let on_its_way = !self.rtt.is_zero() && dialled.max >= one_way;
        on_its_way.then(|| Window::of(Duration::ZERO, one_way + OVERHEAD))
    }

    /// All of a cycle but its pause.
    pub(super) fn work(&self) -> Window {
        self.opening.unwrap_or_default().then(self.requests())
    }

    /// All requests of a cycle.
    pub(super) fn requests(&self) -> Window {
        let (least, most) = self.requests;
        Window::of(self.service.min * least, self.service.max * most)
    }

    /// How many requests of a client that began at `start` are answered by a time, at the least.
    pub(super) fn answered_by(&self, at: Duration, start: Duration) -> u32 {
        let since = at.saturating_sub(start + self.handshake().max);
        let number = |every: Duration| since.as_nanos() / every.as_nanos().max(1);
        let number = self.exchange.map_or(0, number);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Opening a connection, and TLS.
    pub(super) fn handshake(&self) -> Window {
        Window::of(self.rtt, self.rtt * 4 + HANDSHAKE)
    }
}

/// Of all that a client does.
fn around(client: &Client, pause: fn(&Workload) -> (Duration, Duration)) -> Window {
    let works = client.workloads.iter();
    let pauses = works.map(|work| {
        let (min, max) = pause(&work.kind);
        Window { min, max }
    });
    pauses.reduce(Window::around).unwrap_or_default()
}

/// How often a client tries a beat, if it sends heartbeats, and whether it closes connections when that is in vain.
fn beats(client: &Client) -> (u32, bool) {
    let mut works = client.workloads.iter();
    let beats = works.find_map(|work| match work.kind {
        Workload::Heartbeat {
            attempts,
            close_on_failure,
            ..
        } => Some((attempts, close_on_failure.is_some())),
        Workload::Poll { .. }
        | Workload::LeaderElection { .. }
        | Workload::Watch { .. }
        | Workload::Resync { .. }
        | Workload::Download { .. }
        | Workload::Messages { .. }
        | Workload::Exec(_) => None,
    });
    beats.unwrap_or((1, false))
}
