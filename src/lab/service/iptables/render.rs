//! Services' rules, of the shape that kube-proxy writes, and as iptables-save shows them afterwards.

use std::net::SocketAddr;

use crate::lab::service::state::ServiceState;
use crate::linux::iptables::{Chain, Change, Family, Match, Rule, SourceList, Table, Target};
use crate::plan::Service;

/// kube-proxy's mark for connections to be masqueraded.
const MASQUERADE_MARK: u32 = 0x4000;

/// A service's chains.
struct Chains(String);

impl Chains {
    fn of(state: &ServiceState) -> Self {
        Self(chain_part(state.number, &state.service.name))
    }

    fn sep(&self, number: usize) -> String {
        format!("KUBE-SEP-{}-{number}", self.0)
    }

    fn svc(&self) -> String {
        format!("KUBE-SVC-{}", self.0)
    }
}

/// Connections to a service.
fn matches(service: &Service) -> Vec<Match> {
    let address = service.address;
    vec![
        Match::Destination(address.ip(), host(address)),
        Match::Tcp {
            port: Some(address.port()),
            syn: false,
        },
    ]
}

/// A service's part of its chains' names. kube-proxy hashes names; a short plain name can be read in the rules as it is.
/// Chain names end at 28 characters, and no two services may share one: whatever is shortened gets its number, after a
/// dot, which plain names do not have.
fn chain_part(number: usize, name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() <= 12 && name.chars().all(plain) {
        return name.to_ascii_uppercase();
    }
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let start: String = letters.take(8).collect();
    format!("{}.{number}", start.to_ascii_uppercase())
}

/// The prefix that is one address.
fn host(address: SocketAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn own(chain: &str) -> Chain {
    Chain::Own(chain.to_owned())
}

fn jump(chain: &str) -> Target {
    Target::Jump(chain.to_owned())
}

fn last(chain: &str, matches: Vec<Match>, target: Target) -> Rule {
    Rule::last(own(chain), matches, target)
}

/// Whether rules are loaded into empty tables, or take the place of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Whole,
    Update,
}

/// What brings the tables of one node to what `services` are to be.
pub(super) fn render(services: &[&ServiceState], load: Scope) -> [Change; 2] {
    [nat(services, load), filter(services, load)]
}

fn nat(services: &[&ServiceState], load: Scope) -> Change {
    let mut change = Change::more(Table::Nat, vec!["KUBE-SERVICES".to_owned()], Vec::new());
    if load == Scope::Whole {
        change.chains.push("KUBE-MARK-MASQ".to_owned());
        change.chains.push("KUBE-POSTROUTING".to_owned());
        change.rules.extend([
            Rule::first(Chain::Prerouting, Vec::new(), jump("KUBE-SERVICES")),
            Rule::first(Chain::Output, Vec::new(), jump("KUBE-SERVICES")),
            Rule::first(Chain::Postrouting, Vec::new(), jump("KUBE-POSTROUTING")),
            last(
                "KUBE-MARK-MASQ",
                Vec::new(),
                Target::SetMark(MASQUERADE_MARK),
            ),
            last(
                "KUBE-POSTROUTING",
                vec![Match::NotMarked(MASQUERADE_MARK)],
                Target::Return,
            ),
            last(
                "KUBE-POSTROUTING",
                Vec::new(),
                Target::TurnMark(MASQUERADE_MARK),
            ),
            last(
                "KUBE-POSTROUTING",
                Vec::new(),
                Target::Masquerade { random: true },
            ),
        ]);
    }
    for state in services {
        service(&mut change, state, load);
    }
    change
}

fn service(change: &mut Change, state: &ServiceState, load: Scope) {
    let chains = Chains::of(state);
    let svc = chains.svc();
    let chosen = state.chosen();
    change.chains.push(svc.clone());
    if !chosen.is_empty() {
        let rule = last("KUBE-SERVICES", matches(&state.service), jump(&svc));
        change.rules.push(rule);
    }
    if let Some(seconds) = state.affinity_seconds() {
        for (number, _) in &chosen {
            let sep = chains.sep(*number);
            let seen = Match::Recent(list(&sep, state), seconds);
            change.rules.push(last(&svc, vec![seen], jump(&sep)));
        }
    }
    for (position, (number, _)) in chosen.iter().enumerate() {
        let dice = match chosen.len() - position {
            1 => Vec::new(),
            left => vec![Match::Chance(one_in(left))],
        };
        let rule = last(&svc, dice, jump(&chains.sep(*number)));
        change.rules.push(rule);
    }
    for (number, endpoint) in (1..).zip(&state.service.endpoints) {
        let sep = chains.sep(number);
        if state.removed.contains(&endpoint.server) {
            change.chains.push(sep.clone());
            change.gone.push(sep);
        } else if load == Scope::Whole || state.returning.contains(&endpoint.server) {
            change.chains.push(sep.clone());
            let address = endpoint.address;
            let hairpin = vec![Match::Source(address.ip(), host(address))];
            let mut any = vec![Match::Tcp {
                port: None,
                syn: false,
            }];
            if state.service.affinity.is_some() {
                any.push(Match::Remember(list(&sep, state)));
            }
            change.rules.extend([
                last(&sep, hairpin, jump("KUBE-MARK-MASQ")),
                last(&sep, any, Target::Dnat(address)),
            ]);
        }
    }
}

/// The clients that an endpoint had last: a list of its chain's name.
fn list(sep: &str, state: &ServiceState) -> SourceList {
    SourceList {
        name: sep.to_owned(),
        family: Family::of(state.service.address.ip()),
    }
}

/// One chance in so many (at least two), in 2^31sts.
fn one_in(many: usize) -> u32 {
    let many = u64::try_from(many).unwrap_or(u64::MAX);
    let share = ((1 << 31) + many / 2) / many;
    u32::try_from(share).unwrap_or(u32::MAX)
}

/// Services without endpoints answer with "port unreachable", for pods (FORWARD) and for the node itself (OUTPUT).
fn filter(services: &[&ServiceState], load: Scope) -> Change {
    let mut rules = Vec::new();
    if load == Scope::Whole {
        for chain in [Chain::Forward, Chain::Output] {
            rules.push(Rule::first(chain, vec![Match::New], jump("KUBE-SERVICES")));
        }
    }
    for state in services.iter().filter(|state| state.chosen().is_empty()) {
        let rule = last("KUBE-SERVICES", matches(&state.service), Target::Reject);
        rules.push(rule);
    }
    Change::more(Table::Filter, vec!["KUBE-SERVICES".to_owned()], rules)
}

/// The rules of the services' chains as iptables-save shows them when those of [`render`] are loaded.
pub(super) fn saved(services: &[&ServiceState]) -> Vec<String> {
    let mut lines = Vec::new();
    for change in render(services, Scope::Whole) {
        lines.push(format!("*{}", change.table.name()));
        lines.extend(change.rules.iter().map(Rule::to_string));
    }
    let lines = services_only(lines.iter().map(String::as_str));
    lines.into_iter().map(str::to_owned).collect()
}

/// Of what iptables-save writes: the tables, and in each the rules of the services' chains, chain by chain. Chains come in
/// another order from one version to the next.
pub(super) fn services_only<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        if line.starts_with('*') {
            tables.push((line, Vec::new()));
        } else if let (Some((_, rules)), Some(_)) = (tables.last_mut(), chain_of(line)) {
            rules.push(line);
        }
    }
    tables.retain(|(_, rules)| !rules.is_empty());
    tables.sort_by_key(|(table, _)| *table);
    for (_, rules) in &mut tables {
        rules.sort_by_key(|rule| chain_of(rule));
    }
    tables
        .into_iter()
        .flat_map(|(table, rules)| std::iter::once(table).chain(rules))
        .collect()
}

/// The service's chain that a line adds a rule to.
fn chain_of(line: &str) -> Option<&str> {
    let chain = line.strip_prefix("-A ")?.split(' ').next()?;
    let service = ["KUBE-SVC-", "KUBE-SEP-"];
    let is_service = chain == "KUBE-SERVICES" || service.iter().any(|s| chain.starts_with(s));
    is_service.then_some(chain)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Endpoint, Proxy};

    /// As the input of iptables-restore.
    fn text(changes: &[Change]) -> String {
        let mut lines = Vec::new();
        for change in changes {
            lines.push(format!("*{}", change.table.name()));
            lines.extend(
                change
                    .chains
                    .iter()
                    .map(|chain| format!(":{chain} - [0:0]")),
            );
            lines.extend(change.rules.iter().map(Rule::to_string));
            lines.extend(change.gone.iter().map(|chain| format!("-X {chain}")));
            lines.push("COMMIT".to_owned());
        }
        lines.join("\n")
    }

    fn service(name: &str, address: &str, endpoints: &[(&str, &str)]) -> ServiceState {
        let endpoints = endpoints.iter().map(|(server, address)| Endpoint {
            server: (*server).to_owned(),
            address: address.parse().unwrap(),
        });
        ServiceState::new(
            1,
            &Service {
                name: name.to_owned(),
                address: address.parse().unwrap(),
                proxy: Proxy::Iptables,
                endpoints: endpoints.collect(),
                pin_first: None,
                affinity: None,
                removal: None,
                readiness: None,
            },
        )
    }

    fn three() -> ServiceState {
        let endpoints = [
            ("aa-1", "192.168.2.2:6443"),
            ("aa-2", "192.168.1.2:6443"),
            ("aa-3", "10.0.0.1:6443"),
        ];
        service("aa", "192.168.255.220:443", &endpoints)
    }

    #[test]
    fn the_rules_have_kube_proxy_s_shape() {
        assert_snapshot!(text(&render(&[&three()], Scope::Whole)), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-MARK-MASQ - [0:0]
        :KUBE-POSTROUTING - [0:0]
        :KUBE-SVC-AA - [0:0]
        :KUBE-SEP-AA-1 - [0:0]
        :KUBE-SEP-AA-2 - [0:0]
        :KUBE-SEP-AA-3 - [0:0]
        -I PREROUTING -j KUBE-SERVICES
        -I OUTPUT -j KUBE-SERVICES
        -I POSTROUTING -j KUBE-POSTROUTING
        -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
        -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
        -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
        -A KUBE-POSTROUTING -j MASQUERADE --random-fully
        -A KUBE-SERVICES -d 192.168.255.220/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AA
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-AA-1
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-AA-2
        -A KUBE-SVC-AA -j KUBE-SEP-AA-3
        -A KUBE-SEP-AA-1 -s 192.168.2.2/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AA-1 -p tcp -m tcp -j DNAT --to-destination 192.168.2.2:6443
        -A KUBE-SEP-AA-2 -s 192.168.1.2/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AA-2 -p tcp -m tcp -j DNAT --to-destination 192.168.1.2:6443
        -A KUBE-SEP-AA-3 -s 10.0.0.1/32 -j KUBE-MARK-MASQ
        -A KUBE-SEP-AA-3 -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:6443
        COMMIT
        *filter
        :KUBE-SERVICES - [0:0]
        -I FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
        -I OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
        COMMIT
        ");
    }

    #[test]
    fn pinned_rules_name_one_endpoint_and_unpinned_ones_all() {
        let mut state = three();
        state.pinned = Some("aa-2".to_owned());
        assert_snapshot!(text(&render(&[&state], Scope::Update)), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-AA - [0:0]
        -A KUBE-SERVICES -d 192.168.255.220/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AA
        -A KUBE-SVC-AA -j KUBE-SEP-AA-2
        COMMIT
        *filter
        :KUBE-SERVICES - [0:0]
        COMMIT
        ");
        state.pinned = None;
        assert_snapshot!(text(&render(&[&state], Scope::Update)), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-AA - [0:0]
        -A KUBE-SERVICES -d 192.168.255.220/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AA
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP-AA-1
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-AA-2
        -A KUBE-SVC-AA -j KUBE-SEP-AA-3
        COMMIT
        *filter
        :KUBE-SERVICES - [0:0]
        COMMIT
        ");
    }

    #[test]
    fn a_removed_endpoint_loses_its_chain_and_the_last_one_leaves_a_reject() {
        let mut state = service(
            "aa",
            "[fd00:ff::220]:443",
            &[("aa-1", "[fd00:2::2]:6443"), ("aa-2", "[fd00:1::2]:6443")],
        );
        state.removed.push("aa-1".to_owned());
        assert_snapshot!(text(&render(&[&state], Scope::Update)), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-AA - [0:0]
        :KUBE-SEP-AA-1 - [0:0]
        -A KUBE-SERVICES -d fd00:ff::220/128 -p tcp -m tcp --dport 443 -j KUBE-SVC-AA
        -A KUBE-SVC-AA -j KUBE-SEP-AA-2
        -X KUBE-SEP-AA-1
        COMMIT
        *filter
        :KUBE-SERVICES - [0:0]
        COMMIT
        ");
        state.removed.push("aa-2".to_owned());
        assert_snapshot!(text(&render(&[&state], Scope::Update)), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-AA - [0:0]
        :KUBE-SEP-AA-1 - [0:0]
        :KUBE-SEP-AA-2 - [0:0]
        -X KUBE-SEP-AA-1
        -X KUBE-SEP-AA-2
        COMMIT
        *filter
        :KUBE-SERVICES - [0:0]
        -A KUBE-SERVICES -d fd00:ff::220/128 -p tcp -m tcp --dport 443 -j REJECT --reject-with icmp6-port-unreachable
        COMMIT
        ");
    }

    proptest! {
        #[test]
        fn chain_names_are_ones_iptables_takes(name in ".{0,40}", number in 1_usize..99) {
            let sep = format!("KUBE-SEP-{}-{number}", chain_part(number, &name));
            prop_assert!(sep.len() <= 28, "{sep}");
            prop_assert!(sep.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
        }

        #[test]
        fn the_dice_are_fair_by_construction(count in 1_usize..9) {
            let endpoints: Vec<_> = (0..count)
                .map(|n| (format!("s{n}"), format!("10.1.0.{}:80", n + 1)))
                .collect();
            let borrowed: Vec<_> = endpoints.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let text = text(&render(&[&service("x", "10.9.9.9:80", &borrowed)], Scope::Whole));
            let mut left = 1.0;
            for line in text.lines().filter(|l| l.starts_with("-A KUBE-SVC-X")) {
                let words: Vec<_> = line.split(' ').collect();
                let at = words.iter().position(|w| *w == "--probability");
                let share = left * at.map_or(1.0, |at| words[at + 1].parse().unwrap());
                left -= share;
                prop_assert!((share - 1.0 / count as f64).abs() < 1e-6, "{text}");
            }
            prop_assert!(left.abs() < 1e-6, "{text}");
        }
    }
}
