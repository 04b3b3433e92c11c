//! What clients do.

mod leader_election;
mod poll;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::transport::Transport;
use crate::plan::{self, Workload};

/// Pauses of one client: always the same ones for the same seed.
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

/// Runs a client's workload until the stop.
pub(super) async fn run(
    client: &plan::Client,
    seed: u64,
    transport: &Transport,
    stop: &mut watch::Receiver<bool>,
) {
    let path = &client.target.path;
    match &client.workload {
        Workload::Poll { every } => poll::run(transport, path, *every, stop).await,
        Workload::LeaderElection {
            every,
            lease,
            jitter,
        } => {
            let candidate = leader_election::Candidate {
                name: client.name.clone(),
                path: path.clone(),
                lease: *lease,
            };
            let pauses = Pauses::new(*every, *jitter, seed, &client.name);
            leader_election::run(&candidate, transport, pauses, stop).await;
        }
        // Run by the lab, in a process of its own.
        Workload::Exec(_) => {}
    }
}
