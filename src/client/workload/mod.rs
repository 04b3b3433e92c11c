//! What clients do.

mod leader_election;
mod poll;

use tokio::sync::watch;

use super::transport::Transport;
use crate::plan::{self, Workload};

/// Runs a client's workload until the stop.
pub(super) async fn run(
    client: &plan::Client,
    transport: &Transport,
    stop: &mut watch::Receiver<bool>,
) {
    let path = &client.target.path;
    match &client.workload {
        Workload::Poll { every } => poll::run(transport, path, *every, stop).await,
        Workload::LeaderElection { every, lease } => {
            leader_election::run(&client.name, transport, path, *every, *lease, stop).await;
        }
        // Run by the lab, in a process of its own.
        Workload::Exec(_) => {}
    }
}
