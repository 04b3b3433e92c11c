//! Programs as clients: their commands with the placeholders filled in.

use crate::contract::CA_FILE;
use crate::plan::{Program, Target};
use crate::scenario::cx::Cx;
use crate::scenario::model::{ClientSpec, ExecSpec, Spanned, WorkloadSpec};
use crate::yaml::{Problem, Span, given, suggest};

/// What can stand between braces.
const PLACEHOLDERS: [&str; 4] = ["url", "host", "address", "ca"];

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Takes a text apart. A placeholder is a lower-case word between braces; between double braces it stands for itself
/// in single ones, and all other braces are as they are.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(found) = text[at..].find('{') {
        let open = at + found;
        let doubled = text[open..].starts_with("{{");
        let word_at = open + if doubled { 2 } else { 1 };
        let word = &text[word_at..];
        let word = &word[..word
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(word.len())];
        let (end, close) = (word_at + word.len(), if doubled { "}}" } else { "}" });
        if word.is_empty() || !text[end..].starts_with(close) {
            at = open + 1;
            continue;
        }
        pieces.push(Piece::Text(&text[begin..open]));
        at = end + close.len();
        begin = at;
        // Of `{{word}}` the inner braces stay.
        pieces.push(if doubled {
            Piece::Text(&text[open + 1..at - 1])
        } else {
            Piece::Placeholder(word)
        });
    }
    pieces.push(Piece::Text(&text[begin..]));
    pieces
}

fn fill(text: &str, url: &str, target: &Target) -> Option<String> {
    let filled = pieces(text).into_iter().map(|piece| match piece {
        Piece::Text(text) => Some(text.to_owned()),
        Piece::Placeholder("url") => Some(url.to_owned()),
        Piece::Placeholder("host") => Some(target.host.clone()),
        Piece::Placeholder("address") => Some(target.address.to_string()),
        Piece::Placeholder("ca") => Some(CA_FILE.to_owned()),
        Piece::Placeholder(_) => None,
    });
    filled.collect()
}

/// The program a client is, if it is one.
pub(crate) fn of(spec: &ClientSpec) -> Option<&ExecSpec> {
    let mut works = spec.works().filter_map(Spanned::get);
    works.find_map(|work| match work {
        WorkloadSpec::Exec(exec) => Some(exec),
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
    let url = client.url.get().map(String::as_str);
    let asked = url.zip(target);
    let command = command(cx, &spec.command, asked);
    let mut env = Vec::new();
    for (name, value) in given(&spec.env).into_iter().flat_map(|env| &env.0) {
        let wrong = |name: &String| name.is_empty() || name.contains(['=', '\0']);
        if name.get().is_some_and(wrong) {
            let message = "no environment variable can be called so";
            cx.push(Problem::new(name.span, message));
        }
        let value = text(cx, value, asked);
        env.push(name.get().cloned().zip(value));
    }
    Some(Program {
        command: command?,
        url: url?.to_owned(),
        env: env.into_iter().collect::<Option<_>>()?,
        every: given(&spec.every).map(|every| every.0),
        location: cx.locate(spec.command.span),
    })
}

fn command(
    cx: &mut Cx<'_>,
    field: &Spanned<Vec<Spanned<String>>>,
    asked: Option<(&str, &Target)>,
) -> Option<Vec<String>> {
    let words = field.get()?;
    let first = words.first().map(Spanned::get);
    if first.is_none_or(|word| word.is_some_and(|word| word.trim().is_empty())) {
        let problem = Problem::new(field.span, "this command names no program");
        cx.push(problem.help("write e.g. `command: [curl, -sS, \"{url}\"]`"));
    }
    let words: Vec<_> = words.iter().map(|word| text(cx, word, asked)).collect();
    words.into_iter().collect()
}

/// A text with its placeholders filled in from the URL and the target it asks.
fn text(cx: &mut Cx<'_>, text: &Spanned<String>, asked: Option<(&str, &Target)>) -> Option<String> {
    let word = text.get()?;
    if word.contains('\0') {
        let message = "no program can be given a NUL character";
        cx.push(Problem::new(text.span, message));
    }
    for piece in pieces(word) {
        if let Piece::Placeholder(name) = piece
            && !PLACEHOLDERS.contains(&name)
        {
            let near = suggest(name, PLACEHOLDERS.iter().copied());
            let near = near.as_deref().and_then(|help| help.split_once('?'));
            let near = near.map_or(String::new(), |(near, _)| format!("{near}? "));
            let message = format!("there is no placeholder `{{{name}}}`");
            cx.push(Problem::new(text.span, message).help(format!(
                "{near}placeholders are `{{url}}`, `{{host}}`, `{{address}}` and `{{ca}}`; for the text itself write \
                 `{{{{{name}}}}}`"
            )));
        }
    }
    let (url, target) = asked?;
    fill(word, url, target)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Option<String> {
        let target = Target {
            host: "web".to_owned(),
            address: "[fd00::1]:443".parse().expect("an address"),
            path: "/x".to_owned(),
            tls: true,
            servers: Vec::new(),
            service: None,
        };
        fill(text, "https://web/x", &target)
    }

    #[test]
    fn placeholders_are_filled_in_and_other_braces_stay() {
        assert_eq!(
            filled("-o{url}?a={host}").as_deref(),
            Some("-ohttps://web/x?a=web")
        );
        assert_eq!(
            filled("{address} {ca}").as_deref(),
            Some("[fd00::1]:443 /run/halfopen/ca.pem")
        );
        for text in [
            "",
            "{",
            "}",
            "{}",
            "${HOME}",
            "{\"a\": {\"b\": 1}}",
            "{ url }",
            "a{b",
            "{{}}",
        ] {
            assert_eq!(filled(text).as_deref(), Some(text));
        }
        assert_eq!(filled("%{{http_code}}").as_deref(), Some("%{http_code}"));
        assert_eq!(
            filled("{{url}}{url}").as_deref(),
            Some("{url}https://web/x")
        );
        assert_eq!(filled("%{http_code}"), None);
    }

    proptest! {
        #[test]
        fn text_without_braces_is_as_it_was(text in "[^{]*") {
            prop_assert_eq!(filled(&text), Some(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}a-z_é ]*") {
            filled(&text);
        }
    }
}
