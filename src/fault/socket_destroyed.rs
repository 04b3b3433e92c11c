//! `socket_destroyed`: the kernel destroys a client's connections.

use schemars::JsonSchema;

use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::diagnostic::Problem;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// Connections of a client that are destroyed.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SocketDestroyedSpec {
    /// The client.
    pub client: Spanned<String>,
    /// Only those that lead to this server (default all to what it asks).
    pub server: Option<Spanned<String>>,
}

impl Kind for SocketDestroyedSpec {
    const ABOUT: &'static str = "The kernel destroys a client's connections (SOCK_DESTROY), as Cilium does for backends that are gone.";

    fn done_at_once(&self) -> Option<&'static str> {
        Some("`socket_destroyed` has no `for`: it happens at one instant")
    }

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let client = cx.client(&self.client);
        let server = match &self.server {
            None => Some(None),
            Some(name) => cx.server(name).map(Some),
        };
        let (client, server) = (client?, server?);
        if let Some((twin, node)) = cx.twin(&client) {
            let message = format!(
                "`{client}` and `{twin}` ask the same from the network of `{node}`: nobody can tell their sockets apart"
            );
            let problem = Problem::new(self.client.span, message);
            cx.push(problem.help("give one of them a pod of its own (`host_network: false`)"));
            return None;
        }
        Some(Resolved {
            target: match &server {
                Some(server) => format!("{client} to {server}"),
                None => client.clone(),
            },
            detail: None,
            effects: vec![Effect::Destroy { client, server }],
            span: self.client.span,
        })
    }
}
