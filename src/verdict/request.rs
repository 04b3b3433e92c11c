//! One request, and what came of it by the servers' own records.

use std::time::Duration;

use crate::plan::{Client, Work, Workload};
use crate::record::{RequestError, RequestId};

use super::timeline::Moment;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A response that a server's record has too.
    Answered {
        /// The server could answer still when the client had its response.
        alive: bool,
    },
    /// The client says it has a response, but no server's record has it.
    Claimed,
    /// No response.
    Failed(RequestError),
    /// Still waiting when the case ended.
    Unfinished,
    /// Still waiting when the case ended, and sent so late that it could not have been answered by then.
    CutShort,
    /// A response that goes on and was well when the case ended.
    GoesOn,
    /// A response that went on and was well when the client's own timeout ended it.
    HealthyCut,
}

impl Outcome {
    /// Whether nothing is wrong with it.
    pub(super) fn is_well(self) -> bool {
        match self {
            Self::Answered { .. } | Self::CutShort | Self::GoesOn | Self::HealthyCut => true,
            Self::Claimed | Self::Failed(_) | Self::Unfinished => false,
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// First event that speaks of it.
    pub first: Moment,
    /// Each time it was handed to a connection.
    pub sent: Vec<(Moment, u32)>,
    /// When it ended, if no connection for it was open yet; [`Moment::END`] if it outlived the case so.
    pub dialling_until: Option<Moment>,
    /// What came of it; `None` if the record does not say.
    pub outcome: Option<(Moment, Outcome)>,
    /// The workload it is of, where its client has several.
    pub workload: Option<&'a str>,
    /// Of a response that goes on: when it began, and when more of it came from a server with power.
    pub stream: Option<Stream>,
}

/// A response that goes on.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// When its head came.
    pub began: Moment,
    /// When something of it came that a server with power had sent, by that server's own record.
    pub good: Vec<Moment>,
}

impl<'a> Request<'a> {
    /// One that is spoken of for the first time.
    pub(super) fn new(first: Moment, workload: Option<&'a str>) -> Self {
        Self {
            first,
            sent: Vec::new(),
            dialling_until: None,
            outcome: None,
            workload,
            stream: None,
        }
    }

    /// When its whole response came from a server that could answer.
    fn answered(&self) -> Option<Moment> {
        match self.outcome {
            Some((at, Outcome::Answered { alive: true })) => Some(at),
            Some(_) | None => None,
        }
    }

    /// When it was answered in one piece, and how long that took.
    pub(super) fn took(&self) -> Option<(Moment, Duration)> {
        let at = self.answered().filter(|_| self.stream.is_none())?;
        Some((at, at.since(self.first)))
    }

    /// Whether it was for nothing: it failed, or had no answer to the end.
    pub(super) fn is_lost(&self) -> bool {
        self.outcome.is_some_and(|(_, outcome)| !outcome.is_well())
    }

    /// When something of it came from a server that could answer: parts of its response, and the whole of it.
    pub(super) fn good(&self) -> impl Iterator<Item = Moment> {
        let parts = self.stream.iter().flat_map(|stream| &stream.good).copied();
        parts.chain(self.answered())
    }

    /// The first that came of it from a server that could answer, and what that was.
    pub(super) fn first_good(&self) -> Option<(Moment, &'static str)> {
        let part = self.stream.as_ref().and_then(|s| s.good.first());
        let part = part.map(|at| (*at, "the beginning of response"));
        part.or_else(|| Some((self.answered()?, "response")))
    }

    /// Whether it is over at a moment.
    pub(super) fn over_by(&self, moment: Moment) -> bool {
        self.outcome.is_some_and(|(at, _)| at <= moment)
    }

    /// The connection that it was handed to last, by a moment.
    pub(super) fn connection_at(&self, moment: Moment) -> Option<(Moment, u32)> {
        let mut sent = self.sent.iter().rev();
        sent.find(|(at, _)| *at <= moment).copied()
    }
}

/// What a request is of.
pub(super) fn kind<'c>(client: &'c Client, request: &RequestId) -> Option<&'c Workload> {
    let named = |work: &&Work| match &request.workload {
        Some(name) => work.name == *name,
        None => true,
    };
    client.workloads.iter().find(named).map(|work| &work.kind)
}
