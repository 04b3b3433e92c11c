//! What each client is doing, and faults that wait for it.
//!
//! Callbacks run synchronously, within the poll of a client or a server: what they stop must be stopped by aborting
//! its task, not by dropping its future.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::plan::Phase;
use crate::record::Recorder;

/// Longer than a delayed acknowledgement (40 ms, `TCP_DELACK_MIN`): after it, what was received is acknowledged.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(50);
/// How often [`PhaseBoard::hold`] looks again before it lets the request pass.
const ACKNOWLEDGED_TRIES: u32 = 20;

/// The phases of all clients, and what waits for them.
pub struct PhaseBoard {
    recorder: Recorder,
    clients: RefCell<BTreeMap<String, ClientRequests>>,
    armed: RefCell<Vec<ArmedCallback>>,
    changed: Notify,
    /// Who asks from an address: clients that don't say it.
    addresses: RefCell<HashMap<IpAddr, String>>,
}

struct ArmedCallback {
    client: String,
    phase: Phase,
    after: Duration,
    callback: Box<dyn FnOnce()>,
    /// Whether the client was looked at when `after` had passed.
    looked: bool,
}

#[derive(Default)]
struct ClientRequests {
    calls: BTreeMap<u32, RequestStage>,
    /// The last request was answered, and the workload pauses.
    resting: bool,
}

/// What is known of a connection's wire.
pub(crate) trait Unacknowledged {
    /// Whether bytes are sent and not acknowledged.
    fn unacknowledged(&self) -> bool;
}

/// How far a request is.
#[derive(Clone)]
pub(crate) enum RequestStage {
    /// No connection yet.
    Connecting,
    /// About to be written.
    Sending,
    /// Written to this connection.
    Sent(Rc<dyn Unacknowledged>),
    /// Its response has begun on this connection, and goes on.
    Streaming(Rc<dyn Unacknowledged>),
}

impl RequestStage {
    fn phase(&self) -> Phase {
        match self {
            Self::Connecting => Phase::Connecting,
            Self::Sending => Phase::RequestUnacknowledged,
            Self::Sent(wire) | Self::Streaming(wire) if wire.unacknowledged() => {
                Phase::RequestUnacknowledged
            }
            Self::Sent(_) => Phase::WaitingForResponse,
            Self::Streaming(_) => Phase::Streaming,
        }
    }
}

impl ClientRequests {
    /// Of several the most passing one rules: a response that goes on says least of the rest, and unacknowledged data
    /// keeps a connection longest.
    fn phase(&self) -> Phase {
        let rank = |phase: &Phase| match phase {
            Phase::Idle => 0,
            Phase::Streaming => 1,
            Phase::Connecting => 2,
            Phase::WaitingForResponse => 3,
            Phase::RequestUnacknowledged => 4,
        };
        self.calls
            .values()
            .map(RequestStage::phase)
            .max_by_key(rank)
            .unwrap_or(Phase::Idle)
    }
}

impl PhaseBoard {
    /// An empty board. `recorder` tells the case's time.
    #[must_use]
    pub fn new(recorder: Recorder) -> Rc<Self> {
        Rc::new(Self {
            recorder,
            clients: RefCell::default(),
            armed: RefCell::default(),
            changed: Notify::new(),
            addresses: RefCell::default(),
        })
    }

    /// Calls `callback` once, at the first moment not before `after` (from the case's start) when `client` is in
    /// `phase`:
    ///
    /// - idle: its last request was answered, its workload pauses;
    /// - request unacknowledged: right *before* a request is written to a connection that has carried one before, so
    ///   that a callback which cuts the network leaves the request unacknowledged;
    /// - waiting for the response: the server has the request, its client the acknowledgement, and the response is
    ///   held back while the callback runs;
    /// - streaming: the head of a response that goes on has just come;
    /// - connecting: right before a SYN goes out.
    ///
    /// A client that is already there when `after` passes is noticed by [`PhaseBoard::watch`].
    pub fn on(&self, client: &str, phase: Phase, after: Duration, callback: Box<dyn FnOnce()>) {
        self.armed.borrow_mut().push(ArmedCallback {
            client: client.to_owned(),
            phase,
            after,
            callback,
            looked: false,
        });
        self.changed.notify_one();
    }

    /// The phase of every client, by name.
    #[must_use]
    pub fn phases(&self) -> Vec<(String, Phase)> {
        let clients = self.clients.borrow();
        clients
            .iter()
            .map(|(name, doing)| (name.clone(), doing.phase()))
            .collect()
    }

    /// Fires what waited for `after` while its client was already in the phase. Run it beside the clients; it never
    /// ends.
    pub async fn watch(&self) -> std::convert::Infallible {
        loop {
            let now = self.recorder.now();
            self.fire_passed(now);
            let next = self
                .armed
                .borrow()
                .iter()
                .map(|a| a.after)
                .filter(|after| *after > now)
                .min();
            match next {
                None => self.changed.notified().await,
                Some(after) => tokio::select! {
                    () = self.changed.notified() => {}
                    // A little more than needed, or a timer that rounds down would wake for nothing.
                    () = tokio::time::sleep(after - now + Duration::from_micros(1)) => {}
                },
            }
        }
    }

    /// Fires what has become due and whose client is in its phase already. Later the client itself says so.
    fn fire_passed(&self, now: Duration) {
        let mut due = Vec::new();
        for armed in self.armed.borrow_mut().iter_mut() {
            if armed.after <= now && !armed.looked {
                armed.looked = true;
                due.push((armed.client.clone(), armed.phase));
            }
        }
        for (client, phase) in due {
            let there = self.clients.borrow().get(&client).is_some_and(|doing| {
                doing.phase() == phase && (phase != Phase::Idle || doing.resting)
            });
            if there {
                self.fire(&client, phase);
            }
        }
    }

    /// Runs every callback due for `client` in `phase`.
    fn fire(&self, client: &str, phase: Phase) {
        while let Some(armed) = self.take_due(client, phase) {
            (armed.callback)();
        }
    }

    fn take_due(&self, client: &str, phase: Phase) -> Option<ArmedCallback> {
        let now = self.recorder.now();
        let mut armed = self.armed.borrow_mut();
        let position = armed
            .iter()
            .position(|a| a.client == client && a.phase == phase && a.after <= now)?;
        Some(armed.remove(position))
    }

    fn is_due(&self, client: &str, phase: Phase) -> bool {
        let now = self.recorder.now();
        self.armed
            .borrow()
            .iter()
            .any(|a| a.client == client && a.phase == phase && a.after <= now)
    }

    /// A server has a request of `client`. Returns at once unless something waits for this moment; then it waits
    /// until the request is acknowledged and runs the callback.
    pub(crate) async fn hold(&self, client: &str) {
        for _ in 0..ACKNOWLEDGED_TRIES {
            if !self.is_due(client, Phase::WaitingForResponse) {
                return;
            }
            tokio::time::sleep(ACKNOWLEDGED_AFTER).await;
            let waiting = self
                .clients
                .borrow()
                .get(client)
                .is_some_and(|doing| doing.phase() == Phase::WaitingForResponse);
            if waiting {
                self.fire(client, Phase::WaitingForResponse);
                // A callback that ended this server has aborted its task, which ends where it next waits.
                tokio::task::yield_now().await;
                return;
            }
        }
    }

    /// An answer to a client is about to reach it. Whether something waited for that, and has happened now.
    pub(crate) fn before_response(&self, client: &str) -> bool {
        let due = self.is_due(client, Phase::WaitingForResponse);
        if due {
            self.fire(client, Phase::WaitingForResponse);
        }
        due
    }

    /// `client`, which does not say its name, asks from this address.
    pub(crate) fn asks_from(&self, client: &str, address: IpAddr) {
        let address = address.to_canonical();
        self.addresses
            .borrow_mut()
            .insert(address, client.to_owned());
    }

    /// Who asks from this address, if it does not say it.
    pub(crate) fn asker(&self, address: IpAddr) -> Option<String> {
        self.addresses
            .borrow()
            .get(&address.to_canonical())
            .cloned()
    }

    /// Makes a client known, idle.
    pub(crate) fn join(&self, client: &str) {
        self.clients
            .borrow_mut()
            .entry(client.to_owned())
            .or_default();
    }

    /// Sets how far a request is.
    pub(crate) fn set(&self, client: &str, number: u32, call: RequestStage) {
        let mut clients = self.clients.borrow_mut();
        let doing = clients.entry(client.to_owned()).or_default();
        doing.resting = false;
        doing.calls.insert(number, call);
    }

    /// A SYN is about to go out for `client`.
    pub(crate) fn before_connect(&self, client: &str) {
        self.fire(client, Phase::Connecting);
    }

    /// A request is about to be written; `warm` if its connection has carried one before.
    pub(crate) fn before_write(&self, client: &str, number: u32, warm: bool) {
        self.set(client, number, RequestStage::Sending);
        if warm {
            self.fire(client, Phase::RequestUnacknowledged);
        }
    }

    /// The head of a response that goes on has come.
    pub(crate) fn streaming(&self, client: &str, number: u32, wire: Rc<dyn Unacknowledged>) {
        self.set(client, number, RequestStage::Streaming(wire));
        self.fire(client, Phase::Streaming);
    }

    /// A request is over.
    pub(crate) fn over(&self, client: &str, number: u32) {
        if let Some(doing) = self.clients.borrow_mut().get_mut(client) {
            doing.calls.remove(&number);
        }
    }

    /// The workload pauses after a request that was answered.
    pub(crate) fn rest(&self, client: &str) {
        let idle = {
            let mut clients = self.clients.borrow_mut();
            let doing = clients.entry(client.to_owned()).or_default();
            doing.resting = doing.calls.is_empty();
            doing.resting
        };
        if idle {
            self.fire(client, Phase::Idle);
        }
    }

    /// A client is no more.
    pub(crate) fn leave(&self, client: &str) {
        self.clients.borrow_mut().remove(client);
    }
}
