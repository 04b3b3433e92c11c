//! Signs that a client tries again.

use std::collections::HashMap;

use super::client_record::ClientRecord;
use super::connections::Connection;
use super::index::AT_ONCE;
use super::timeline::Moment;

/// What a client does of its own accord: dials, and requests on connections that it has, in order of time.
pub(super) struct Signs(Vec<(Moment, Sign)>);

/// One of them, by its number.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Dial(u32),
    Request(u32),
}

impl Sign {
    /// In words.
    pub(super) fn text(self) -> String {
        match self {
            Self::Dial(number) => format!("dial {number}"),
            Self::Request(number) => format!("request {number} handed over"),
        }
    }
}

impl Signs {
    pub(super) fn of(record: &ClientRecord) -> Self {
        // Where a client has several workloads, another's may be the first on a connection: its dial was not for these.
        let mut first: HashMap<u32, Moment> = HashMap::new();
        for (at, connection) in &record.requests.sendings {
            first.entry(*connection).or_insert(*at);
        }
        let several = record.client.workloads.several();
        let for_these = |connection: &Connection| match connection.opened.filter(|_| several) {
            Some(opened) => first
                .get(&connection.id)
                .is_some_and(|at| at.since(opened) <= AT_ONCE),
            None => true,
        };
        let dials = record.connections.iter().filter(|c| for_these(c));
        let dials = dials.filter_map(|c| Some((c.began()?, Sign::Dial(c.id))));
        let requests = record.requests.by_number.iter();
        let sendings = requests.flat_map(|(number, request)| {
            let sent = request.sent.iter();
            sent.map(|(at, _)| (*at, Sign::Request(*number)))
        });
        let mut signs: Vec<_> = dials.chain(sendings).collect();
        signs.sort_by_key(|(at, _)| *at);
        Self(signs)
    }

    /// The first of them after a moment.
    pub(super) fn after(&self, moment: Moment) -> Option<(Moment, Sign)> {
        let place = self.0.partition_point(|(at, _)| *at <= moment);
        self.0.get(place).copied()
    }
}
