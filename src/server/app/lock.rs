//! An app that keeps a lease: a holder, an expiry, and a version that must be named to change it.
//!
//! The lease lives in a store that all servers of a service share and that survives any node, as etcd does. GET reads
//! it; PUT of a [`Claim`] takes or renews it, and is refused with 409 when the version is no longer the newest, or
//! when another holds it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::contract::lease::{Claim, Lease};
use crate::record::{Observation, Recorder};
use crate::server::connection::{App, AppContext};
use crate::server::http::{HttpApp, WholeRequest, WholeResponse, over_http};
use crate::server::stores::Stored;

pub(super) fn app(context: AppContext) -> Rc<dyn App> {
    let store = context
        .commons
        .stores
        .get::<LeaseStore>(&context.server.store);
    over_http(context, Lock { store })
}

struct Lock {
    store: Rc<LeaseStore>,
}

impl HttpApp for Lock {
    fn respond(&self, request: &WholeRequest) -> WholeResponse {
        if request.method == Method::GET {
            return shown(StatusCode::OK, &self.store.read());
        }
        if request.method != Method::PUT {
            let error = format!("a lock knows GET and PUT, not {}", request.method);
            return WholeResponse::error(StatusCode::METHOD_NOT_ALLOWED, &error);
        }
        match serde_json::from_slice::<Claim>(&request.body) {
            Err(error) => {
                WholeResponse::error(StatusCode::BAD_REQUEST, &format!("not a claim: {error}"))
            }
            Ok(claim) => match self.store.claim(&claim) {
                Ok(lease) => shown(StatusCode::OK, &lease),
                Err(lease) => shown(StatusCode::CONFLICT, &lease),
            },
        }
    }
}

fn shown(status: StatusCode, lease: &Lease) -> WholeResponse {
    WholeResponse {
        status,
        body: json!(lease),
    }
}

/// One lease.
struct LeaseStore {
    name: String,
    recorder: Recorder,
    state: RefCell<LeaseState>,
    /// The task that notices the expiry; aborted with the store.
    expiry: RefCell<Option<AbortHandle>>,
}

#[derive(Debug, Default)]
struct LeaseState {
    holder: Option<String>,
    version: u64,
    expires: Option<Instant>,
}

impl Stored for LeaseStore {
    fn empty(name: &str, recorder: Recorder) -> Self {
        Self {
            name: name.to_owned(),
            recorder,
            state: RefCell::default(),
            expiry: RefCell::new(None),
        }
    }
}

impl LeaseStore {
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
        *self.state.borrow_mut() = LeaseState {
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

impl Drop for LeaseStore {
    fn drop(&mut self) {
        if let Some(task) = self.expiry.take() {
            task.abort();
        }
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

    fn with_store(work: impl AsyncFnOnce(Rc<LeaseStore>)) -> Vec<Option<String>> {
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
            work(Rc::new(LeaseStore::empty("aa", recorder))).await;
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
