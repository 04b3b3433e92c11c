//! What clients do.

mod heartbeat;
mod leader_election;
mod repeat;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::exchange::{Ask, Reply, Streaming};
use super::surroundings::{Surroundings, stopped_within};
use super::transport::HttpTransport;
use crate::contract::stream::StreamQuery;
use crate::plan::{self, CloseOnFailure, Work, Workload};
use crate::record::RequestError;

/// Pauses of one workload: always the same ones for the same seed.
struct Pauses {
    every: Duration,
    jitter: Duration,
    dice: StdRng,
}

impl Pauses {
    fn new(every: Duration, jitter: Duration, seed: u64, client: &str) -> Self {
        // Clients of one case must not jump together.
        let own = client.bytes().fold(seed, |mixed, byte| {
            mixed.wrapping_mul(31).wrapping_add(byte.into())
        });
        Self {
            every,
            jitter,
            dice: StdRng::seed_from_u64(own),
        }
    }

    fn next(&mut self) -> Duration {
        self.every + self.jitter.mul_f64(self.dice.random::<f64>())
    }
}

/// One workload of a client, asking over the client's transport.
struct Caller<'a> {
    transport: &'a HttpTransport,
    client: &'a plan::Client,
    work: &'a Work,
    around: &'a Surroundings,
    stop: watch::Receiver<bool>,
}

impl Caller<'_> {
    /// Asks at the client's own URL.
    async fn request(&self, method: Method, body: Bytes) -> Result<Reply, RequestError> {
        let path = &self.client.target.path;
        self.ask(method, path, body, None).await
    }

    /// Asks for a response that goes on, and waits for its end.
    async fn stream(
        &self,
        wanted: StreamQuery,
        messages: Option<Duration>,
    ) -> Result<(), RequestError> {
        let path = &self.client.target.path;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}{wanted}");
        let method = match messages {
            None => Method::GET,
            Some(_) => Method::POST,
        };
        let stream = Streaming::new(messages);
        let asked = self.ask(method, &path, Bytes::new(), Some(stream));
        asked.await.map(|_| ())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        stream: Option<Streaming>,
    ) -> Result<Reply, RequestError> {
        let several = self.client.workloads.several();
        let ask = Ask {
            workload: several.then_some(self.work.name.as_str()),
            method,
            path,
            body,
            timeout: self.work.request_timeout,
            stream,
        };
        self.transport.request(ask).await
    }

    /// It pauses, for so long or until the stop; says whether it was the stop.
    async fn pauses(&self, pause: Duration) -> bool {
        stopped_within(&mut self.stop.clone(), pause).await
    }

    /// The last request was answered, and it pauses.
    fn rest(&self) {
        self.transport.rest();
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    fn begin_anew(&self, which: CloseOnFailure) {
        self.transport.begin_anew(which);
    }
}

/// Runs a client's workloads until the stop.
pub(super) async fn run(client: &plan::Client, around: &Surroundings, transport: &HttpTransport) {
    let each = client.workloads.iter().map(|work| Caller {
        transport,
        client,
        work,
        around,
        stop: around.stop.clone(),
    });
    join_all(each.map(run_one)).await;
}

async fn run_one(caller: Caller<'_>) {
    let caller = &caller;
    match &caller.work.kind {
        Workload::Poll { every } => repeat::poll(caller, *every).await,
        Workload::Resync { every, retry_after } => {
            repeat::resync(caller, *every, *retry_after).await;
        }
        Workload::LeaderElection {
            every,
            lease,
            renew_deadline,
            jitter,
        } => {
            let candidate = leader_election::Candidate {
                lease: *lease,
                renew_deadline: *renew_deadline,
            };
            let pauses = Pauses::new(*every, *jitter, caller.around.seed, &caller.client.name);
            leader_election::run(&candidate, caller, pauses).await;
        }
        Workload::Heartbeat {
            every,
            grace,
            lease,
            attempts,
            close_on_failure,
        } => {
            let heart = heartbeat::Heart {
                every: *every,
                grace: *grace,
                lease: *lease,
                attempts: *attempts,
                close_on_failure: *close_on_failure,
            };
            heart.run(caller).await;
        }
        Workload::Watch { push, every } => {
            stream::run(caller, &StreamQuery::Events { push: *push }, None, *every).await;
        }
        Workload::Download {
            rate,
            duration,
            every,
        } => {
            let wanted = StreamQuery::Download {
                rate: *rate,
                duration: *duration,
            };
            stream::run(caller, &wanted, None, *every).await;
        }
        Workload::Messages { interval, every } => {
            stream::run(caller, &StreamQuery::Answers, Some(*interval), *every).await;
        }
        // Run by the lab, in a process of its own.
        Workload::Exec(_) => {}
    }
}
