//! `process_kill`: a server's or a client's program is killed.

use schemars::JsonSchema;

use super::context::{just_one, span_of};
use super::{Context, Kind, Resolved};
use crate::plan::{Effect, Process};
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// A program is killed: a server's or a client's.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessKillSpec {
    /// The server.
    pub server: Option<Spanned<String>>,
    /// The client.
    pub client: Option<Spanned<String>>,
}

impl Kind for ProcessKillSpec {
    const ABOUT: &'static str = "A server's or a client's program is killed; its kernel closes what it had open (FIN or RST) and refuses what\ncomes then. With `for`, a server is started again after that time.";

    fn done_at_once(&self) -> Option<&'static str> {
        self.client
            .as_ref()
            .map(|_| "`process_kill` of a client has no `for`: the client is not started again")
    }

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (server, client) = (self.server.as_ref(), self.client.as_ref());
        let words = [("server", span_of(server)), ("client", span_of(client))];
        let just_one = just_one(&words, span, cx);
        let server = server.map(|name| (cx.server(name), name.span));
        let client = client.map(|name| (cx.client(name), name.span));
        just_one?;
        let (target, process, span) = match (server, client) {
            (Some((name, span)), _) => (name.clone()?, Process::Server(name?), span),
            (None, client) => {
                let (name, span) = client?;
                (name.clone()?, Process::Client(name?), span)
            }
        };
        Some(Resolved {
            target,
            detail: None,
            effects: vec![Effect::Kill { process }],
            span,
        })
    }
}
