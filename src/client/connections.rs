//! A client's connections, from their dial to their end: each is numbered, and each end is recorded exactly once.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::socket_watch::SocketWatch;
use crate::plan::{CloseOnFailure, Protocol};
use crate::record::{ConnectionEnd, EndedBy, Observation, Recorder};

/// All connections of one client.
pub(super) struct Connections {
    client: String,
    recorder: Recorder,
    last: Cell<u32>,
    live: RefCell<Vec<Weak<Connection>>>,
}

/// One connection, or the attempt to open it.
pub(super) struct Connection {
    /// Its number.
    pub(super) id: u32,
    /// Its socket.
    pub(super) socket: Rc<SocketWatch>,
    home: Rc<Connections>,
    opened: Cell<bool>,
    end: RefCell<Option<ConnectionEnd>>,
    closing: Notify,
    requests: Cell<u32>,
    resting_since: Cell<Option<Instant>>,
}

impl Connections {
    pub(super) fn new(client: &str, recorder: Recorder) -> Rc<Self> {
        Rc::new(Self {
            client: client.to_owned(),
            recorder,
            last: Cell::new(0),
            live: RefCell::default(),
        })
    }

    /// A connection about to be opened with `socket`.
    pub(super) fn begin(self: &Rc<Self>, socket: &impl AsRawFd) -> Rc<Connection> {
        let id = self.last.get() + 1;
        self.last.set(id);
        let connection = Rc::new(Connection {
            id,
            socket: SocketWatch::new(socket),
            home: Rc::clone(self),
            opened: Cell::new(false),
            end: RefCell::new(None),
            closing: Notify::new(),
            requests: Cell::new(0),
            resting_since: Cell::new(None),
        });
        let mut live = self.live.borrow_mut();
        live.retain(|c| c.upgrade().is_some_and(|c| c.end.borrow().is_none()));
        live.push(Rc::downgrade(&connection));
        connection
    }

    /// Ends connections that are open; dials go on.
    pub(super) fn close_open(&self, by: EndedBy, text: &str, which: CloseOnFailure) {
        let live = self.live.borrow().clone();
        let open = live.iter().filter_map(Weak::upgrade).filter(|connection| {
            let wanted = which == CloseOnFailure::All || connection.resting_since.get().is_some();
            connection.opened.get() && wanted
        });
        for connection in open {
            connection.close(by, text);
        }
    }

    /// Ends every connection and every dial.
    pub(super) fn close_all(&self, by: EndedBy, text: &str) {
        let live = std::mem::take(&mut *self.live.borrow_mut());
        for connection in live.iter().filter_map(Weak::upgrade) {
            connection.close(by, text);
        }
    }
}

impl Connection {
    /// Its SYN went out at `at`.
    pub(super) fn dial_started(&self, at: Duration, target: SocketAddr, local: Option<SocketAddr>) {
        let started = Observation::DialStarted {
            client: self.home.client.clone(),
            connection: self.id,
            target,
            local,
        };
        self.home.recorder.emit_at(at, started);
    }

    /// It can carry requests.
    pub(super) fn opened(&self, local: SocketAddr, target: SocketAddr, protocol: Protocol) {
        self.opened.set(true);
        self.home.recorder.emit(Observation::ConnectionOpened {
            client: self.home.client.clone(),
            connection: self.id,
            local,
            target,
            protocol: Some(protocol),
        });
    }

    /// The client ends it.
    pub(super) fn close(&self, by: EndedBy, text: &str) {
        self.ended(self.socket.end(by, text));
    }

    /// It has ended, or ends now. Only the first end counts.
    pub(super) fn ended(&self, end: ConnectionEnd) {
        if self.end.borrow().is_some() {
            return;
        }
        *self.end.borrow_mut() = Some(end.clone());
        let client = self.home.client.clone();
        let connection = self.id;
        self.home.recorder.emit(if self.opened.get() {
            Observation::ConnectionClosed {
                client,
                connection,
                end,
            }
        } else {
            Observation::DialFailed {
                client,
                connection,
                error: end,
            }
        });
        self.closing.notify_one();
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<ConnectionEnd> {
        self.end.borrow().clone()
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Waits for its end. For its driver alone.
    pub(super) async fn closing(&self) {
        if !self.is_over() {
            self.closing.notified().await;
        }
    }

    /// Counts a request and says how many it carried before.
    pub(super) fn count_request(&self) -> u32 {
        self.requests.replace(self.requests.get() + 1)
    }

    /// Whether it has carried a request.
    pub(super) fn is_warm(&self) -> bool {
        self.requests.get() > 0
    }

    /// Marks it as idle from now on, or as busy.
    pub(super) fn set_idle(&self, idle: bool) {
        self.resting_since.set(idle.then(Instant::now));
    }

    /// Whether it has been idle for `limit`.
    pub(super) fn has_rested(&self, limit: Option<Duration>) -> bool {
        let since = self.resting_since.get();
        since
            .zip(limit)
            .is_some_and(|(since, limit)| since.elapsed() >= limit)
    }

    /// Waits until it has been idle for `limit`; for ever without one.
    pub(super) async fn idle_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            // While busy, nothing can be due before one whole limit from now.
            let due = self.resting_since.get().map(|since| since + limit);
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => tokio::time::sleep_until(due).await,
                None => tokio::time::sleep(limit).await,
            }
        }
    }
}
