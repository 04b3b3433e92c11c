//! Programs as clients: their commands with the placeholders filled in.

use super::exec::{self, regular_expression};
use super::placeholders::Words;
use crate::contract::CA_FILE;
use crate::plan::{OwnWords, Program, Target};
use crate::scenario::cx::Cx;
use crate::scenario::model::{ClientSpec, ExecSpec, OutputSpec, Spanned, WorkloadSpec};
use crate::yaml::{Problem, Span, given, placed};

/// The program a client is, if it is one.
pub(crate) fn of(spec: &ClientSpec) -> Option<&ExecSpec> {
    let mut works = spec.works().filter_map(Spanned::get);
    works.find_map(|work| match work {
        WorkloadSpec::Exec(exec) => Some(&**exec),
        WorkloadSpec::Poll(_)
        | WorkloadSpec::LeaderElection(_)
        | WorkloadSpec::Watch(_)
        | WorkloadSpec::Resync(_)
        | WorkloadSpec::Heartbeat(_)
        | WorkloadSpec::Stream(_) => None,
    })
}

/// A client's program; without a target it is looked at all the same.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    spec: &ExecSpec,
    client: &ClientSpec,
    target: Option<&Target>,
) -> Option<Program> {
    let profile = client.profile.as_ref().map(|field| ("profile", field.span));
    let transport = client.transport.as_ref();
    let transport = transport.map(|field| ("transport", field.span));
    for (field, span) in [profile, transport].into_iter().flatten() {
        let message = format!("a program brings its own transport, so it has no `{field}`");
        let help = "leave it out; what the program can be told stands in `command` and `env`";
        cx.push(Problem::new(span, message).help(help));
    }
    let url = client.url.get();
    let words = words(cx, url.zip(target));
    let exec = exec::resolve(cx, &spec.into(), "[curl, -sS, \"{url}\"]", &words);
    let output = placed(&spec.output).map(|(at, output)| own_words(cx, at, output));
    Some(Program {
        exec: exec?,
        url: url?.clone(),
        output,
    })
}

/// Which of its lines say how its work went.
fn own_words(cx: &mut Cx<'_>, at: Span, spec: &OutputSpec) -> OwnWords {
    let patterns = [&spec.ok, &spec.error, &spec.leads, &spec.follows].map(placed);
    let none = patterns.iter().all(Option::is_none);
    let [ok, error, leads, follows] = patterns.map(|pattern| {
        let (span, pattern) = pattern?;
        regular_expression(cx, span, pattern, "ok: \"^HTTP 200\"");
        Some(pattern.clone())
    });
    match placed(&spec.json).filter(|(_, json)| **json) {
        Some((span, _)) if !none => {
            let message = "lines are JSON, or match regular expressions, not both";
            cx.push(Problem::new(span, message).help("leave `json` out, or the expressions"));
            OwnWords::Json
        }
        Some(_) => OwnWords::Json,
        None if none => {
            let message = "no line is named here, so nothing would be heard";
            let help =
                "write e.g. `output: { ok: ^fine, error: ^bad }`, or `output: { json: true }`";
            cx.push(Problem::new(at, message).help(help));
            OwnWords::Json
        }
        None => OwnWords::Matching {
            ok,
            error,
            leads,
            follows,
        },
    }
}

/// What a client's program may be told: whom it asks, and where each server is.
fn words(cx: &Cx<'_>, asked: Option<(&String, &Target)>) -> Words {
    let target = |of: fn(&Target) -> String| asked.map(|(_, target)| of(target));
    let words = Words::of_servers(cx)
        .with("url", asked.map(|(url, _)| url.clone()))
        .with("host", target(|target| target.host.clone()))
        .with("address", target(|target| target.address.to_string()))
        .with("ca", Some(CA_FILE.to_owned()));
    exec::with_common(cx, words)
}

/// On a node's own network only its address tells whose connections are whose.
pub(super) fn is_alone(cx: &mut Cx<'_>, name: &Spanned<String>, spec: &ClientSpec) {
    let on_host = |spec: &ClientSpec| given(&spec.host_network).copied().unwrap_or_default();
    let (Some(word), Some(clients)) = (name.get(), cx.scenario.clients.get()) else {
        return;
    };
    if !on_host(spec) {
        return;
    }
    // A program that serves there asks others too.
    let servers = cx.scenario.servers.get().into_iter();
    let mut servers = servers.flat_map(|servers| servers.iter());
    let server = servers.find(|(_, _, server)| {
        let host = given(&server.host_network).copied().unwrap_or_default();
        host && server.exec.is_some() && server.node.get() == spec.node.get()
    });
    if let Some((server, _, _)) = server {
        let message = "a program on a node's own network can't stand beside a server there that is a program too: by their \
                       addresses nobody could tell their connections apart";
        let problem = Problem::new(name.span, message).also(server.span, "the server");
        cx.push(problem.help("leave out `host_network`, or move one of them to another node"));
    }
    let other = clients
        .iter()
        .find(|(_, other, s)| *other != word && on_host(s) && s.node.get() == spec.node.get());
    if let Some((other, _, _)) = other {
        let message = "a program on a node's own network must be the only client there: by their addresses nobody \
                       could tell their connections apart";
        let problem = Problem::new(name.span, message).also(other.span, "the other one");
        cx.push(problem.help("leave out `host_network`, or move one of them to another node"));
    }
}

/// Reports what is expected of a client that nobody but the program itself could know.
pub(crate) fn unknowable(
    cx: &mut Cx<'_>,
    client: &Spanned<String>,
    span: Span,
    what: &str,
    instead: &str,
) {
    let Some(word) = client.get() else { return };
    if cx.client(word).and_then(of).is_some() {
        let message = format!("client `{word}` is a program, and {what}");
        cx.push(Problem::new(span, message).help(instead));
    }
}
