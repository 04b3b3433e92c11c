//! Commands and environments of programs: their texts, with what stands between braces filled in.

use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{Named, Spanned};
use crate::yaml::{Problem, given, suggest};

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Takes a text apart. A placeholder is a word between braces, of lower-case letters, digits, `_` and `-`, which begins with
/// a letter; between double braces it stands for itself in single ones, and all other braces are as they are.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(found) = text[at..].find('{') {
        let open = at + found;
        let doubled = text[open..].starts_with("{{");
        let word_at = open + if doubled { 2 } else { 1 };
        let word = &text[word_at..];
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        let word = &word[..word.find(|c| !inside(c)).unwrap_or(word.len())];
        let begins = word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let (end, close) = (word_at + word.len(), if doubled { "}}" } else { "}" });
        if !begins || !text[end..].starts_with(close) {
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

/// What can stand between braces, and what it stands for; nothing where that is not known, for which there is a problem already.
#[derive(Debug, Default)]
pub(super) struct Words {
    own: Vec<(&'static str, Option<String>)>,
    /// Every server's name, for its address.
    servers: Vec<(String, Option<String>)>,
}

impl Words {
    /// Those that every program knows: its servers.
    pub(super) fn of_servers(cx: &Cx<'_>) -> Self {
        let names = cx.words(&[Kind::Server]).unwrap_or_default();
        let address = |name: &str| {
            let server = cx.topology.server(name)?;
            Some(server.listen.first()?.ip().to_string())
        };
        let servers = names.into_iter();
        Self {
            own: Vec::new(),
            servers: servers
                .map(|name| (name.to_owned(), address(name)))
                .collect(),
        }
    }

    /// With one more, before which a server of that name gives way.
    pub(super) fn with(mut self, word: &'static str, value: Option<String>) -> Self {
        self.own.push((word, value));
        self
    }

    /// What a word stands for; `None` if it is none of these.
    fn find(&self, word: &str) -> Option<&Option<String>> {
        let own = self.own.iter().map(|(known, value)| (*known, value));
        let servers = self.servers.iter().map(|(name, at)| (name.as_str(), at));
        let mut all = own.chain(servers);
        all.find(|(known, _)| *known == word)
            .map(|(_, value)| value)
    }

    fn fill(&self, text: &str) -> Option<String> {
        let filled = pieces(text).into_iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.to_owned()),
            Piece::Placeholder(word) => self.find(word)?.clone(),
        });
        filled.collect()
    }

    /// All of them, as a sentence has them.
    fn listed(&self) -> String {
        let quoted = self.own.iter().map(|(word, _)| format!("`{{{word}}}`"));
        let quoted: Vec<_> = quoted.collect();
        format!("{}, and a server's name for its address", quoted.join(", "))
    }
}

/// A program and its arguments; `example` is one.
pub(super) fn command(
    cx: &mut Cx<'_>,
    field: &Spanned<Vec<Spanned<String>>>,
    example: &str,
    known: &Words,
) -> Option<Vec<String>> {
    let words = field.get()?;
    let first = words.first().map(Spanned::get);
    if first.is_none_or(|word| word.is_some_and(|word| word.trim().is_empty())) {
        let problem = Problem::new(field.span, "this command names no program");
        cx.push(problem.help(format!("write e.g. `command: {example}`")));
    }
    let words: Vec<_> = words.iter().map(|word| text(cx, word, known)).collect();
    words.into_iter().collect()
}

/// Texts by their names: environment variables, files.
pub(super) fn named_texts(
    cx: &mut Cx<'_>,
    field: &Option<Spanned<Named<String>>>,
    known: &Words,
) -> Option<Vec<(String, String)>> {
    let all = given(field).into_iter().flat_map(|named| &named.0);
    let all: Vec<_> = all
        .map(|(name, value)| name.get().cloned().zip(text(cx, value, known)))
        .collect();
    all.into_iter().collect()
}

/// Whether a text has this placeholder.
pub(super) fn names(text: &str, word: &str) -> bool {
    pieces(text).contains(&Piece::Placeholder(word))
}

/// A text with its placeholders filled in.
pub(super) fn text(cx: &mut Cx<'_>, text: &Spanned<String>, known: &Words) -> Option<String> {
    let word = text.get()?;
    if word.contains('\0') {
        let message = "no program can be given a NUL character";
        cx.push(Problem::new(text.span, message));
    }
    for piece in pieces(word) {
        if let Piece::Placeholder(name) = piece
            && known.find(name).is_none()
        {
            let servers = known.servers.iter().map(|(name, _)| name.as_str());
            let near = suggest(name, known.own.iter().map(|(word, _)| *word).chain(servers));
            let near = near.as_deref().and_then(|help| help.split_once('?'));
            let near = near.map_or(String::new(), |(near, _)| format!("{near}? "));
            let message = format!("there is no placeholder `{{{name}}}`");
            cx.push(Problem::new(text.span, message).help(format!(
                "{near}placeholders are {}; for the text itself write `{{{{{name}}}}}`",
                known.listed()
            )));
        }
    }
    known.fill(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words() -> Words {
        let some = |text: &str| Some(text.to_owned());
        Words {
            own: Vec::new(),
            servers: vec![
                ("db-2".to_owned(), some("10.1.2.3")),
                ("url".to_owned(), some("10.1.2.4")),
            ],
        }
        .with("url", some("https://web/x"))
        .with("host", some("web"))
        .with("address", some("[fd00::1]:443"))
        .with("ca", some("/run/halfopen/ca.pem"))
    }

    fn filled(text: &str) -> Option<String> {
        words().fill(text)
    }

    #[test]
    fn a_server_s_name_stands_for_its_address_unless_it_is_a_word() {
        assert_eq!(filled("{db-2}:{host}").as_deref(), Some("10.1.2.3:web"));
        assert_eq!(filled("{url}").as_deref(), Some("https://web/x"));
        assert_eq!(filled("{db-3}"), None);
        assert_eq!(
            words().listed(),
            "`{url}`, `{host}`, `{address}`, `{ca}`, and a server's name for its address"
        );
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
            "{2}",
            "[a-z]{2,3}",
            "{-o}",
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
