//! An app that takes nodes' heartbeats and judges which of them are ready, as Kubernetes' node controller does.
//!
//! What is known lives in a store that all servers of a service share and that survives any node. POST (status) and PUT
//! (lease) of a [`Heartbeat`] both say that a node is alive; when none came for its grace period it is not ready. (The
//! real controller looks every 5 s, so it may be that much later.)

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::contract::heartbeat::Heartbeat;
use crate::record::{Observation, Recorder};
use crate::server::connection::{App, AppContext};
use crate::server::http::{HttpApp, WholeRequest, WholeResponse, over_http};
use crate::server::stores::Stored;

pub(super) fn app(context: AppContext) -> Rc<dyn App> {
    let registry = context
        .commons
        .stores
        .get::<Registry>(&context.server.store);
    over_http(context, Nodes { registry })
}

struct Nodes {
    registry: Rc<Registry>,
}

impl HttpApp for Nodes {
    fn respond(&self, request: &WholeRequest) -> WholeResponse {
        if request.method == Method::GET {
            return WholeResponse {
                status: StatusCode::OK,
                body: json!({ "ready": self.registry.ready() }),
            };
        }
        if request.method != Method::POST && request.method != Method::PUT {
            let error = format!(
                "nodes are told by GET, POST and PUT, not {}",
                request.method
            );
            return WholeResponse::error(StatusCode::METHOD_NOT_ALLOWED, &error);
        }
        match serde_json::from_slice::<Heartbeat>(&request.body) {
            Err(error) => WholeResponse::error(
                StatusCode::BAD_REQUEST,
                &format!("not a heartbeat: {error}"),
            ),
            Ok(beat) => {
                self.registry.take(&beat);
                WholeResponse {
                    status: StatusCode::OK,
                    body: json!({ "ready": true }),
                }
            }
        }
    }
}

/// What is known of the nodes that report to one service.
struct Registry {
    name: String,
    recorder: Recorder,
    nodes: RefCell<BTreeMap<String, NodeState>>,
}

/// What is known of a node.
struct NodeState {
    /// When it will be judged not ready, unless it says something before.
    not_ready_at: Instant,
    /// The task that notices; `None` while it is not ready.
    watch: Option<AbortHandle>,
}

impl Stored for Registry {
    fn empty(name: &str, recorder: Recorder) -> Self {
        Self {
            name: name.to_owned(),
            recorder,
            nodes: RefCell::default(),
        }
    }
}

impl Registry {
    fn take(self: &Rc<Self>, beat: &Heartbeat) {
        let not_ready_at = Instant::now() + Duration::from_millis(beat.grace_ms);
        let was_ready = {
            let mut nodes = self.nodes.borrow_mut();
            let node = nodes.entry(beat.node.clone()).or_insert(NodeState {
                not_ready_at,
                watch: None,
            });
            node.not_ready_at = not_ready_at;
            node.watch.is_some()
        };
        if !was_ready {
            self.judged(&beat.node, true);
            self.watch(&beat.node);
        }
    }

    fn judged(&self, node: &str, ready: bool) {
        self.recorder.emit(Observation::NodeReady {
            store: self.name.clone(),
            client: node.to_owned(),
            ready,
        });
    }

    /// One task for each time a node is ready: it follows the heartbeats and ends when they no longer come.
    fn watch(self: &Rc<Self>, node: &str) {
        let (registry, name) = (Rc::downgrade(self), node.to_owned());
        let task = tokio::task::spawn_local(async move {
            loop {
                let due = registry
                    .upgrade()
                    .and_then(|r| r.nodes.borrow().get(&name).map(|n| n.not_ready_at));
                let Some(due) = due else { return };
                tokio::time::sleep_until(due).await;
                let Some(registry) = registry.upgrade() else {
                    return;
                };
                if registry.lapsed(&name) {
                    return registry.judged(&name, false);
                }
            }
        });
        if let Some(node) = self.nodes.borrow_mut().get_mut(node) {
            node.watch = Some(task.abort_handle());
        }
    }

    /// Whether a node's time is over; it is not ready from then on.
    fn lapsed(&self, name: &str) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes
            .get_mut(name)
            .filter(|n| n.not_ready_at <= Instant::now());
        node.map(|node| node.watch = None).is_some()
    }

    fn ready(&self) -> BTreeMap<String, bool> {
        let nodes = self.nodes.borrow();
        let ready = nodes
            .iter()
            .map(|(name, node)| (name.clone(), node.watch.is_some()));
        ready.collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for node in self.nodes.get_mut().values() {
            if let Some(task) = &node.watch {
                task.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    /// What was judged of node `a`, and how long after the beginning.
    fn judged(work: impl AsyncFnOnce(Rc<Registry>)) -> Vec<(bool, Duration)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let seen = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&seen);
        LocalSet::new().block_on(&runtime, async {
            let begun = Instant::now();
            let recorder = Recorder::new(move |event| {
                if let Observation::NodeReady { ready, .. } = event.what {
                    kept.borrow_mut().push((ready, begun.elapsed()));
                }
            });
            work(Rc::new(Registry::empty("aa", recorder))).await;
        });
        seen.take()
    }

    fn beat() -> Heartbeat {
        Heartbeat {
            node: "a".to_owned(),
            grace_ms: 400,
        }
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_node_is_not_ready_one_grace_period_after_its_last_beat_and_ready_at_the_next() {
        let seen = judged(async |registry| {
            for _ in 0..4 {
                registry.take(&beat());
                tokio::time::sleep(ms(100)).await;
            }
            // The last at 300 ms.
            tokio::time::sleep(ms(600)).await;
            registry.take(&beat());
        });
        let [(true, _), (false, not_ready), (true, again)] = seen[..] else {
            panic!("{seen:?}");
        };
        assert!((ms(700)..ms(900)).contains(&not_ready), "{seen:?}");
        assert!((ms(1000)..ms(1200)).contains(&again), "{seen:?}");
    }

    #[test]
    fn beats_in_time_keep_a_node_ready() {
        let seen = judged(async |registry| {
            for _ in 0..5 {
                registry.take(&beat());
                tokio::time::sleep(ms(300)).await;
            }
        });
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}
