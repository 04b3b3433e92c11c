//! What clients do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Program;

/// What a client does: one thing, or several at once over one transport, as real programs do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workloads(pub Vec<Work>);

/// One of the things a client does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Its name, unique in the client: its kind's unless it was given another.
    pub name: String,
    /// What it is.
    pub kind: Workload,
    /// Time each of its requests may take, response included; `None` = no limit.
    pub request_timeout: Option<Duration>,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// GET, then a pause, for ever.
    Poll {
        /// Pause between a request's end and the next one.
        every: Duration,
    },
    /// Try to become and stay the holder of a lock.
    LeaderElection {
        /// Pause between a try's end and the next one.
        every: Duration,
        /// How long a lease lasts after its last renewal.
        lease: Duration,
        /// How long the candidate believes that it leads after its last renewal.
        renew_deadline: Duration,
        /// Random time on top of each pause, at most this; by the case's seed.
        jitter: Duration,
    },
    /// GET a response that never ends; after its end, a pause and the next one.
    Watch {
        /// The server sends an event this often; `None` = it is silent.
        push: Option<Duration>,
        /// Pause between a watch's end and the next one.
        every: Duration,
    },
    /// POST, then a pause, for ever.
    Resync {
        /// Pause between a response and the next request.
        every: Duration,
        /// Pause between a request that failed and the next one.
        retry_after: Duration,
    },
    /// Tell servers that its node is alive, as a kubelet does: POST its status and, beside that, PUT its lease.
    Heartbeat {
        /// Pause between a beat's end and the next one.
        every: Duration,
        /// Servers judge the node not ready when none came for this long.
        grace: Duration,
        /// How long its lease lasts, of which a quarter is the pause between two renewals; `None` = it has none.
        lease: Option<Duration>,
        /// Tries of each beat, one right after the other, until one is answered.
        attempts: u32,
        /// Connections it closes when the second try of a beat, or a later one, has failed too.
        close_on_failure: Option<CloseOnFailure>,
    },
    /// GET a response of so many bytes a second for a while; then a pause and the next one.
    Download {
        /// Bytes a second.
        rate: u64,
        /// How long one lasts.
        duration: Duration,
        /// Pause between one's end and the next one.
        every: Duration,
    },
    /// A request that never ends, and a response that answers each of its messages, as gRPC's streams. HTTP/2 only.
    Messages {
        /// Pause between two messages.
        interval: Duration,
        /// Pause between a stream's end and the next one.
        every: Duration,
    },
    /// Run a program, as it is.
    Exec(Box<Program>),
}

/// Connections that are closed after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseOnFailure {
    /// Those on which no request waits, as Go's `CloseIdleConnections` does.
    Idle,
    /// All of them, whatever waits on them.
    All,
}

impl Workloads {
    /// Just one, by its kind's name.
    #[must_use]
    pub fn one(kind: Workload, request_timeout: Option<Duration>) -> Self {
        Self(vec![Work {
            name: kind.name().to_owned(),
            kind,
            request_timeout,
        }])
    }

    /// Each of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Work> {
        self.0.iter()
    }

    /// Whether there is more than one, so that requests say whose they are.
    #[must_use]
    pub fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// Whether several requests can be under way at once.
    #[must_use]
    pub fn at_once(&self) -> bool {
        let beats = |work: &Work| matches!(work.kind, Workload::Heartbeat { lease: Some(_), .. });
        self.several() || self.iter().any(beats)
    }

    /// By what names requests of the client called `client` go: with that of their workload where there are several.
    pub fn request_names(&self, client: &str) -> impl Iterator<Item = (String, Option<String>)> {
        let names = self
            .iter()
            .map(|work| (client.to_owned(), self.several().then(|| work.name.clone())));
        names.collect::<Vec<_>>().into_iter()
    }

    /// The program, if the client is one.
    #[must_use]
    pub fn program(&self) -> Option<&Program> {
        self.iter().find_map(|work| match &work.kind {
            Workload::Exec(program) => Some(&**program),
            _ => None,
        })
    }

    /// The one workload whose next request can be foretold from its last one's end; `None` where there are several, or
    /// where it is of another kind.
    #[must_use]
    pub fn cycle(&self) -> Option<&Workload> {
        match self.0.as_slice() {
            [work] => Some(&work.kind).filter(|kind| kind.is_cycle()),
            _ => None,
        }
    }

    /// The longest pause between a request's end and its workload's next one.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        let pauses = self.iter().map(|work| work.kind.longest_pause());
        pauses.max().unwrap_or_default()
    }
}

impl Workload {
    /// Its kind's name in YAML and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Poll { .. } => "poll",
            Self::LeaderElection { .. } => "leader_election",
            Self::Watch { .. } => "watch",
            Self::Resync { .. } => "resync",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Download { .. } | Self::Messages { .. } => "stream",
            Self::Exec(_) => "exec",
        }
    }

    /// From a response to the next request: the shortest pause, and the longest.
    #[must_use]
    pub fn pause_after_response(&self) -> (Duration, Duration) {
        match self {
            Self::Poll { every }
            | Self::Watch { every, .. }
            | Self::Download { every, .. }
            | Self::Messages { every, .. }
            | Self::Resync { every, .. } => (*every, *every),
            Self::LeaderElection { every, jitter, .. } => (*every, *every + *jitter),
            Self::Heartbeat { every, lease, .. } => {
                let renewal = lease.map_or(*every, |lease| lease / LEASE_SHARE);
                (renewal.min(*every), renewal.max(*every))
            }
            Self::Exec(program) => {
                let every = program.exec.every.unwrap_or_default();
                (every, every)
            }
        }
    }

    /// From a request that failed to the next one: the shortest pause, and the longest.
    #[must_use]
    pub fn pause_after_failure(&self) -> (Duration, Duration) {
        let (shortest, longest) = self.pause_after_response();
        match self {
            Self::Resync { retry_after, .. } => (*retry_after, *retry_after),
            // A failed beat is tried again at once.
            Self::Heartbeat { attempts, .. } if *attempts > 1 => (Duration::ZERO, longest),
            Self::Poll { .. }
            | Self::LeaderElection { .. }
            | Self::Watch { .. }
            | Self::Heartbeat { .. }
            | Self::Download { .. }
            | Self::Messages { .. }
            | Self::Exec(_) => (shortest, longest),
        }
    }

    /// The longest pause between a request's end and the next one.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.pause_after_response()
            .1
            .max(self.pause_after_failure().1)
    }

    /// Whether it sends a request, has its whole response, pauses, and so on: the pause then foretells the next one.
    #[must_use]
    pub fn is_cycle(&self) -> bool {
        match self {
            Self::Poll { .. } | Self::LeaderElection { .. } | Self::Resync { .. } => true,
            // Renewals of the lease go out beside the status.
            Self::Heartbeat { lease, .. } => lease.is_none(),
            Self::Watch { .. } | Self::Download { .. } | Self::Messages { .. } | Self::Exec(_) => {
                false
            }
        }
    }

    /// Whether its responses go on: what then shows that all is well is not their end, but what arrives.
    #[must_use]
    pub fn streams(&self) -> bool {
        matches!(
            self,
            Self::Watch { .. } | Self::Download { .. } | Self::Messages { .. }
        )
    }

    /// The longest pause between two parts of its response; `None` where nobody can tell.
    #[must_use]
    pub fn part_every(&self) -> Option<Duration> {
        match self {
            Self::Watch { push, .. } => *push,
            Self::Download { .. } => Some(DOWNLOAD_PART),
            Self::Messages { interval, .. } => Some(*interval),
            Self::Poll { .. }
            | Self::LeaderElection { .. }
            | Self::Resync { .. }
            | Self::Heartbeat { .. }
            | Self::Exec(_) => None,
        }
    }
}

/// A lease is renewed this many times in its length (the kubelet's `nodeLeaseRenewIntervalFraction` of 0.25).
pub const LEASE_SHARE: u32 = 4;

/// A download comes in parts this far apart.
pub const DOWNLOAD_PART: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_heartbeat_s_pauses_are_its_own_and_its_lease_s() {
        let beat = |attempts, lease| Workload::Heartbeat {
            every: s(10),
            grace: s(40),
            lease,
            attempts,
            close_on_failure: None,
        };
        let pauses = |w: Workload| (w.pause_after_response(), w.pause_after_failure());
        let always = |seconds| (s(seconds), s(seconds));
        assert_eq!(pauses(beat(1, None)), (always(10), always(10)));
        assert_eq!(
            pauses(beat(1, Some(s(80)))),
            ((s(10), s(20)), (s(10), s(20)))
        );
        assert_eq!(
            pauses(beat(5, Some(s(40)))),
            (always(10), (Duration::ZERO, s(10)))
        );
        assert!(beat(5, None).is_cycle() && !beat(5, Some(s(40))).is_cycle());
    }

    #[test]
    fn a_resync_that_failed_is_tried_again_after_a_pause_of_its_own() {
        let resync = Workload::Resync {
            every: s(30),
            retry_after: s(2),
        };
        assert_eq!(resync.pause_after_response(), (s(30), s(30)));
        assert_eq!(resync.pause_after_failure(), (s(2), s(2)));
        assert_eq!(resync.longest_pause(), s(30));
    }

    #[test]
    fn several_workloads_have_no_rhythm_of_their_own() {
        let poll = Workload::Poll { every: s(3) };
        let mut workloads = Workloads::one(poll.clone(), None);
        assert_eq!(workloads.cycle(), Some(&poll));
        let resync = Workload::Resync {
            every: s(30),
            retry_after: s(30),
        };
        workloads.0.extend(Workloads::one(resync, None).0);
        assert_eq!(workloads.cycle(), None);
        assert_eq!(workloads.longest_pause(), s(30));
    }
}
