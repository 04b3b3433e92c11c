//! Which packets a fault strikes. All faults on a path select them with the same fields.

use super::context::{Context, just_one, span_of};
use crate::plan::{Direction, End, Path, Where};
use crate::yaml::diagnostic::{Problem, suggest};
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// Declares a struct with the fields of a path, and after them fields of its own.
macro_rules! on_a_path {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// What passes the uplink of this node.
            pub node: Option<$crate::yaml::value::Spanned<String>>,
            /// What passes the link of this server's pod.
            pub server: Option<$crate::yaml::value::Spanned<String>>,
            /// What passes the link of this client's pod.
            pub client: Option<$crate::yaml::value::Spanned<String>>,
            /// Only what passes between two nodes, servers or clients. A node stands for itself and all its pods; a
            /// server or a client for its pod, or with `host_network` for the node without its pods.
            pub between: Option<$crate::yaml::value::Spanned<Vec<$crate::yaml::value::Spanned<String>>>>,
            /// Which way (default both): `in` towards what is named, `out` away from it; with `between`, `out` is from
            /// the first to the second.
            pub direction: Option<$crate::yaml::value::Spanned<$crate::plan::Direction>>,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            /// Its path.
            fn path(&self) -> $crate::fault::path::PathSpec<'_> {
                $crate::fault::path::PathSpec {
                    link: $crate::fault::path::LinkSpec {
                        node: self.node.as_ref(),
                        server: self.server.as_ref(),
                        client: self.client.as_ref(),
                    },
                    between: self.between.as_ref(),
                    direction: self.direction.as_ref(),
                }
            }
        }
    };
}
pub(super) use on_a_path;

/// The words that name one link.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkSpec<'a> {
    /// That of a node to the network.
    pub(super) node: Option<&'a Spanned<String>>,
    /// That of a server's pod.
    pub(super) server: Option<&'a Spanned<String>>,
    /// That of a client's pod.
    pub(super) client: Option<&'a Spanned<String>>,
}

/// The words that say which packets a fault strikes.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathSpec<'a> {
    /// Those that pass one link.
    pub(super) link: LinkSpec<'a>,
    /// Those between two places.
    pub(super) between: Option<&'a Spanned<Vec<Spanned<String>>>>,
    /// Which way.
    pub(super) direction: Option<&'a Spanned<Direction>>,
}

impl LinkSpec<'_> {
    /// What is behind the link, and where its name stands.
    pub(super) fn resolve(self, span: Span, cx: &mut dyn Context) -> Option<(End, Span)> {
        just_one(&self.words(), span, cx)?;
        self.named(cx)
    }

    fn words(self) -> [(&'static str, Option<Span>); 3] {
        [
            ("node", span_of(self.node)),
            ("server", span_of(self.server)),
            ("client", span_of(self.client)),
        ]
    }

    /// What is named, of a path that names just one thing.
    fn named(self, cx: &mut dyn Context) -> Option<(End, Span)> {
        if let Some(name) = self.node {
            return Some((End::Machine(cx.node(name)?), name.span));
        }
        let (name, word) = match (self.server, self.client) {
            (Some(name), _) => (name, cx.server(name)?),
            (None, name) => (name?, cx.client(name?)?),
        };
        match cx.end(&word)? {
            // What runs on its node's own network has no link of its own.
            End::Host(node) => {
                let message =
                    format!("`{word}` runs on the network of its node, and has no link of its own");
                let help = format!("write `node: {node}`, or `between` for some of its packets");
                cx.push(Problem::new(name.span, message).help(help));
                None
            }
            end @ (End::Pod(_) | End::Machine(_)) => Some((end, name.span)),
        }
    }
}

impl PathSpec<'_> {
    /// The path, and where the name of its place stands.
    pub(super) fn resolve(self, span: Span, cx: &mut dyn Context) -> Option<(Path, Span)> {
        let mut words = self.link.words().to_vec();
        words.push(("between", span_of(self.between)));
        just_one(&words, span, cx)?;
        let (place, span) = match self.between {
            Some(pair) => (pair_of(pair, cx)?, pair.span),
            None => {
                let (end, span) = self.link.named(cx)?;
                (Where::At(end), span)
            }
        };
        let direction = match self.direction {
            None => Direction::Both,
            Some(direction) => *direction.get()?,
        };
        Some((Path { place, direction }, span))
    }
}

fn pair_of(pair: &Spanned<Vec<Spanned<String>>>, cx: &mut dyn Context) -> Option<Where> {
    let names = pair.get()?;
    let [first, second] = &names[..] else {
        let message = format!("a path has two ends, found {}", names.len());
        cx.push(Problem::new(pair.span, message).help("write e.g. `between: [node1, node2]`"));
        return None;
    };
    let (one, other) = (end_of(first, cx), end_of(second, cx));
    let (one, other) = (one?, other?);
    if one == other {
        let problem = Problem::new(second.span, "both ends are the same place");
        cx.push(problem.also(first.span, "the other end"));
        return None;
    }
    let pods = matches!((&one, &other), (End::Pod(_), End::Pod(_)));
    if cx.machine(&one) == cx.machine(&other) && !pods {
        let problem = Problem::new(
            pair.span,
            "no network lies between these: both are on one node",
        );
        cx.push(problem.help("name two nodes, or two servers or clients in pods"));
        return None;
    }
    Some(Where::Between(one, other))
}

/// What a name stands for at the end of a path.
fn end_of(name: &Spanned<String>, cx: &mut dyn Context) -> Option<End> {
    let word = name.get()?;
    if let Some(end) = cx.end(word) {
        return Some(end);
    }
    let known = cx.ends()?;
    // It exists, but what it says of itself is wrong, which is reported there.
    if known.contains(&word.as_str()) {
        return None;
    }
    let message = format!("no node, server or client named `{word}`");
    let mut problem = Problem::new(name.span, message);
    problem.help = suggest(word, known);
    cx.push(problem);
    None
}
