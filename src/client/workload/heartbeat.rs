//! Tell servers that a node is alive, as a kubelet does: its status and, beside that, its lease. Each beat is tried
//! several times, one right after the other, and connections may be closed when that does not help.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::Caller;
use crate::contract::heartbeat::Heartbeat;
use crate::plan::{CloseOnFailure, LEASE_SHARE};

/// How a node's heart beats.
pub(super) struct Heart {
    pub(super) every: Duration,
    pub(super) grace: Duration,
    pub(super) lease: Option<Duration>,
    pub(super) attempts: u32,
    pub(super) close_on_failure: Option<CloseOnFailure>,
}

impl Heart {
    pub(super) async fn run(&self, caller: &Caller<'_>) {
        let status = self.beats(caller, Method::POST, self.every);
        match self.lease {
            None => status.await,
            Some(lease) => {
                let renewals = self.beats(caller, Method::PUT, lease / LEASE_SHARE);
                tokio::join!(status, renewals);
            }
        }
    }

    async fn beats(&self, caller: &Caller<'_>, method: Method, every: Duration) {
        let beat = Heartbeat {
            node: caller.client.name.clone(),
            grace_ms: u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX),
        };
        // A name and a number: there is nothing in it that JSON could not say.
        let body = Bytes::from(serde_json::to_vec(&beat).unwrap_or_default());
        loop {
            if self.beat(caller, &method, &body).await {
                caller.rest();
            }
            if caller.pauses(every).await {
                return;
            }
        }
    }

    /// One beat with all its tries; says whether it was answered.
    async fn beat(&self, caller: &Caller<'_>, method: &Method, body: &Bytes) -> bool {
        for attempt in 1..=self.attempts {
            if caller.is_stopped() {
                return false;
            }
            if caller.request(method.clone(), body.clone()).await.is_ok() {
                return true;
            }
            if let Some(which) = self.close_on_failure.filter(|_| attempt >= 2) {
                caller.begin_anew(which);
            }
        }
        false
    }
}
