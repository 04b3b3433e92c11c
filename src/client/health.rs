//! HTTP/2's health check: a PING when nothing was read for a while, or after a request timed out.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connections::Connection;
use super::exchange::until;
use crate::plan;
use crate::record::{Observation, Recorder};

/// The health check of one connection, and the count of its open streams.
pub(super) struct Health {
    client: String,
    recorder: Recorder,
    ping: Option<plan::Ping>,
    after_timeout: Option<Duration>,
    streams: Cell<usize>,
    opened: Notify,
    timed_out: Notify,
    /// When the answer to a PING after a timeout is overdue; `None` where none is awaited.
    answer_due: Cell<Option<Instant>>,
}

impl Health {
    pub(super) fn new(client: &str, transport: &plan::Transport, recorder: Recorder) -> Self {
        Self {
            client: client.to_owned(),
            recorder,
            ping: transport.ping,
            after_timeout: transport.ping_after_timeout,
            streams: Cell::new(0),
            opened: Notify::new(),
            timed_out: Notify::new(),
            answer_due: Cell::new(None),
        }
    }

    /// A connection begins with no stream: idle.
    pub(super) fn begin(&self, connection: &Connection) {
        connection.set_idle(true);
    }

    pub(super) fn stream_opened(&self, connection: &Connection) {
        connection.set_idle(false);
        self.streams.set(self.streams.get() + 1);
        self.opened.notify_one();
    }

    pub(super) fn stream_closed(&self, connection: &Connection) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            connection.set_idle(true);
        }
    }

    /// A request timed out on the connection.
    pub(super) fn request_timed_out(&self) {
        if self.after_timeout.is_some() {
            self.timed_out.notify_one();
        }
    }

    /// Whether a request timed out on the connection and the PING after it has had no answer in its time.
    pub(super) fn answer_is_overdue(&self) -> bool {
        self.answer_due
            .get()
            .is_some_and(|due| due <= Instant::now())
    }

    /// A PING after a timeout is out, or one that serves for it.
    fn await_answer(&self) {
        let by = self.after_timeout.map(|limit| Instant::now() + limit);
        self.answer_due.set(self.answer_due.get().or(by));
    }

    /// Watches the connection; ends when it must be closed.
    pub(super) async fn watch(&self, connection: &Connection, ping_pong: Option<PingPong>) {
        let Some(mut ping_pong) = ping_pong else {
            return std::future::pending().await;
        };
        loop {
            let limit = self.reason_to_ping(connection).await;
            let due = || limit.map(|limit| limit.at(connection));
            if ping_pong.send_ping(Ping::opaque()).is_err() {
                // The connection is ending, and its driver knows of what.
                return std::future::pending().await;
            }
            self.recorder.emit(Observation::PingSent {
                client: self.client.clone(),
                connection: connection.id,
            });
            loop {
                tokio::select! {
                    biased;
                    pong = poll_fn(|cx| ping_pong.poll_pong(cx)) => match pong {
                        Ok(_) => break,
                        Err(_) => return std::future::pending().await,
                    },
                    () = until(due()) => {
                        // Unless something was read meanwhile.
                        if due().is_some_and(|at| at <= Instant::now()) {
                            return;
                        }
                    }
                    // One PING at a time: the one under way serves for this reason too.
                    () = self.timed_out.notified() => self.await_answer(),
                }
            }
            self.answer_due.set(None);
            self.recorder.emit(Observation::PingAcked {
                client: self.client.clone(),
                connection: connection.id,
            });
        }
    }

    /// Waits for a reason to send a PING, and says when the connection must be given up; `None` after a request's timeout:
    /// there the next request looks.
    async fn reason_to_ping(&self, connection: &Connection) -> Option<Limit> {
        tokio::select! {
            biased;
            () = self.timed_out.notified() => {
                self.await_answer();
                None
            }
            silence = self.silence(connection) => Some(Limit {
                sent: Instant::now(),
                silence,
            }),
        }
    }

    /// Waits until nothing was read for the time that asks for a PING, and says how long its answer may take.
    async fn silence(&self, connection: &Connection) -> Duration {
        let Some(ping) = self.ping else {
            return std::future::pending().await;
        };
        loop {
            while !ping.while_idle && self.streams.get() == 0 {
                self.opened.notified().await;
            }
            let due = connection.socket.last_read() + ping.idle;
            if due <= Instant::now() {
                return ping.timeout;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// When a connection with a PING under way is given up.
#[derive(Clone, Copy)]
struct Limit {
    sent: Instant,
    /// Nothing at all was read for this long.
    silence: Duration,
}

impl Limit {
    fn at(self, connection: &Connection) -> Instant {
        connection.socket.last_read().max(self.sent) + self.silence
    }
}
