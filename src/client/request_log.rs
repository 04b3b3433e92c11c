//! Where a client's requests are noted, for the record and the phase board, and what each try of one knows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::Instant;

use super::connections::Connection;
use super::exchange::{Failure, Reply, Streaming, server_of, until};
use crate::contract::phase::{PhaseBoard, RequestStage};
use crate::contract::stream::PART_END;
use crate::record::{Observation, Recorder, RequestError, RequestId};

/// Where a client's requests are noted.
pub(super) struct RequestLog {
    pub(super) client: String,
    pub(super) recorder: Recorder,
    pub(super) phases: Rc<PhaseBoard>,
    /// Requests under way, and the connection each waits on.
    waiting: RefCell<BTreeMap<u32, (RequestId, Option<u32>)>>,
}

/// One try of a request.
pub(super) struct Attempt<'a> {
    pub(super) log: &'a RequestLog,
    pub(super) id: &'a RequestId,
    pub(super) attempt: u32,
    pub(super) message: &'a Request<Bytes>,
    pub(super) deadline: Option<Instant>,
    /// Its response is to go on.
    pub(super) stream: Option<&'a Streaming>,
}

impl RequestLog {
    pub(super) fn new(client: &str, recorder: Recorder, phases: Rc<PhaseBoard>) -> Self {
        Self {
            client: client.to_owned(),
            recorder,
            phases,
            waiting: RefCell::default(),
        }
    }

    pub(super) fn waits_on(&self, id: &RequestId, connection: Option<u32>, call: RequestStage) {
        self.waits(id, connection);
        self.phases.set(&self.client, id.number, call);
    }

    fn waits(&self, id: &RequestId, connection: Option<u32>) {
        let waiting = (id.clone(), connection);
        self.waiting.borrow_mut().insert(id.number, waiting);
    }

    pub(super) fn end(
        &self,
        request: RequestId,
        result: Result<Reply, Failure>,
    ) -> Result<Reply, RequestError> {
        self.waiting.borrow_mut().remove(&request.number);
        self.phases.over(&self.client, request.number);
        match result.and_then(Reply::checked) {
            Ok(reply) => {
                self.recorder.emit(Observation::Response {
                    request,
                    connection: reply.connection,
                    server: reply.server.clone(),
                    status: reply.status.as_u16(),
                });
                Ok(reply)
            }
            Err(failure) => {
                self.recorder.emit(Observation::RequestFailed {
                    request,
                    connection: failure.connection,
                    error: failure.error,
                    text: failure.text,
                });
                Err(failure.error)
            }
        }
    }

    /// The case ends: what still waits has no response, or not the whole of it.
    pub(super) fn give_up_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for (request, connection) in waiting.into_values() {
            self.recorder.emit(Observation::RequestUnfinished {
                request,
                connection,
            });
        }
    }
}

impl Attempt<'_> {
    /// The request is about to be written to `connection`.
    pub(super) fn sending(&self, connection: &Connection) {
        let warm = connection.count_request() > 0;
        self.log.waits(self.id, Some(connection.id));
        self.log
            .phases
            .before_write(&self.log.client, self.id.number, warm);
        self.log.recorder.emit(Observation::RequestSent {
            request: self.id.clone(),
            connection: connection.id,
            attempt: self.attempt,
        });
    }

    /// It is handed over.
    pub(super) fn sent(&self, connection: &Connection) {
        let call = RequestStage::Sent(connection.socket.clone());
        self.log.waits_on(self.id, Some(connection.id), call);
    }

    /// The response's head is there.
    pub(super) fn answered(&self, connection: &Connection, head: &Response<()>) {
        let Some(stream) = self.stream.filter(|_| head.status().is_success()) else {
            return;
        };
        stream.began.set(true);
        self.log.recorder.emit(Observation::ResponseBegan {
            request: self.id.clone(),
            connection: connection.id,
            server: server_of(head),
        });
        let socket = Rc::clone(&connection.socket);
        self.log
            .phases
            .streaming(&self.log.client, self.id.number, socket);
    }

    /// A piece of the response's body is there. It is kept in `whole`, unless the response goes on.
    pub(super) fn take(&self, connection: &Connection, piece: &[u8], whole: &mut Vec<u8>) {
        let Some(stream) = self.stream.filter(|stream| stream.began.get()) else {
            whole.extend_from_slice(piece);
            return;
        };
        let ends = piece.iter().filter(|byte| **byte == PART_END).count();
        let mut received = stream.received.get();
        received.bytes += piece.len() as u64;
        received.parts += u32::try_from(ends).unwrap_or(u32::MAX);
        stream.received.set(received);
        if ends > 0 {
            self.log.recorder.emit(Observation::StreamReceived {
                request: self.id.clone(),
                connection: connection.id,
                received,
            });
        }
    }

    /// Pause between the messages of a request that goes on.
    pub(super) fn messages(&self) -> Option<Duration> {
        self.stream.and_then(|stream| stream.messages)
    }

    /// Its time is over.
    pub(super) async fn expired(&self) {
        until(self.deadline).await;
    }
}
