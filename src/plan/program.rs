//! Programs as clients: their commands with the placeholders filled in.

use crate::scenario::model::{ExecSpec, Named, Spanned};
use crate::scenario::{Problem, Span, given, suggest};

use super::{Location, Program, Target};

/// Where a program finds the file with the certificate authority, in the mount namespace it is given.
pub(crate) const CA_FILE: &str = "/run/halfopen/ca.pem";

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

/// A program that asks `target`; `None` only where the check found something wrong with it.
pub(super) fn resolve(
    spec: &ExecSpec,
    url: &str,
    target: &Target,
    locate: &dyn Fn(Span) -> Location,
) -> Option<Program> {
    let command = spec
        .command
        .get()?
        .iter()
        .map(|word| fill(word.get()?, url, target));
    let env = given(&spec.env).into_iter().flat_map(Named::iter);
    let env = env.map(|(_, name, value)| Some((name.to_owned(), fill(value, url, target)?)));
    Some(Program {
        command: command.collect::<Option<_>>()?,
        url: url.to_owned(),
        env: env.collect::<Option<_>>()?,
        every: given(&spec.every).map(|every| every.0),
        location: locate(spec.command.span),
    })
}

/// What is wrong with a program by itself.
pub(crate) fn check(spec: &ExecSpec, problems: &mut Vec<Problem>) {
    let words = spec.command.get().map(Vec::as_slice).unwrap_or_default();
    let first = words.first().map(Spanned::get);
    if spec.command.get().is_some()
        && first.is_none_or(|word| word.is_some_and(|word| word.trim().is_empty()))
    {
        let problem = Problem::new(spec.command.span, "this command names no program");
        problems.push(problem.help("write e.g. `command: [curl, -sS, \"{url}\"]`"));
    }
    for word in words {
        check_text(word, problems);
    }
    for (name, value) in given(&spec.env).into_iter().flat_map(|env| &env.0) {
        if name
            .get()
            .is_some_and(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            problems.push(Problem::new(
                name.span,
                "no environment variable can be called so",
            ));
        }
        check_text(value, problems);
    }
}

fn check_text(text: &Spanned<String>, problems: &mut Vec<Problem>) {
    let Some(word) = text.get() else { return };
    if word.contains('\0') {
        problems.push(Problem::new(
            text.span,
            "no program can be given a NUL character",
        ));
    }
    for piece in pieces(word) {
        if let Piece::Placeholder(name) = piece
            && !PLACEHOLDERS.contains(&name)
        {
            let near = suggest(name, PLACEHOLDERS.iter().copied())
                .filter(|help| help.starts_with("did you"));
            let near = near.map(|help| format!("{help} ")).unwrap_or_default();
            problems.push(Problem::new(text.span, format!("there is no placeholder `{{{name}}}`")).help(format!(
                "{near}Placeholders are `{{url}}`, `{{host}}`, `{{address}}` and `{{ca}}`; for the text itself write \
                 `{{{{{name}}}}}`"
            )));
        }
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
