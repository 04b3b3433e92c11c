//! Servers that are programs.

use std::time::Duration;

use super::exec::{self, regular_expression};
use super::placeholders::{Words, command};
use crate::contract::{CA_FILE, CERTIFICATE_FILE, DATA_FOLDER, KEY_FILE};
use crate::plan::{Ready, ServerProgram};
use crate::scenario::cx::Cx;
use crate::scenario::model::{ReadySpec, ServerSpec, Spanned};
use crate::yaml::{Problem, Span, given, placed};

/// How long a program may take until it is ready, where nothing is said.
const WITHIN: Duration = Duration::from_secs(60);

/// The program a server is, or that it is none.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    name: &Spanned<String>,
    spec: &ServerSpec,
) -> Option<Option<ServerProgram>> {
    let Some((span, exec)) = placed(&spec.exec) else {
        if let Some((span, _)) = placed(&spec.ready) {
            let message = "only a program has to become ready";
            let help = "leave `ready` out, or say which program it is: `exec: { command: [...] }`";
            cx.push(Problem::new(span, message).help(help));
        }
        return Some(None);
    };
    has_nothing_of_an_app(cx, spec);
    if spec.port.is_none() {
        let message = "of a program it must be said on which port it listens";
        cx.push(Problem::new(span, message).help("write e.g. `port: 5432` beside `exec`"));
    }
    let words = words(cx, name);
    let example = "[redis-server, --port, \"{port}\"]";
    let started = exec::resolve(cx, &exec.into(), example, &words);
    let ready = ready(cx, given(&spec.ready), &words);
    let (ready, within) = ready?;
    Some(Some(ServerProgram {
        exec: started?,
        empty: given(&exec.empty).copied().unwrap_or_default(),
        ready,
        within,
    }))
}

/// What a server's program may be told.
fn words(cx: &Cx<'_>, name: &Spanned<String>) -> Words {
    let own = name.get().and_then(|name| cx.topology.server(name));
    let own = own.and_then(|server| server.listen.first());
    let words = Words::of_servers(cx)
        .with("port", own.map(|address| address.port().to_string()))
        .with("self", own.map(|address| address.ip().to_string()))
        .with("name", name.get().cloned())
        .with("data", Some(DATA_FOLDER.to_owned()))
        .with("ca", Some(CA_FILE.to_owned()))
        .with("cert", Some(CERTIFICATE_FILE.to_owned()))
        .with("key", Some(KEY_FILE.to_owned()));
    exec::with_common(cx, words)
}

/// What is said of servers that are none of the user's programs.
fn has_nothing_of_an_app(cx: &mut Cx<'_>, spec: &ServerSpec) {
    let of = |field: Option<Span>, name: &'static str| field.map(|span| (span, name));
    let fields = [
        of(spec.app.as_ref().map(|f| f.span), "app"),
        of(spec.protocols.as_ref().map(|f| f.span), "protocols"),
        of(
            spec.response_delay.as_ref().map(|f| f.span),
            "response_delay",
        ),
        of(spec.backlog.as_ref().map(|f| f.span), "backlog"),
        of(spec.accepts.as_ref().map(|f| f.span), "accepts"),
        of(spec.keepalive.as_ref().map(|f| f.span), "keepalive"),
        of(spec.user_timeout.as_ref().map(|f| f.span), "user_timeout"),
        of(spec.idle_timeout.as_ref().map(|f| f.span), "idle_timeout"),
        of(spec.ping.as_ref().map(|f| f.span), "ping"),
    ];
    for (span, field) in fields.into_iter().flatten() {
        let message = format!("a program does what it does, so it has no `{field}`");
        let help = "leave it out; what the program can be told stands in `exec`";
        cx.push(Problem::new(span, message).help(help));
    }
}

fn ready(cx: &mut Cx<'_>, spec: Option<&ReadySpec>, words: &Words) -> Option<(Ready, Duration)> {
    let Some(spec) = spec else {
        return Some((Ready::Listens, WITHIN));
    };
    let within = given(&spec.within).map_or(WITHIN, |time| time.0);
    if let Some((span, _)) = placed(&spec.within).filter(|(_, time)| time.0.is_zero()) {
        let message = "`within` must be greater than zero";
        cx.push(Problem::new(span, message).help("write e.g. `within: 60s`"));
    }
    if let (Some(_), Some((span, _))) = (&spec.line, placed(&spec.command)) {
        let message = "a program is ready by a line or by a command, not by both";
        cx.push(Problem::new(span, message).help("leave one of them out"));
    }
    let ready = match (placed(&spec.line), &spec.command) {
        (Some((span, line)), _) => {
            regular_expression(cx, span, line, "line: \"ready to accept\"");
            Ready::Line(line.clone())
        }
        (None, Some(field)) => {
            let example = "[redis-cli, -p, \"{port}\", ping]";
            Ready::Command(command(cx, field, example, words)?)
        }
        (None, None) => Ready::Listens,
    };
    Some((ready, within))
}
