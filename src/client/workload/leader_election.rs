//! Try to become and stay the holder of a lock: read it, and write it when it is free, expired or our own, with the
//! version that was read, so that of two candidates one fails.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::watch;

use super::Pauses;
use crate::client::stopped_within;
use crate::client::transport::Transport;
use crate::record::RequestError;
use crate::server::lock::{Claim, Lease};

/// Who wants the lock, and which.
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) path: String,
    /// How long it wants it after each renewal.
    pub(super) lease: Duration,
}

pub(super) async fn run(
    me: &Candidate,
    transport: &Transport,
    mut pauses: Pauses,
    stop: &mut watch::Receiver<bool>,
) {
    loop {
        if attempt(me, transport).await.is_ok() {
            transport.rest();
        }
        if stopped_within(stop, pauses.next()).await {
            return;
        }
    }
}

/// One try. Says nothing of who holds the lock now: the server does.
async fn attempt(me: &Candidate, transport: &Transport) -> Result<(), RequestError> {
    let reply = transport
        .request(Method::GET, &me.path, Bytes::new())
        .await?;
    // A server that keeps no lock: nothing to write, and the next try may meet another.
    let Ok(read) = serde_json::from_slice::<Lease>(&reply.body) else {
        return Err(RequestError::Status);
    };
    if reply.status != StatusCode::OK
        || read
            .holder
            .as_ref()
            .is_some_and(|holder| *holder != me.name)
    {
        return Ok(());
    }
    let claim = Claim {
        holder: me.name.clone(),
        lease_ms: u64::try_from(me.lease.as_millis()).unwrap_or(u64::MAX),
        version: read.version,
    };
    let body = serde_json::to_vec(&claim).map_err(|_| RequestError::Status)?;
    transport
        .request(Method::PUT, &me.path, body.into())
        .await?;
    Ok(())
}
