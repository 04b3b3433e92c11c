//! Clients: the built-in transport with every knob explicit, and the workloads that use it.

mod connections;
mod dial;
mod exchange;
mod h1;
mod h2;
mod health;
mod request_log;
mod socket_watch;
mod surroundings;
mod transport;
mod workload;

use std::pin::pin;

use crate::plan;
use crate::record::{EndedBy, Observation};
use crate::task_group::TaskGroup;
pub use surroundings::Surroundings;
use surroundings::{stopped, stopped_within};
use transport::HttpTransport;

/// Runs a client from its start to the end of the case.
///
/// Dropping the future is a loss of power: everything of the client is gone at once, and nothing is recorded.
pub async fn run(client: plan::Client, around: Surroundings) {
    let tasks = TaskGroup::default();
    let transport = match HttpTransport::new(&client, &around, tasks.clone()) {
        Ok(transport) => transport,
        Err(error) => {
            around.recorder.emit(Observation::RigError {
                text: format!("client {}: {error}", client.name),
                location: Some(client.location.clone()),
            });
            return;
        }
    };
    let mut stop = around.stop.clone();
    let mut work = pin!(async {
        let wait = client.start.saturating_sub(around.recorder.now());
        if !stopped_within(&mut stop, wait).await {
            workload::run(&client, &around, &transport).await;
        }
    });
    let mut drive = pin!(tasks.drive());
    let mut stop = around.stop.clone();
    let over = async {
        stopped(&mut stop).await;
        tokio::time::sleep(around.drain).await;
    };
    // By reference: the sockets must be open when their TCP_INFO is read for the last events.
    tokio::select! {
        // The workload first, so that a request answered at the last instant counts as answered.
        biased;
        () = &mut work => {}
        never = &mut drive => match never {},
        () = over => transport.give_up_waiting(),
    }
    transport.close_all(EndedBy::CaseEnd, "the case is over");
}
