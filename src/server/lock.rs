//! An app that keeps a lease: a holder, an expiry, and a version that must be named to change it.
//!
//! The lease lives in a store that all servers of a service share and that survives any node, as etcd does. GET reads
//! it; PUT of a [`Claim`] takes or renews it, and is refused with 409 when the version is no longer the newest, or
//! when another holds it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::{Answer, Asked};
use crate::record::{Observation, Recorder};

/// A lease as a server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it; `null` when it is free or expired.
    pub holder: Option<String>,
    /// Rises with every change.
    pub version: u64,
    /// Milliseconds until it expires, 0 when free.
    pub expires_in_ms: u64,
}

/// What a candidate puts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The candidate.
    pub holder: String,
    /// How long the lease is to last, in milliseconds.
    pub lease_ms: u64,
    /// The version it read.
    pub version: u64,
}

/// The stores of a lab, by name.
pub struct Stores {
    recorder: Recorder,
    by_name: RefCell<HashMap<String, Rc<Store>>>,
}

impl Stores {
    /// No stores yet; a store is made, empty, when it is first used.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            by_name: RefCell::default(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Rc<Store> {
        let mut stores = self.by_name.borrow_mut();
        let store = stores.entry(name.to_owned()).or_insert_with(|| {
            Rc::new(Store {
                name: name.to_owned(),
                recorder: self.recorder.clone(),
                state: RefCell::default(),
                expiry: RefCell::new(None),
            })
        });
        Rc::clone(store)
    }
}

/// One lease.
pub(super) struct Store {
    name: String,
    recorder: Recorder,
    state: RefCell<State>,
    /// The task that notices the expiry; aborted with the store.
    expiry: RefCell<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<String>,
    version: u64,
    expires: Option<Instant>,
}

impl Store {
    fn read(&self) -> Lease {
        let state = self.state.borrow();
        let left = state.expires.map_or(Duration::ZERO, |expires| {
            expires.saturating_duration_since(Instant::now())
        });
        Lease {
            holder: state.holder.clone().filter(|_| !left.is_zero()),
            version: state.version,
            expires_in_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Takes or renews the lease, unless another was faster or holds it.
    fn claim(self: &Rc<Self>, claim: &Claim) -> Result<Lease, Lease> {
        let now = self.read();
        let held_by_another = now.holder.as_ref().is_some_and(|h| *h != claim.holder);
        if claim.version != now.version || held_by_another {
            return Err(now);
        }
        let changed = now.holder.as_ref() != Some(&claim.holder);
        *self.state.borrow_mut() = State {
            holder: Some(claim.holder.clone()),
            version: now.version + 1,
            expires: Some(Instant::now() + Duration::from_millis(claim.lease_ms)),
        };
        if changed {
            self.leader_changed(Some(claim.holder.clone()));
            self.expect_expiry();
        }
        Ok(self.read())
    }

    fn leader_changed(&self, holder: Option<String>) {
        self.recorder.emit(Observation::LeaderChanged {
            store: self.name.clone(),
            holder,
        });
    }

    /// One task a term: it follows the renewals and ends with the expiry.
    fn expect_expiry(self: &Rc<Self>) {
        let store = Rc::downgrade(self);
        let task = tokio::task::spawn_local(async move {
            loop {
                let Some(expires) = store.upgrade().and_then(|s| s.state.borrow().expires) else {
                    return;
                };
                tokio::time::sleep_until(expires).await;
                let Some(store) = store.upgrade() else { return };
                if store
                    .state
                    .borrow()
                    .expires
                    .is_some_and(|at| at <= Instant::now())
                {
                    store.expire();
                    return;
                }
            }
        });
        if let Some(old) = self.expiry.replace(Some(task.abort_handle())) {
            old.abort();
        }
    }

    fn expire(&self) {
        {
            let mut state = self.state.borrow_mut();
            state.holder = None;
            state.expires = None;
        }
        self.leader_changed(None);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(task) = self.expiry.take() {
            task.abort();
        }
    }
}

pub(super) fn answer(store: &Rc<Store>, asked: &Asked) -> Answer {
    if asked.method == Method::GET {
        return shown(StatusCode::OK, &store.read());
    }
    if asked.method != Method::PUT {
        let error = format!("a lock knows GET and PUT, not {}", asked.method);
        return Answer::error(StatusCode::METHOD_NOT_ALLOWED, &error);
    }
    match serde_json::from_slice::<Claim>(&asked.body) {
        Err(error) => Answer::error(StatusCode::BAD_REQUEST, &format!("not a claim: {error}")),
        Ok(claim) => match store.claim(&claim) {
            Ok(lease) => shown(StatusCode::OK, &lease),
            Err(lease) => shown(StatusCode::CONFLICT, &lease),
        },
    }
}

fn shown(status: StatusCode, lease: &Lease) -> Answer {
    Answer {
        status,
        body: json!(lease),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    fn claim(holder: &str, version: u64) -> Claim {
        Claim {
            holder: holder.to_owned(),
            lease_ms: 600,
            version,
        }
    }

    fn with_store(work: impl AsyncFnOnce(Rc<Store>)) -> Vec<Option<String>> {
        let leaders = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&leaders);
        let recorder = Recorder::new(move |event| {
            if let Observation::LeaderChanged { holder, .. } = event.what {
                seen.borrow_mut().push(holder);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            work(Stores::new(recorder).get("aa")).await;
        });
        leaders.take()
    }

    fn leaders(names: &[Option<&str>]) -> Vec<Option<String>> {
        names.iter().map(|n| n.map(str::to_owned)).collect()
    }

    #[test]
    fn of_two_candidates_with_one_version_the_second_is_refused() {
        let seen = with_store(async |store| {
            assert!(store.claim(&claim("a", 0)).is_ok());
            let refused = store.claim(&claim("b", 0)).expect_err("stale");
            assert_eq!((refused.holder.as_deref(), refused.version), (Some("a"), 1));
            assert!(store.claim(&claim("b", 1)).is_err(), "another holds it");
        });
        assert_eq!(seen, leaders(&[Some("a")]));
    }

    #[test]
    fn a_renewed_lease_does_not_expire_and_an_abandoned_one_does() {
        let seen = with_store(async |store| {
            let mut version = 0;
            for _ in 0..4 {
                version = store.claim(&claim("a", version)).expect("ours").version;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            assert_eq!(store.read().holder.as_deref(), Some("a"));
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(store.read().holder, None);
            assert!(store.claim(&claim("b", version)).is_ok());
        });
        assert_eq!(seen, leaders(&[Some("a"), None, Some("b")]));
    }
}
