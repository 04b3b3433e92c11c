//! What servers say they answered: a client's word alone counts for nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::plan::{Client, Workload};
use crate::record::{Observation, Progress, RequestId};

use super::requests::{Outcome, Stream, kind};
use super::timeline::{Moment, Timeline};

/// A part of a response that goes on may come this much later than the last one and its pause say.
const LATE: Duration = Duration::from_millis(500);

/// What servers say they answered.
pub(super) struct Served<'t, 'a> {
    timeline: &'t Timeline<'a>,
    /// The servers that answered, by request number.
    by_request: HashMap<u32, Vec<&'a str>>,
    /// Of responses that go on: when, by which server, and how much had been sent.
    parts: HashMap<u32, Vec<(Moment, &'a str, Progress)>>,
    /// Of programs that do not number their requests: when, and which server, by peer.
    by_peer: HashMap<(IpAddr, u16), Vec<(Moment, &'a str)>>,
}

impl<'t, 'a> Served<'t, 'a> {
    pub(super) fn of(client: &str, timeline: &'t Timeline<'a>) -> Self {
        let mut served = Self {
            timeline,
            by_request: HashMap::new(),
            parts: HashMap::new(),
            by_peer: HashMap::new(),
        };
        for (at, what) in &timeline.events {
            match what {
                Observation::ServerResponse {
                    server,
                    peer,
                    request,
                    ..
                } => served.response(client, server, *peer, request.as_ref(), *at),
                Observation::ServerStreamed {
                    server,
                    request: Some(request),
                    sent,
                    ..
                } if request.client == client => {
                    let parts = served.parts.entry(request.number).or_default();
                    parts.push((*at, server.as_str(), *sent));
                }
                _ => {}
            }
        }
        served
    }

    fn response(
        &mut self,
        client: &str,
        server: &'a str,
        peer: SocketAddr,
        request: Option<&RequestId>,
        at: Moment,
    ) {
        match request {
            Some(request) if request.client == client => {
                let servers = self.by_request.entry(request.number).or_default();
                servers.push(server);
            }
            Some(_) => {}
            None => {
                let responses = self.by_peer.entry(canonical(peer)).or_default();
                responses.push((at, server));
            }
        }
    }

    /// Whether a server that could answer at a moment had answered a request.
    pub(super) fn answered_by_living(&self, number: u32, at: Moment) -> bool {
        let mut servers = self.by_request.get(&number).into_iter().flatten();
        servers.any(|server| self.timeline.server_answers(server, at))
    }

    /// Whether a server that could answer at a moment had sent as much of a response by then.
    pub(super) fn sent_by_living(&self, number: u32, received: &Progress, at: Moment) -> bool {
        let mut parts = self.parts.get(&number).into_iter().flatten();
        parts.any(|(when, server, sent)| {
            let in_time = *when <= at && sent.parts >= received.parts;
            in_time && self.timeline.server_answers(server, at)
        })
    }

    /// Whether a response that goes on was well at a moment: its server had power, and nothing was overdue.
    pub(super) fn is_well(
        &self,
        client: &Client,
        request: &RequestId,
        stream: Option<&Stream>,
        at: Moment,
    ) -> bool {
        let Some(stream) = stream else {
            return false;
        };
        let every = kind(client, request).and_then(Workload::part_every);
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
        let mut servers = self.by_request.get(&number).cloned().unwrap_or_default();
        if let Some(responses) = local.and_then(|local| self.by_peer.get(&canonical(local))) {
            let in_time = responses
                .iter()
                .filter(|(when, _)| (sent..=at).contains(when));
            servers.extend(in_time.map(|(_, server)| server));
        }
        if servers.is_empty() {
            return Outcome::Claimed;
        }
        // What a server sent before it died may arrive after its death.
        let mut servers = servers.iter();
        let alive = servers.any(|server| self.timeline.server_answers(server, at));
        Outcome::Answered { alive }
    }
}

/// An address that is the same whether an IPv4 or an IPv6 socket showed it.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
