//! What servers say they answered: a client's word alone counts for nothing.

use std::net::SocketAddr;
use std::time::Duration;

use crate::plan::{Client, Workload};
use crate::record::{Progress, RequestId};

use super::index::{ClientEvents, Index};
use super::request::{Outcome, Stream, kind};
use super::timeline::Moment;

/// A part of a response that goes on may come this much later than the last one and its pause say.
const LATE: Duration = Duration::from_millis(500);

/// What servers say they answered a client.
pub(super) struct Served<'s, 'a> {
    pub client: &'s Client,
    pub index: &'s Index<'a>,
    pub events: &'s ClientEvents<'a>,
}

impl Served<'_, '_> {
    fn lives(&self, server: &str, at: Moment) -> bool {
        self.index.timeline.server_answers(server, at)
    }

    /// The servers that answered a request.
    fn by(&self, number: u32) -> impl Iterator<Item = &str> {
        let servers = self.events.answered.get(&number);
        servers.into_iter().flatten().copied()
    }

    /// Whether a server that could answer at a moment had answered a request.
    pub(super) fn answered_by_living(&self, number: u32, at: Moment) -> bool {
        self.by(number).any(|server| self.lives(server, at))
    }

    /// Whether a server that could answer at a moment had sent as much of a response by then.
    pub(super) fn sent_by_living(&self, number: u32, received: &Progress, at: Moment) -> bool {
        let parts = self
            .events
            .parts
            .get(&number)
            .map_or(&[][..], Vec::as_slice);
        let in_time = parts.partition_point(|(when, ..)| *when <= at);
        // The latest first: it is as much as was received, if any is.
        let mut parts = parts[..in_time].iter().rev();
        parts.any(|(_, server, sent)| sent.parts >= received.parts && self.lives(server, at))
    }

    /// Whether a response that goes on was well at a moment: its server had power, and nothing was overdue.
    pub(super) fn is_well(&self, request: &RequestId, stream: Option<&Stream>, at: Moment) -> bool {
        let Some(stream) = stream else {
            return false;
        };
        let every = kind(self.client, request).and_then(Workload::part_every);
        let last = stream.good.last().copied().unwrap_or(stream.began);
        let overdue = every.is_some_and(|every| at.since(last) > every + LATE);
        !overdue && self.answered_by_living(request.number, at)
    }

    /// What to think of the response that a client says it had `at` a moment.
    pub(super) fn outcome(
        &self,
        number: u32,
        local: Option<SocketAddr>,
        sent: Moment,
        at: Moment,
    ) -> Outcome {
        let unnumbered = local.map_or(&[][..], |local| self.index.unnumbered_responses(local));
        let begin = unnumbered.partition_point(|(when, _)| *when < sent);
        let end = unnumbered.partition_point(|(when, _)| *when <= at);
        let in_time = unnumbered.get(begin..end).unwrap_or_default();
        let in_time = in_time.iter().map(|(_, server)| *server);
        let mut servers = self.by(number).chain(in_time).peekable();
        if servers.peek().is_none() {
            return Outcome::Claimed;
        }
        // What a server sent before it died may arrive after its death.
        let alive = servers.any(|server| self.lives(server, at));
        Outcome::Answered { alive }
    }
}
