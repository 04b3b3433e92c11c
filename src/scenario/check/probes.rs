//! Probes: whose packets, and how much of them.

use super::{Checker, Kind, suggest};
use crate::scenario::diagnostic::Problem;
use crate::scenario::model::{OffOr, Spanned};
use crate::scenario::value::given;

/// Bytes of packets that may be asked for of one link, and the least that make sense: a few hundred packets.
const LIMITS: (u64, u64) = (16 << 10, 64 << 20);

impl Checker<'_> {
    pub(super) fn probes(&mut self) {
        let Some(probes) = given(&self.scenario.probes) else {
            return;
        };
        if let Some(OffOr::On(links)) = given(&probes.packets) {
            self.links(links);
        }
        if let Some(limit) = &probes.packet_limit
            && limit
                .get()
                .is_some_and(|size| size.0 < LIMITS.0 || size.0 > LIMITS.1)
        {
            self.push(
                Problem::new(limit.span, "too few or too many packets would be kept").help(
                    "a link's packets may take from `16KiB` to `64MiB`; write `packets: off` for none",
                ),
            );
        }
    }

    fn links(&mut self, links: &[Spanned<String>]) {
        let mut seen: Vec<&Spanned<String>> = Vec::new();
        for link in links {
            let Some(word) = link.get() else {
                continue;
            };
            self.has_a_link(link, word);
            if let Some(first) = seen.iter().find(|s| s.get() == Some(word)) {
                let problem = Problem::new(link.span, format!("`{word}` is here twice"));
                self.push(problem.also(first.span, "first here"));
            }
            seen.push(link);
        }
    }

    /// Reports `name` unless it is a node, a server or a client.
    fn has_a_link(&mut self, name: &Spanned<String>, word: &str) {
        let kinds = [Kind::Node, Kind::Server, Kind::Client];
        let mut known: Vec<&str> = Vec::new();
        for kind in kinds {
            // Where one of the lists could not be read, nothing is known against a name.
            let Some(names) = self.names_of_kind(kind) else {
                return;
            };
            known.extend(names.iter().filter_map(|n| n.get()).map(String::as_str));
        }
        if known.contains(&word) {
            return;
        }
        let services = self.names_of_kind(Kind::Service).unwrap_or_default();
        let is_service = services.iter().any(|n| n.get().is_some_and(|n| n == word));
        let mut problem = match is_service {
            true => Problem::new(
                name.span,
                format!("`{word}` is a service, which is rules and has no link"),
            ),
            false => Problem::new(
                name.span,
                format!("no node, server or client named `{word}`"),
            ),
        };
        problem.help = match is_service {
            true => Some("name a node, or one of its servers or clients".to_owned()),
            false => suggest(word, known.iter().copied()),
        };
        self.push(problem);
    }
}
