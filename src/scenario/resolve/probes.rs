//! What is looked at besides what verdicts need: whose packets, and how much of them.

use super::counters;
use crate::plan::probes::PACKET_LIMIT;
use crate::plan::{Client, CounterExpectation, Expectation, Probes};
use crate::scenario::cx::{Cx, Kind};
use crate::scenario::model::{OffOr, Size, Spanned, Switch};
use crate::yaml::{Problem, Span, given, placed};

/// Bytes of packets that may be asked for of one link, and the least that make sense: a few hundred packets.
const LIMITS: (u64, u64) = (16 << 10, 64 << 20);

/// The probes of a scenario. Packets are kept where records are.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    clients: &[Client],
    expected: &[CounterExpectation],
    expectations: &[(Span, Expectation)],
) -> Probes {
    let spec = given(&cx.scenario.probes).cloned().unwrap_or_default();
    let on = |switch: &Option<Spanned<Switch>>| given(switch) != Some(&Switch::Off);
    let mut packets = match given(&spec.packets) {
        None => clients.iter().map(|c| c.node.clone()).collect(),
        Some(OffOr::Off) => Vec::new(),
        Some(OffOr::On(names)) => links(cx, names),
    };
    let mut seen = std::collections::HashSet::new();
    packets.retain(|link: &String| seen.insert(link.clone()));
    Probes {
        sockets: on(&spec.sockets),
        counters: on(&spec.counters),
        named_counters: counters::named(expected),
        rules: on(&spec.rules),
        servers: servers(cx, expectations, &spec.sockets),
        packets,
        packet_limit: packet_limit(cx, &spec.packet_limit),
    }
}

/// The servers of whose connections something is expected: their sockets and links say it.
fn servers(
    cx: &mut Cx<'_>,
    expectations: &[(Span, Expectation)],
    sockets: &Option<Spanned<Switch>>,
) -> Vec<String> {
    let of_servers = expectations.iter().filter(|(_, e)| e.server.is_some());
    let mut servers: Vec<String> = Vec::new();
    for (span, expectation) in of_servers {
        let new = |server: &&String| !servers.contains(server);
        let Some(server) = expectation.server.as_ref().filter(new) else {
            continue;
        };
        servers.push(server.clone());
        if let Some((off, Switch::Off)) = placed(sockets) {
            let problem = Problem::new(*span, "sockets would say it, and nobody looks at them");
            cx.push(
                problem
                    .also(off, "switched off here")
                    .help("leave `sockets: off` out"),
            );
        }
    }
    servers
}

fn packet_limit(cx: &mut Cx<'_>, field: &Option<Spanned<Size>>) -> u64 {
    let Some((span, Size(limit))) = placed(field) else {
        return PACKET_LIMIT;
    };
    if *limit < LIMITS.0 || *limit > LIMITS.1 {
        let message = "too few or too many packets would be kept";
        let help =
            "a link's packets may take from `16KiB` to `64MiB`; write `packets: off` for none";
        cx.push(Problem::new(span, message).help(help));
    }
    *limit
}

/// The nodes and pods whose links carry what nodes, servers and clients send.
fn links(cx: &mut Cx<'_>, names: &[Spanned<String>]) -> Vec<String> {
    let mut links = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let link = link(cx, name);
        links.extend(cx.account("a link", name.span, link));
        let mut before = names[..number].iter();
        if let (Some(word), Some(first)) = (name.get(), before.find(|n| n.get() == name.get())) {
            let problem = Problem::new(name.span, format!("`{word}` is here twice"));
            cx.push(problem.also(first.span, "first here"));
        }
    }
    links
}

fn link(cx: &mut Cx<'_>, name: &Spanned<String>) -> Option<String> {
    let word = name.get()?;
    // Where one of the mappings could not be read, nothing is known against a name.
    let known = cx.words(&[Kind::Node, Kind::Server, Kind::Client])?;
    if known.contains(&word.as_str()) {
        return cx.topology.namespace(word).map(str::to_owned);
    }
    let services = cx.words(&[Kind::Service]).unwrap_or_default();
    let problem = match services.contains(&word.as_str()) {
        true => {
            let message = format!("`{word}` is a service, which is rules and has no link");
            let help = "name a node, or one of its servers or clients";
            Problem::new(name.span, message).help(help)
        }
        false => {
            let message = format!("no node, server or client named `{word}`");
            Problem::new(name.span, message).suggest(word, known)
        }
    };
    cx.push(problem);
    None
}
