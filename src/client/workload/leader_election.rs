//! Attempt to become and stay the holder of a lock: read it, and write it when it is free, expired or our own, with the
//! version that was read, so that of two candidates one fails.
//!
//! A candidate that has written it acts as the leader until its renew deadline, as client-go's does, whatever it learns
//! meanwhile. Only the lock's store knows who really leads.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Caller, Pauses};
use crate::contract::lease::{Claim, Lease};
use crate::record::{Observation, RequestError};

/// How long a candidate wants the lock after each renewal, and how long it believes to have it.
pub(super) struct Candidate {
    pub(super) lease: Duration,
    pub(super) renew_deadline: Duration,
}

pub(super) async fn run(me: &Candidate, caller: &Caller<'_>, mut pauses: Pauses) {
    let belief = Belief::default();
    let tries = async {
        loop {
            if let Ok(renewed) = attempt(me, caller).await {
                if renewed {
                    belief.renewed(caller, me.renew_deadline);
                }
                caller.rest();
            }
            if caller.pauses(pauses.next()).await {
                return;
            }
        }
    };
    tokio::select! {
        // At the deadline itself it leads no more, even if an answer comes at that moment.
        biased;
        never = belief.lapses(caller) => match never {},
        () = tries => {}
    }
}

/// What a candidate believes of itself.
#[derive(Default)]
struct Belief {
    leads_until: Cell<Option<Instant>>,
    renewed: Notify,
}

impl Belief {
    fn renewed(&self, caller: &Caller<'_>, deadline: Duration) {
        let led = self.leads_until.replace(Some(Instant::now() + deadline));
        if led.is_none() {
            tell(caller, true);
            self.renewed.notify_one();
        }
    }

    /// Ends the belief at each deadline that passes.
    async fn lapses(&self, caller: &Caller<'_>) -> std::convert::Infallible {
        loop {
            match self.leads_until.get() {
                None => self.renewed.notified().await,
                Some(deadline) if deadline <= Instant::now() => {
                    self.leads_until.set(None);
                    tell(caller, false);
                }
                Some(deadline) => tokio::time::sleep_until(deadline).await,
            }
        }
    }
}

fn tell(caller: &Caller<'_>, leads: bool) {
    caller.around.recorder.emit(Observation::LeaderBelief {
        client: caller.client.name.clone(),
        leads,
    });
}

/// One try; says whether it took or renewed the lock. Who holds it now only the server knows.
async fn attempt(me: &Candidate, caller: &Caller<'_>) -> Result<bool, RequestError> {
    let name = &caller.client.name;
    let reply = caller.request(Method::GET, Bytes::new()).await?;
    // A server that keeps no lock: nothing to write, and the next try may meet another.
    let Ok(read) = serde_json::from_slice::<Lease>(&reply.body) else {
        return Err(RequestError::Status);
    };
    let held_by_another = read.holder.as_ref().is_some_and(|holder| holder != name);
    if reply.status != StatusCode::OK || held_by_another {
        return Ok(false);
    }
    let claim = Claim {
        holder: name.clone(),
        lease_ms: u64::try_from(me.lease.as_millis()).unwrap_or(u64::MAX),
        version: read.version,
    };
    let body = serde_json::to_vec(&claim).map_err(|_| RequestError::Status)?;
    let written = caller.request(Method::PUT, body.into()).await?;
    Ok(written.status == StatusCode::OK)
}
