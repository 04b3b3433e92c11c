//! Expectations of counters: whose, of which names, and what a server's emulation has.

use super::{Checker, suggest};
use crate::plan::counters::place_of;
use crate::plan::{EMULATED, Place};
use crate::scenario::counters::{CounterSpec, CountersSpec};
use crate::scenario::diagnostic::{Problem, list};
use crate::scenario::model::{Bounds, Spanned, Switch};
use crate::scenario::value::given;

/// Groups of the kernel's counters that are read.
const GROUPS: [&str; 4] = ["Ip", "Icmp", "Tcp", "TcpExt"];
/// The group of conntrack's, which only nodes have.
const CONNTRACK: &str = "nf_conntrack";

impl Checker<'_> {
    pub(super) fn counters(&mut self) {
        let scenario = self.scenario;
        if let Some(all) = &scenario.expect_counters {
            self.expected_counters(all);
        }
        let conditional = given(&scenario.expect_when).into_iter().flatten();
        for entry in conditional.filter_map(Spanned::get) {
            if let Some(all) = &entry.expect_counters {
                self.expected_counters(all);
            }
        }
    }

    fn expected_counters(&mut self, all: &Spanned<CountersSpec>) {
        let Some(named) = all.get() else {
            return;
        };
        let probes = given(&self.scenario.probes);
        if let Some(off) = probes.and_then(|probes| probes.counters.as_ref())
            && off.get() == Some(&Switch::Off)
        {
            self.push(
                Problem::new(off.span, "counters are expected, and would not be read")
                    .help("leave `counters: off` out"),
            );
        }
        for (name, counters) in &named.0 {
            let Some(word) = name.get() else {
                continue;
            };
            let Some(place) = place_of(word, self.topology) else {
                self.nobody(name, word);
                continue;
            };
            for (counter, spec) in counters.get().into_iter().flat_map(|c| &c.0) {
                self.counter_name(counter, &place);
                match spec.get() {
                    Some(CounterSpec::SameAs(other)) => {
                        let other = Spanned {
                            span: spec.span,
                            value: Some(other.clone()),
                        };
                        self.counter_name(&other, &place);
                    }
                    Some(CounterSpec::Between(bounds)) => self.counter_bounds(spec, bounds),
                    _ => {}
                }
            }
        }
    }

    /// Names that could not be built are reported where they stand.
    fn nobody(&mut self, name: &Spanned<String>, word: &str) {
        let topology = self.topology;
        let nodes = topology.nodes.iter().map(|n| n.name.as_str());
        let servers = topology.servers.iter().map(|s| s.name.as_str());
        let clients = topology.clients.keys().map(String::as_str);
        let mut known: Vec<&str> = nodes.chain(servers).chain(clients).collect();
        known.sort_unstable();
        let mut problem = Problem::new(
            name.span,
            format!("no node, server or client named `{word}`"),
        );
        problem.help = suggest(word, known);
        self.push(problem);
    }

    fn counter_name(&mut self, name: &Spanned<String>, place: &str) {
        let Some(word) = name.get() else {
            return;
        };
        let Some((group, rest)) = word.split_once('.').filter(|(_, rest)| !rest.is_empty()) else {
            self.push(
                Problem::new(name.span, format!("`{word}` is no counter"))
                    .help("write its group before it, e.g. `TcpExt.ListenDrops`"),
            );
            return;
        };
        let is_node = self.topology.node(place).is_some();
        let problem = match group {
            EMULATED => self.emulated(name, rest, place),
            CONNTRACK if is_node => None,
            CONNTRACK => Some(
                Problem::new(name.span, "a pod has no connection tracking of its own")
                    .help("expect it of the node"),
            ),
            group if GROUPS.contains(&group) => None,
            group => {
                let known = GROUPS.into_iter().chain([CONNTRACK, EMULATED]);
                let mut problem = Problem::new(
                    name.span,
                    format!("`{group}` is no group of counters that is read"),
                );
                problem.help = suggest(group, known);
                Some(problem)
            }
        };
        self.problems.extend(problem);
    }

    /// What only an emulation counts.
    fn emulated(&self, name: &Spanned<String>, counter: &str, place: &str) -> Option<Problem> {
        let at = |p: &Place| matches!(p, Place::Node(n) | Place::Pod(n) if n == place);
        let servers = self.topology.servers.iter().filter(|s| at(&s.place));
        let counters: Vec<&str> = servers
            .filter_map(|server| server.emulate.as_ref())
            .flat_map(|emulated| emulated.what.counters())
            .copied()
            .collect();
        if counters.contains(&counter) {
            return None;
        }
        Some(match counters.is_empty() {
            true => Problem::new(name.span, format!("nothing is emulated at `{place}`"))
                .help("give the server `emulate: tw_recycle`"),
            false => Problem::new(name.span, format!("no emulation counts `{counter}`"))
                .help(format!("it counts {}", list(&counters))),
        })
    }

    fn counter_bounds(&mut self, spec: &Spanned<CounterSpec>, Bounds(bounds): &Bounds<u32>) {
        if !self.two(spec.span, bounds.len(), "[1, 3]") {
            return;
        }
        let numbers: Vec<u32> = bounds.iter().filter_map(|b| b.get().copied()).collect();
        if let [min, max] = numbers[..]
            && min > max
        {
            self.turned(spec.span, &format!("{max}, {min}"));
        }
    }
}
