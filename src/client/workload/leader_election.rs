//! Try to become and stay the holder of a lock: read it, and write it when it is free, expired or our own, with the
//! version that was read, so that of two candidates one fails.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::watch;

use crate::client::stopped_within;
use crate::client::transport::Transport;
use crate::record::RequestError;
use crate::server::lock::{Claim, Lease};

pub(super) async fn run(
    me: &str,
    transport: &Transport,
    path: &str,
    every: Duration,
    lease: Duration,
    stop: &mut watch::Receiver<bool>,
) {
    loop {
        if attempt(me, transport, path, lease).await.is_ok() {
            transport.rest();
        }
        if stopped_within(stop, every).await {
            return;
        }
    }
}

/// One try. Says nothing of who holds the lock now: the server does.
async fn attempt(
    me: &str,
    transport: &Transport,
    path: &str,
    lease: Duration,
) -> Result<(), RequestError> {
    let reply = transport.request(Method::GET, path, Bytes::new()).await?;
    // A server that keeps no lock: nothing to write, and the next try may meet another.
    let Ok(read) = serde_json::from_slice::<Lease>(&reply.body) else {
        return Err(RequestError::Status);
    };
    if reply.status != StatusCode::OK || read.holder.as_deref().is_some_and(|holder| holder != me) {
        return Ok(());
    }
    let claim = Claim {
        holder: me.to_owned(),
        lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        version: read.version,
    };
    let body = serde_json::to_vec(&claim).map_err(|_| RequestError::Status)?;
    transport.request(Method::PUT, path, body.into()).await?;
    Ok(())
}
