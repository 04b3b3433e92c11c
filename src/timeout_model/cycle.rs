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
    /// Between a request's end and the next one's start.
    pub(super) pause: Window,
    /// From a request to its response.
    pub(super) service: Window,
    /// Requests of one cycle.
    pub(super) requests: (u32, u32),
    /// A round trip.
    pub(super) rtt: Duration,
    /// What the server adds.
    pub(super) delay: Window,
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
        let pause = Window {
            min: client.workloads.shortest_pause(),
            max: client.workloads.longest_pause(),
        };
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
        Self {
            opening,
            tls: client.target.tls,
            pause,
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
        }
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
        let whole = Window::then(self.pause, self.work()).max;
        u32::try_from(since.as_nanos() / whole.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    /// Opening a connection, and TLS.
    pub(super) fn handshake(&self) -> Window {
        Window::of(self.rtt, self.rtt * 4 + HANDSHAKE)
    }
}
