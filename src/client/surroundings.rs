//! What a client finds around it, and why it can't be set up there.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use crate::contract::phase::PhaseBoard;
use crate::contract::tls::{TlsError, Trust};
use crate::linux::namespace::Namespace;
use crate::record::Recorder;

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

/// Waits for the stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender gone is a stop as well: nobody is left who could say it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits for `pause`, or for the stop, and says whether it was the stop.
pub(super) async fn stopped_within(stop: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = stopped(stop) => true,
        () = tokio::time::sleep(pause) => false,
    }
}
