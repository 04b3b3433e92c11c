//! HTTP/2: one shared connection. A request that times out resets its stream, and the connection lives on: without
//! a health check nothing but the kernel ends it.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use http::{Request, Response, Version};
use tokio::sync::{Notify, watch};

use super::connections::Connection;
use super::dial::{Dialed, Dialer};
use super::exchange::{Failure, Reply, within};
use super::health::Health;
use super::request_log::Attempt;
use crate::plan::{self, TimeoutEnds};
use crate::record::{ConnectionEnd, EndedBy, Recorder};
use crate::task_group::TaskGroup;

/// The shared connection of one client.
pub(super) struct H2 {
    shared: Rc<H2State>,
    read_timeout: Option<Duration>,
    tasks: TaskGroup,
}

struct H2State {
    dialer: Dialer,
    client: String,
    transport: plan::Transport,
    recorder: Recorder,
    slot: RefCell<Slot>,
    /// Those that take no further request and are not closed yet. Held, since a session that nobody holds closes.
    retired: RefCell<Vec<Rc<Session>>>,
}

#[derive(Clone)]
enum Slot {
    Empty,
    Dialing(Rc<SharedDial>),
    Open(Rc<Session>),
}

type DialResult = Result<Rc<Session>, ConnectionEnd>;

/// A dial that several requests wait for.
struct SharedDial {
    result: watch::Receiver<Option<DialResult>>,
    waiters: Cell<usize>,
    abandoned: Notify,
}

/// An open connection.
struct Session {
    sender: SendRequest<Bytes>,
    connection: Rc<Connection>,
    health: Rc<Health>,
}

/// How a try on one connection went.
enum Tried {
    Done(Result<Reply, Failure>),
    /// The connection takes no more requests; nothing was sent.
    Unusable,
}

impl H2 {
    pub(super) fn new(
        dialer: Dialer,
        client: &str,
        transport: &plan::Transport,
        recorder: Recorder,
        tasks: TaskGroup,
    ) -> Self {
        Self {
            shared: Rc::new(H2State {
                dialer,
                client: client.to_owned(),
                transport: transport.clone(),
                recorder,
                slot: RefCell::new(Slot::Empty),
                retired: RefCell::default(),
            }),
            read_timeout: transport.read_timeout,
            tasks,
        }
    }

    /// One try of a request on the shared connection, which is opened if there is none.
    pub(super) async fn exchange(&self, now: &Attempt<'_>) -> Result<Reply, Failure> {
        loop {
            let session = self.session(now).await?;
            let connection = Rc::clone(&session.connection);
            session.health.stream_opened(&connection);
            let tried = self.send(now, &session).await;
            session.health.stream_closed(&connection);
            match tried {
                Tried::Done(result) => return result,
                Tried::Unusable => {
                    connection.ended(connection.socket.end_found("takes no more requests"));
                    self.shared.forget(&connection);
                }
            }
        }
    }

    async fn session(&self, now: &Attempt<'_>) -> Result<Rc<Session>, Failure> {
        self.shared.close_what_is_of_no_use();
        let slot = self.shared.slot.borrow().clone();
        let dial = match slot {
            Slot::Open(session) if !session.connection.is_over() => return Ok(session),
            Slot::Dialing(dial) => dial,
            Slot::Open(_) | Slot::Empty => self.begin_dial(),
        };
        dial.waiters.set(dial.waiters.get() + 1);
        let mut result = dial.result.clone();
        let dialed = tokio::select! {
            biased;
            dialed = result.wait_for(Option::is_some) => dialed.ok().and_then(|d| d.clone()),
            () = now.expired() => None,
        };
        dial.waiters.set(dial.waiters.get() - 1);
        if let Some(dialed) = dialed {
            return dialed.map_err(|end| Failure::dial(&end));
        }
        if dial.waiters.get() == 0 {
            dial.abandoned.notify_one();
            // Its end is recorded before the request's.
            let _ = result.wait_for(Option::is_some).await;
        }
        Err(Failure::timeout(None, "while connecting"))
    }

    fn begin_dial(&self) -> Rc<SharedDial> {
        let (done, result) = watch::channel(None);
        let dial = Rc::new(SharedDial {
            result,
            waiters: Cell::new(0),
            abandoned: Notify::new(),
        });
        *self.shared.slot.borrow_mut() = Slot::Dialing(Rc::clone(&dial));
        let (shared, tasks) = (Rc::clone(&self.shared), self.tasks.clone());
        let begun = Rc::clone(&dial);
        self.tasks.spawn(async move {
            let result = shared.open(&dial, &tasks).await;
            *shared.slot.borrow_mut() = match &result {
                Ok(session) => Slot::Open(Rc::clone(session)),
                Err(_) => Slot::Empty,
            };
            done.send_replace(Some(result));
        });
        begun
    }

    async fn send(&self, now: &Attempt<'_>, session: &Rc<Session>) -> Tried {
        let connection = &session.connection;
        let answering = Cell::new(false);
        let mut exchange = pin!(self.stream(now, session, &answering));
        tokio::select! {
            biased;
            tried = &mut exchange => tried,
            // Dropping the exchange resets its stream (RST_STREAM, CANCEL).
            () = now.expired() => {
                self.timed_out(session, EndedBy::RequestTimeout, "a request on it timed out");
                let failure = Failure::timeout(Some(connection.id), "while waiting for the response");
                Tried::Done(Err(failure))
            }
        }
    }

    /// A request ran out of time on a connection.
    fn timed_out(&self, session: &Rc<Session>, by: EndedBy, text: &str) {
        session.health.request_timed_out();
        let transport = &self.shared.transport;
        match transport.timeout_ends {
            TimeoutEnds::Stream => {}
            TimeoutEnds::Connection if transport.idle_timeout.is_none() => {
                session.connection.close(by, text);
            }
            TimeoutEnds::Connection => self.shared.retire(session),
        }
    }

    /// One stream, from its opening to the end of its response.
    async fn stream(
        &self,
        now: &Attempt<'_>,
        session: &Rc<Session>,
        answering: &Cell<bool>,
    ) -> Tried {
        let connection = &session.connection;
        let Ok(mut sender) = session.sender.clone().ready().await else {
            return Tried::Unusable;
        };
        let reused = connection.is_warm();
        now.sending(connection);
        let received = async {
            let (head, body) = on_wire(now.message);
            let whole = now.messages().is_none();
            let (response, mut stream) = sender.send_request(head, whole && body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(body, whole)?;
            }
            now.sent(connection);
            tokio::select! {
                biased;
                received = receive(now, connection, response, answering, self.read_timeout) => received,
                never = talk(now, stream) => match never {},
            }
        };
        Tried::Done(match received.await {
            Ok(Some((head, body))) => Ok(Reply::new(&head, body, connection.id)),
            Ok(None) => {
                let text = "no data while waiting for a response";
                self.timed_out(session, EndedBy::ReadTimeout, text);
                Err(Failure::read_timeout(connection.id))
            }
            Err(error) => {
                if connection.socket.is_broken() {
                    connection.ended(connection.socket.end_found(error.to_string()));
                }
                let text = connection
                    .end()
                    .map_or_else(|| error.to_string(), |end| end.text);
                Err(Failure::lost(connection.id, &text, answering.get(), reused))
            }
        })
    }
}

/// The response with its body; `None` if nothing of it came for `limit`.
async fn receive(
    now: &Attempt<'_>,
    connection: &Connection,
    response: h2::client::ResponseFuture,
    answering: &Cell<bool>,
    limit: Option<Duration>,
) -> Result<Option<(Response<()>, Bytes)>, h2::Error> {
    let Some(response) = within(limit, response).await else {
        return Ok(None);
    };
    let (head, mut stream) = response?.into_parts();
    answering.set(true);
    let head = Response::from_parts(head, ());
    now.answered(connection, &head);
    let mut body = Vec::new();
    loop {
        let Some(chunk) = within(limit, stream.data()).await else {
            return Ok(None);
        };
        let Some(chunk) = chunk.transpose()? else {
            return Ok(Some((head, body.into())));
        };
        stream.flow_control().release_capacity(chunk.len())?;
        now.take(connection, &chunk, &mut body);
    }
}

/// The messages of a request that goes on. The response tells of its end, also when they can't be sent any more.
async fn talk(now: &Attempt<'_>, mut stream: SendStream<Bytes>) -> Infallible {
    let Some(pause) = now.messages() else {
        return std::future::pending().await;
    };
    let mut sent = 0;
    loop {
        tokio::time::sleep(pause).await;
        sent += 1;
        let message = format!("{{\"message\":{sent}}}\n");
        if stream.send_data(message.into(), false).is_err() {
            return std::future::pending().await;
        }
    }
}

fn on_wire(message: &Request<Bytes>) -> (Request<()>, Bytes) {
    let (mut head, body) = message.clone().into_parts();
    head.version = Version::HTTP_2;
    (Request::from_parts(head, ()), body)
}

impl H2State {
    async fn open(self: &Rc<Self>, dial: &SharedDial, tasks: &TaskGroup) -> DialResult {
        let Dialed { stream, connection } = self.dialer.dial(dial.abandoned.notified()).await?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .handshake(stream)
            .await;
        let (sender, mut driver) = match handshake {
            Ok(shaken) => shaken,
            Err(error) => {
                let end = connection.socket.end_found(error.to_string());
                connection.ended(end.clone());
                return Err(end);
            }
        };
        let health = Rc::new(Health::new(
            &self.client,
            &self.transport,
            self.recorder.clone(),
        ));
        health.begin(&connection);
        let ping_pong = driver.ping_pong();
        let (shared, driven, watched) =
            (Rc::clone(self), Rc::clone(&connection), Rc::clone(&health));
        tasks.spawn(async move {
            let mut driver = pin!(driver);
            // By reference: the socket is open until its end is recorded.
            tokio::select! {
                biased;
                result = &mut driver => driven.ended(end_of(&driven, result)),
                () = driven.closing() => {}
                () = driven.idle_for(shared.transport.idle_timer()) => {
                    driven.close(EndedBy::IdleTimeout, "idle timeout");
                }
                () = watched.watch(&driven, ping_pong) => {
                    driven.close(EndedBy::PingTimeout, "http2: no answer to a PING");
                }
            }
            shared.forget(&driven);
        });
        Ok(Rc::new(Session {
            sender,
            connection,
            health,
        }))
    }

    /// Before a request looks for a connection: ends what has been idle for too long, and what a PING has shown to be dead.
    fn close_what_is_of_no_use(&self) {
        let mut retired = std::mem::take(&mut *self.retired.borrow_mut());
        retired.retain(|session| !session.connection.is_over());
        let open = match &*self.slot.borrow() {
            Slot::Open(session) => Some(Rc::clone(session)),
            Slot::Empty | Slot::Dialing(_) => None,
        };
        for session in open.iter().chain(&retired) {
            if session.connection.has_rested(self.transport.idle_timeout) {
                session
                    .connection
                    .close(EndedBy::IdleTimeout, "idle timeout");
            } else if session.health.answer_is_overdue() {
                let text = "http2: no answer to a PING";
                session.connection.close(EndedBy::PingTimeout, text);
            }
        }
        *self.retired.borrow_mut() = retired;
    }

    /// A connection takes no further request; what is under way on it goes on.
    fn retire(&self, session: &Rc<Session>) {
        self.forget(&session.connection);
        self.retired.borrow_mut().push(Rc::clone(session));
    }

    /// Requests to come open a new connection.
    fn forget(&self, connection: &Rc<Connection>) {
        let mut slot = self.slot.borrow_mut();
        if matches!(&*slot, Slot::Open(session) if Rc::ptr_eq(&session.connection, connection)) {
            *slot = Slot::Empty;
        }
    }
}

fn end_of(connection: &Connection, result: Result<(), h2::Error>) -> ConnectionEnd {
    match result {
        Ok(()) => connection.socket.end_in_good_order(),
        Err(error) if error.is_go_away() && error.is_remote() => {
            connection.socket.end(EndedBy::Peer, error.to_string())
        }
        Err(error) => connection.socket.end_found(error.to_string()),
    }
}
