//! Services' rules as text: for iptables-restore, and as iptables-save shows them afterwards.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::lab::service::state::ServiceState;
use crate::plan::Service;

/// kube-proxy's mark for connections to be masqueraded.
const MASQUERADE_MARK: &str = "0x4000";

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

/// `-d ADDRESS/LENGTH -p tcp -m tcp --dport PORT`.
fn matches(service: &Service) -> String {
    let address = service.address;
    format!(
        "-d {} -p tcp -m tcp --dport {}",
        host(address),
        address.port()
    )
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

fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("{}/32", address.ip()),
        SocketAddr::V6(address) => format!("{}/128", address.ip()),
    }
}

/// Whether rules are loaded into empty tables, or take the place of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Whole,
    Update,
}

/// The input of `iptables-restore --noflush` for `services` on one node. A chain that is declared is emptied first, all in one
/// transaction.
pub(super) fn render(services: &[&ServiceState], load: Scope) -> String {
    let mut text = String::new();
    render_nat(&mut text, services, load);
    render_filter(&mut text, services, load);
    text
}

fn render_nat(text: &mut String, services: &[&ServiceState], load: Scope) {
    let mut chains = vec!["KUBE-SERVICES".to_owned()];
    let mut rules = Vec::new();
    if load == Scope::Whole {
        chains.push("KUBE-MARK-MASQ".to_owned());
        chains.push("KUBE-POSTROUTING".to_owned());
        rules.extend([
            "-I PREROUTING -j KUBE-SERVICES".to_owned(),
            "-I OUTPUT -j KUBE-SERVICES".to_owned(),
            "-I POSTROUTING -j KUBE-POSTROUTING".to_owned(),
            format!("-A KUBE-MARK-MASQ -j MARK --or-mark {MASQUERADE_MARK}"),
            format!(
                "-A KUBE-POSTROUTING -m mark ! --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j RETURN"
            ),
            format!("-A KUBE-POSTROUTING -j MARK --xor-mark {MASQUERADE_MARK}"),
            "-A KUBE-POSTROUTING -j MASQUERADE --random-fully".to_owned(),
        ]);
    }
    for state in services {
        let chains_of = Chains::of(state);
        let svc = chains_of.svc();
        let chosen = state.chosen();
        chains.push(svc.clone());
        if !chosen.is_empty() {
            rules.push(format!(
                "-A KUBE-SERVICES {} -j {svc}",
                matches(&state.service)
            ));
        }
        for (position, (number, _)) in chosen.iter().enumerate() {
            let dice = match chosen.len() - position {
                1 => String::new(),
                left => format!(
                    " -m statistic --mode random --probability {:.10}",
                    1.0 / left as f64
                ),
            };
            rules.push(format!("-A {svc}{dice} -j {}", chains_of.sep(*number)));
        }
        for (number, endpoint) in (1..).zip(&state.service.endpoints) {
            let sep = chains_of.sep(number);
            if state.removed.contains(&endpoint.server) {
                chains.push(sep.clone());
                rules.push(format!("-X {sep}"));
            } else if load == Scope::Whole || state.returning.contains(&endpoint.server) {
                chains.push(sep.clone());
                let own = host(endpoint.address);
                rules.push(format!("-A {sep} -s {own} -j KUBE-MARK-MASQ"));
                let to = endpoint.address;
                rules.push(format!(
                    "-A {sep} -p tcp -m tcp -j DNAT --to-destination {to}"
                ));
            }
        }
    }
    table(text, "nat", &chains, &rules);
}

/// Services without endpoints answer with "port unreachable", for pods (FORWARD) and for the node itself (OUTPUT).
fn render_filter(text: &mut String, services: &[&ServiceState], load: Scope) {
    let mut rules = Vec::new();
    if load == Scope::Whole {
        for chain in ["FORWARD", "OUTPUT"] {
            rules.push(format!(
                "-I {chain} -m conntrack --ctstate NEW -j KUBE-SERVICES"
            ));
        }
    }
    for state in services.iter().filter(|state| state.chosen().is_empty()) {
        rules.push(format!(
            "-A KUBE-SERVICES {} -j REJECT",
            matches(&state.service)
        ));
    }
    table(text, "filter", &["KUBE-SERVICES".to_owned()], &rules);
}

/// The rules of the services' chains as iptables-save shows them when those of [`render`] are loaded.
pub(super) fn saved(services: &[&ServiceState]) -> Vec<String> {
    let ipv6 = services.iter().any(|s| s.service.address.is_ipv6());
    services_only(render(services, Scope::Whole).lines())
        .into_iter()
        .map(|rule| as_saved(rule, ipv6))
        .collect()
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

/// A rule as iptables-save writes it: with the probability the kernel has, in 2^31sts, and with what REJECT answers.
fn as_saved(rule: &str, ipv6: bool) -> String {
    const PROBABILITY: &str = "--probability ";
    if rule.ends_with("-j REJECT") {
        let answer = if ipv6 { "icmp6" } else { "icmp" };
        return format!("{rule} --reject-with {answer}-port-unreachable");
    }
    let Some((before, after)) = rule.split_once(PROBABILITY) else {
        return rule.to_owned();
    };
    let (number, after) = after.split_once(' ').unwrap_or((after, ""));
    let wanted: f64 = number.parse().unwrap_or_default();
    let parts = f64::from(1_u32 << 31);
    let kept = (wanted * parts).round() / parts;
    format!("{before}{PROBABILITY}{kept:.11} {after}")
}

fn table(text: &mut String, name: &str, chains: &[String], rules: &[String]) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "*{name}");
    for chain in chains {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for rule in rules {
        let _ = writeln!(text, "{rule}");
    }
    let _ = writeln!(text, "COMMIT");
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Endpoint, Proxy};

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
        assert_snapshot!(render(&[&three()], Scope::Whole), @"
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
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-AA-1
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-AA-2
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
        assert_snapshot!(render(&[&state], Scope::Update), @"
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
        assert_snapshot!(render(&[&state], Scope::Update), @"
        *nat
        :KUBE-SERVICES - [0:0]
        :KUBE-SVC-AA - [0:0]
        -A KUBE-SERVICES -d 192.168.255.220/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AA
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP-AA-1
        -A KUBE-SVC-AA -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-AA-2
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
        assert_snapshot!(render(&[&state], Scope::Update), @"
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
        assert_snapshot!(render(&[&state], Scope::Update), @"
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
        -A KUBE-SERVICES -d fd00:ff::220/128 -p tcp -m tcp --dport 443 -j REJECT
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
            let text = render(&[&service("x", "10.9.9.9:80", &borrowed)], Scope::Whole);
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
