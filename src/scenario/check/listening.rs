//! How servers take connections in where that is not as usual, and what clients have to do with it.

use super::Checker;
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{ClientSpec, ExpectSpec, Named, ServerSpec, Spanned};
use crate::scenario::value::given;

impl<'a> Checker<'a> {
    pub(super) fn listening(&mut self) {
        self.uptimes();
        self.masqueraded();
        if self.nothing_breaks() {
            self.without_faults();
        }
    }

    /// A case without faults is one in which something else is to be seen.
    pub(super) fn nothing_breaks(&self) -> bool {
        let faults = self.scenario.faults.get();
        faults.is_some_and(Vec::is_empty)
    }

    /// Whether a server takes connections in otherwise than usual.
    pub(super) fn refuses_by_itself(&self) -> bool {
        let servers = self.scenario.servers.get();
        let unusual = |s: &ServerSpec| s.accepts.is_some() || s.emulate.is_some();
        servers
            .into_iter()
            .flat_map(Named::iter)
            .any(|(_, _, server)| unusual(server))
    }

    fn uptimes(&mut self) {
        let scenario = self.scenario;
        let servers = scenario.servers.get();
        let judged = servers
            .into_iter()
            .flat_map(Named::iter)
            .any(|(_, _, server)| server.emulate.is_some());
        for (_, _, client) in scenario.clients.get().into_iter().flat_map(Named::iter) {
            let Some(uptime) = &client.uptime else {
                continue;
            };
            let host = given(&client.host_network).copied().unwrap_or_default();
            let problem = if host {
                Problem::new(
                    uptime.span,
                    "on the host network a client has the node's clock",
                )
                .help("only a pod can stand for a machine of its own: leave `host_network` out")
            } else if !judged {
                Problem::new(uptime.span, "nobody looks at this client's uptime")
                    .help("it matters to a server with `emulate: tw_recycle` only")
            } else {
                continue;
            };
            self.push(problem);
        }
    }

    /// Behind their node's address programs can't be told apart, and nobody's packets be matched with their connections.
    fn masqueraded(&mut self) {
        let scenario = self.scenario;
        let expectations = self.expectations_of_clients();
        for (name, word, client) in scenario.clients.get().into_iter().flat_map(Named::iter) {
            if !self.is_masqueraded(client) {
                continue;
            }
            let mut own = expectations.iter().filter(|(of, _)| *of == word).peekable();
            let program = Self::program(client).is_some();
            if program && own.peek().is_some() {
                self.push(
                    Problem::new(
                        name.span,
                        "servers see this program under its node's address, and can't tell whose its requests are",
                    )
                    .help("run it on another node or with `host_network: true`, or expect nothing of it"),
                );
                continue;
            }
            for cause in own.filter_map(|(_, spec)| spec.cause.as_ref()) {
                self.push(
                    Problem::new(
                        cause.span,
                        "this client's packets bear its node's address, so no cause can be told from them",
                    )
                    .help("expect something of `detected` or `recovered`, or leave `masquerade` out"),
                );
            }
        }
    }

    fn is_masqueraded(&self, client: &ClientSpec) -> bool {
        let host = given(&client.host_network).copied().unwrap_or_default();
        let nodes = self.scenario.nodes.get().into_iter();
        let mut own = nodes
            .flat_map(|n| n.iter())
            .filter(|(_, name, _)| client.node.get().is_some_and(|node| node == name));
        !host && own.any(|(_, _, node)| given(&node.masquerade).copied().unwrap_or_default())
    }

    /// What is expected of clients, by name, `expect_when` included.
    fn expectations_of_clients(&self) -> Vec<(&'a str, &'a ExpectSpec)> {
        let scenario = self.scenario;
        let expect = given(&scenario.expect).into_iter();
        let when = given(&scenario.expect_when).into_iter().flatten();
        let when = when.filter_map(Spanned::get).filter_map(|w| w.expect.get());
        let all = expect.chain(when).flat_map(Named::iter);
        all.map(|(_, name, spec)| (name, spec)).collect()
    }

    /// What counts from a fault can't be expected where there is none.
    fn without_faults(&mut self) {
        let expectations = self.expectations_of_clients();
        for (_, spec) in expectations {
            let fields = [
                spec.recovered.as_ref().map(|f| f.span),
                spec.detected.as_ref().map(|f| f.span),
                spec.cause.as_ref().map(|f| f.span),
                spec.distribution.as_ref().map(|f| f.span),
            ];
            for span in fields.into_iter().flatten() {
                self.push(
                    Problem::new(span, "this counts from a fault, and there is none")
                        .help("expect something of `requests_failed` or `dials`, or of counters"),
                );
            }
        }
    }
}
