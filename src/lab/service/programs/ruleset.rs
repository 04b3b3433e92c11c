//! Where rules lead connections, as iptables-save and nft show them.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

/// The endpoints to which `rules` may lead connections to a service's address.
pub(super) fn endpoints(rules: &[String], service: SocketAddr) -> BTreeSet<SocketAddr> {
    let chains = Chains::of(rules);
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = chains.first(service);
    while let Some(chain) = open.pop() {
        if !seen.insert(chain) {
            continue;
        }
        for rule in chains.rules.get(chain).into_iter().flatten() {
            found.extend(&rule.translates);
            open.extend(&rule.leads);
        }
    }
    found
}

/// A rule: the chains it leads to, and the endpoints it translates to.
#[derive(Default)]
struct Rule<'a> {
    leads: Vec<&'a str>,
    translates: Vec<SocketAddr>,
}

/// Rules by their chains, and the text of those that tell services apart.
#[derive(Default)]
struct Chains<'a> {
    rules: HashMap<&'a str, Vec<Rule<'a>>>,
    /// Where services are told apart: iptables' KUBE-SERVICES, and the elements of nft's maps.
    entries: Vec<&'a str>,
}

impl<'a> Chains<'a> {
    fn of(rules: &'a [String]) -> Self {
        let mut chains = Self::default();
        // The chain that nft's lines are in.
        let mut block = None;
        for line in rules {
            let line = line.trim();
            if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
                match chain {
                    "KUBE-SERVICES" => chains.entries.push(rule),
                    _ => chains.rules.entry(chain).or_default().push(saved(rule)),
                }
            } else if let Some(opened) = line.strip_suffix(" {") {
                block = opened.strip_prefix("chain ").map(unquoted);
            } else if let Some(chain) = block {
                chains.rules.entry(chain).or_default().push(listed(line));
            } else if line.contains(" : goto ") {
                // Elements of a map: several on a line, or one.
                let elements = line.trim_start_matches("elements = {");
                chains.entries.extend(elements.split(','));
            }
            if line == "}" {
                block = None;
            }
        }
        chains
    }

    /// Where connections to a service are led first.
    fn first(&self, service: SocketAddr) -> Vec<&'a str> {
        let (address, port) = (service.ip().to_string(), service.port().to_string());
        let key = [
            address.as_str(),
            ".",
            "tcp",
            ".",
            port.as_str(),
            ":",
            "goto",
        ];
        let leads = |entry: &&'a str| {
            let words: Vec<&'a str> = entry.split_whitespace().collect();
            let Some(destination) = after(&words, "-d") else {
                let (own, goes) = words.split_at_checked(key.len())?;
                return (*own == key).then(|| goes.first().copied().map(unquoted))?;
            };
            let is = |name, value: &str| after(&words, name).is_some_and(|own| own == value);
            let own = destination.split('/').next() == Some(&address)
                && is("-p", "tcp")
                && is("--dport", &port);
            own.then(|| after(&words, "-j"))?
        };
        self.entries.iter().filter_map(leads).collect()
    }
}

/// The word after another.
fn after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == name)?;
    words.get(at + 1).copied()
}

/// A rule of iptables-save.
fn saved(rule: &str) -> Rule<'_> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let mut found = Rule::default();
    for pair in words.windows(2) {
        match pair {
            ["-j" | "-g", chain] => found.leads.push(chain),
            ["--to-destination", endpoint] => {
                found.translates.extend(endpoint.parse::<SocketAddr>())
            }
            _ => {}
        }
    }
    found
}

/// A rule of nft's.
fn listed(rule: &str) -> Rule<'_> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let mut found = Rule::default();
    for pair in words.windows(2) {
        match pair {
            ["goto" | "jump", chain] => found.leads.push(unquoted(chain.trim_end_matches(','))),
            ["to", endpoint] => found.translates.extend(endpoint.parse::<SocketAddr>()),
            _ => {}
        }
    }
    // `dnat ip to numgen random mod 2 map { 0 : 192.168.1.2 . 6443, 1 : 192.168.2.2 . 6443 }`
    for triple in words.windows(3).filter(|_| words.contains(&"dnat")) {
        if let [address, ".", port] = triple
            && let (Ok(ip), Ok(port)) = (address.parse(), port.trim_end_matches(',').parse())
        {
            found.translates.push(SocketAddr::new(ip, port));
        }
    }
    found
}

fn unquoted(name: &str) -> &str {
    name.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rules: &str, service: &str) -> Vec<String> {
        let rules: Vec<String> = rules.lines().map(str::to_owned).collect();
        let found = endpoints(&rules, service.parse().unwrap());
        found.iter().map(SocketAddr::to_string).collect()
    }

    /// Written by hand, of the shape that iptables-save has.
    const SAVED: &str = "*nat\n\
        -A KUBE-SERVICES -d 192.168.255.1/32 -p tcp -m comment --comment \"default/web:https cluster IP\" -m tcp --dport 443 -j KUBE-SVC-A\n\
        -A KUBE-SERVICES -d 192.168.255.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-B\n\
        -A KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-1\n\
        -A KUBE-SVC-A -j KUBE-SEP-2\n\
        -A KUBE-SVC-B -j KUBE-SEP-3\n\
        -A KUBE-SEP-1 -s 192.168.1.2/32 -j KUBE-MARK-MASQ\n\
        -A KUBE-SEP-1 -p tcp -m tcp -j DNAT --to-destination 192.168.1.2:6443\n\
        -A KUBE-SEP-2 -p tcp -m tcp -j DNAT --to-destination 192.168.2.2:6443\n\
        -A KUBE-SEP-3 -p tcp -m tcp -j DNAT --to-destination 192.168.2.3:8080\n\
        -A KUBE-SEP-4 -p tcp -m tcp -j DNAT --to-destination 192.168.2.4:6443";

    #[test]
    fn what_iptables_save_shows_leads_where_its_chains_lead() {
        let both = ["192.168.1.2:6443", "192.168.2.2:6443"];
        assert_eq!(of(SAVED, "192.168.255.1:443"), both);
        assert_eq!(of(SAVED, "192.168.255.1:80"), ["192.168.2.3:8080"]);
        assert!(of(SAVED, "192.168.255.1:81").is_empty());
        assert!(of("", "192.168.255.1:443").is_empty());
    }

    /// The same of nft's: an endpoint a chain, or all in one rule.
    const LISTED: &str = "table ip kube-proxy {\n\
        \tmap service-ips {\n\
        \t\ttype ipv4_addr . inet_proto . inet_service : verdict\n\
        \t\telements = { 192.168.255.1 . tcp . 443 : goto service-A/web/tcp/https,\n\
        \t\t\t     192.168.255.2 . tcp . 443 : goto service-B/web/tcp/ }\n\
        \t}\n\
        \tchain service-A/web/tcp/https {\n\
        \t\tnumgen random mod 2 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2 }\n\
        \t}\n\
        \tchain endpoint-1 {\n\
        \t\tip saddr 192.168.1.2 jump mark-for-masquerade\n\
        \t\tmeta l4proto tcp dnat to 192.168.1.2:6443\n\
        \t}\n\
        \tchain endpoint-2 {\n\
        \t\tmeta l4proto tcp dnat to 192.168.2.2:6443\n\
        \t}\n\
        \tchain service-B/web/tcp/ {\n\
        \t\tmeta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 192.168.1.3 . 6443, 1 : 192.168.2.3 . 6443 }\n\
        \t}\n\
        }";

    #[test]
    fn what_nft_shows_leads_where_its_maps_and_chains_lead() {
        let one = ["192.168.1.2:6443", "192.168.2.2:6443"];
        let other = ["192.168.1.3:6443", "192.168.2.3:6443"];
        assert_eq!(of(LISTED, "192.168.255.1:443"), one);
        assert_eq!(of(LISTED, "192.168.255.2:443"), other);
        assert!(of(LISTED, "192.168.255.2:80").is_empty());
    }
}
