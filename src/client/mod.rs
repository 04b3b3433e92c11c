//! Clients: the built-in transport with every knob explicit, and the workloads that use it.

mod connections;
mod desk;
mod dial;
mod h1;
mod h2;
mod health;
pub mod phase;
mod transport;
mod wire;
mod workload;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use crate::lab::namespace::Namespace;
use crate::plan;
use crate::record::{EndedBy, Observation, Recorder};
use crate::server::tls::{TlsError, Trust};
use crate::task_group::TaskGroup;
use phase::PhaseBoard;
use transport::Transport;

/// A client can't be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A host name no certificate can carry.
    #[error("`{host}` can't be a TLS server name")]
    ServerName {
        /// As in the URL.
        host: String,
    },
    /// A URL or path HTTP does not allow.
    #[error("can't ask for `{url}`: {source}")]
    Url {
        /// As asked.
        url: String,
        /// Why.
        source: http::Error,
    },
}

/// What a client finds around it.
#[derive(Clone)]
pub struct Surroundings {
    /// Namespace its sockets are made in.
    pub namespace: Rc<Namespace>,
    /// Where it leaves what it observes.
    pub recorder: Recorder,
    /// The run's certificate authority.
    pub trust: Trust,
    /// Where it says what it is doing, for faults that wait for it.
    pub phases: Rc<PhaseBoard>,
    /// Turns true at the end of the case: no new requests from then on.
    pub stop: watch::Receiver<bool>,
    /// Time that requests still waiting have after that.
    pub drain: Duration,
    /// Seed of its dice.
    pub seed: u64,
}

/// Runs a client from its start to the end of the case.
///
/// Dropping the future is a loss of power: everything of the client is gone at once, and nothing is recorded.
pub async fn run(client: plan::Client, around: Surroundings) {
    let tasks = TaskGroup::default();
    let transport = match Transport::new(&client, &around, tasks.clone()) {
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

/// Waits for the stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender gone is a stop as well: nobody is left who could say it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for `pause`, or for the stop, and says whether it was the stop.
async fn stopped_within(stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = stopped(stop) => true,
        () = tokio::time::sleep(pause) => false,
    }
}
