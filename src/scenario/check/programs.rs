//! Clients that are programs: what they can have, and what can be expected of them.

use super::Checker;
use crate::plan::program;
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{ClientSpec, ExecSpec, Spanned, WorkloadSpec};
use crate::scenario::value::given;

impl Checker<'_> {
    /// The program a client is, if it is one.
    pub(super) fn program(spec: &ClientSpec) -> Option<&ExecSpec> {
        let mut works = spec.works().filter_map(Spanned::get);
        works.find_map(|work| match work {
            WorkloadSpec::Exec(exec) => Some(exec),
            _ => None,
        })
    }

    /// The program that the client of this name is, if it is one.
    pub(super) fn program_named(&self, name: &Spanned<String>) -> Option<&ExecSpec> {
        let clients = self.scenario.clients.get()?;
        Self::program(clients.find(name.get()?)?.get()?)
    }

    /// A transport is ours or the program's own.
    pub(super) fn own_transport(&mut self, name: &Spanned<String>, spec: &ClientSpec) {
        let Some(exec) = Self::program(spec) else {
            if spec.profile.is_none() && spec.works().any(|work| work.get().is_some()) {
                let problem = Problem::new(name.span, "field `profile` is missing");
                self.push(problem.label("`profile` is missing here"));
            }
            return;
        };
        let profile = spec.profile.as_ref().map(|field| ("profile", field.span));
        let transport = spec
            .transport
            .as_ref()
            .map(|field| ("transport", field.span));
        for (field, span) in [profile, transport].into_iter().flatten() {
            let problem = Problem::new(
                span,
                format!("a program brings its own transport, so it has no `{field}`"),
            );
            self.push(
                problem.help(
                    "leave it out; what the program can be told stands in `command` and `env`",
                ),
            );
        }
        program::check(exec, self.problems);
        self.alone_on_its_node(name, spec);
    }

    /// On a node's own network only its address tells whose connections are whose.
    fn alone_on_its_node(&mut self, name: &Spanned<String>, spec: &ClientSpec) {
        let on_host = |spec: &ClientSpec| given(&spec.host_network).copied().unwrap_or_default();
        let (Some(word), Some(clients)) = (name.get(), self.scenario.clients.get()) else {
            return;
        };
        if !on_host(spec) {
            return;
        }
        let other = clients
            .iter()
            .find(|(_, other, s)| *other != word && on_host(s) && s.node.get() == spec.node.get());
        if let Some((other, _, _)) = other {
            let message = "a program on a node's own network must be the only client there: by their addresses nobody \
                           could tell their connections apart";
            let problem = Problem::new(name.span, message).also(other.span, "the other one");
            self.push(
                problem.help("leave out `host_network`, or move one of them to another node"),
            );
        }
    }

    /// What nobody but the program itself could know.
    pub(super) fn unknowable(
        &mut self,
        client: &Spanned<String>,
        span: crate::scenario::Span,
        what: &str,
        instead: &str,
    ) {
        if self.program_named(client).is_some() {
            let word = client.get().map_or("", String::as_str);
            let message = format!("client `{word}` is a program, and {what}");
            self.push(Problem::new(span, message).help(instead));
        }
    }
}
