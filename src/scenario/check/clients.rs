//! Clients: where they run, what they ask, and whether the servers there can answer.

use super::{Checker, Kind};
use crate::plan::{Protocol, Target, target, transport};
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{ClientSpec, Spanned};
use crate::scenario::value::given;

impl Checker<'_> {
    pub(super) fn clients(&mut self) {
        let scenario = self.scenario;
        transport::check_profiles(scenario, self.problems);
        let Some(clients) = scenario.clients.get() else {
            return;
        };
        if clients.0.is_empty() {
            self.push(Problem::new(
                scenario.clients.span,
                "a scenario needs a client",
            ));
        }
        for (name, _, spec) in clients.iter() {
            self.client(name, spec);
        }
    }

    fn client(&mut self, name: &Spanned<String>, spec: &ClientSpec) {
        self.must_be(Kind::Node, &spec.node);
        let host = given(&spec.host_network).copied().unwrap_or_default();
        self.own_sysctls(host, &spec.sysctls);
        self.workloads(name, spec);
        self.own_transport(name, spec);
        let transport = transport::of_client(self.scenario, spec, self.problems);
        let target = self.target(spec);
        if let (Some(transport), Some(target), None) = (transport, &target, Self::program(spec)) {
            self.protocol(name, spec, transport.protocol, target);
            self.works_with(spec, target, transport.protocol);
        }
        if let (Some(start), Some(end)) = (given(&spec.start), given(&self.scenario.duration))
            && start >= end
        {
            let span = spec.start.as_ref().map(|s| s.span).unwrap_or_default();
            self.push(
                Problem::new(span, "this client starts when the case is over")
                    .help("start it earlier, or give the case a longer `duration`"),
            );
        }
    }

    fn target(&mut self, spec: &ClientSpec) -> Option<Target> {
        let url = spec.url.get()?;
        let names = [Kind::Service, Kind::Server, Kind::Node].map(|k| self.names_of_kind(k));
        // Where one of them could not be read, the host may well be in there.
        let names = names.into_iter().collect::<Option<Vec<_>>>()?;
        let known: Vec<&str> = names
            .iter()
            .flatten()
            .filter_map(|n| n.get())
            .map(String::as_str)
            .collect();
        match target::resolve(url, spec.url.span, self.topology, &known) {
            Ok(target) => target,
            Err(problem) => {
                self.push(problem);
                None
            }
        }
    }

    fn protocol(
        &mut self,
        name: &Spanned<String>,
        spec: &ClientSpec,
        protocol: Protocol,
        target: &Target,
    ) {
        let word = |p: Protocol| match p {
            Protocol::H1 => "h1",
            Protocol::H2 => "h2",
        };
        let cannot = target
            .servers
            .iter()
            .filter_map(|s| self.topology.server(s))
            .find(|s| !s.protocols.is_empty() && !s.protocols.contains(&protocol));
        if let Some(server) = cannot {
            let own = given(&spec.transport).and_then(|t| t.protocol.as_ref());
            let profile = spec.profile.as_ref().map(|profile| profile.span);
            let span = own.map(|p| p.span).or(profile).unwrap_or_default();
            let client = name.get().map_or("", String::as_str);
            let message = format!(
                "client `{client}` speaks {}, server `{}` does not",
                word(protocol),
                server.name
            );
            let problem = Problem::new(span, message).label(format!("means {}", word(protocol)));
            self.push(problem.help(format!(
                "add `{}` to the server's `protocols`, or take another profile or `protocol`",
                word(protocol)
            )));
        }
    }
}
