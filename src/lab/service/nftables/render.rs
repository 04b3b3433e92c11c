//! Services' table, of the shape that kube-proxy writes.

use std::net::SocketAddr;

use crate::lab::service::state::ServiceState;
use crate::linux::iptables::Family;
use crate::linux::nftables::{Chain, Gone, Hook, Memory, Part, Table, VerdictMap};

/// kube-proxy's table.
pub(super) const TABLE: &str = "kube-proxy";
/// kube-proxy's mark for connections to be masqueraded.
const MASQUERADE_MARK: u32 = 0x4000;

const SERVICE_IPS: &str = "service-ips";
const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
const SERVICES: &str = "services";
const SERVICE_ENDPOINTS_CHECK: &str = "service-endpoints-check";
const REJECT_CHAIN: &str = "reject-chain";
const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";
const MASQUERADING: &str = "masquerading";

/// A service's part of its chains' names. kube-proxy has a hash and the namespace before it; a plain name can be read as it
/// is. No two services may share one: whatever nft would not take gets its number, after a dot, which plain names do not have.
fn chain_part(state: &ServiceState) -> String {
    let name = &state.service.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() <= 63 && name.chars().all(plain) {
        return format!("{name}/tcp");
    }
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let start: String = letters.take(40).collect();
    format!("{start}.{}/tcp", state.number)
}

fn service_chain(state: &ServiceState) -> String {
    format!("service-{}", chain_part(state))
}

/// As kube-proxy's, which has a dot where IPv6 has a colon.
fn endpoint_chain(state: &ServiceState, endpoint: SocketAddr) -> String {
    format!("endpoint-{}", endpoint_part(state, endpoint))
}

fn affinity_set(state: &ServiceState, endpoint: SocketAddr) -> String {
    format!("affinity-{}", endpoint_part(state, endpoint))
}

fn endpoint_part(state: &ServiceState, endpoint: SocketAddr) -> String {
    let ip = endpoint.ip().to_string().replace(':', ".");
    format!("{}__{ip}/{}", chain_part(state), endpoint.port())
}

fn jump(chain: &str) -> Part {
    Part::Jump(chain.to_owned())
}

/// The table of one node for `services`, all of them of `family`.
pub(super) fn table(family: Family, services: &[&ServiceState]) -> Table {
    let (mut served, mut unserved, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    let mut chains = base();
    for state in services {
        let address = state.service.address;
        match state.chosen().is_empty() {
            true => unserved.push((address, REJECT_CHAIN.to_owned())),
            false => served.push((address, service_chain(state))),
        }
        chains.extend(service(state));
        memories.extend(state.present().filter_map(|to| memory(state, to)));
    }
    let map = |name, elements| VerdictMap { name, elements };
    Table {
        family,
        name: TABLE,
        maps: vec![
            map(NO_ENDPOINT_SERVICES, unserved),
            map(SERVICE_IPS, served),
        ],
        memories,
        chains,
    }
}

/// What every table has.
fn base() -> Vec<Chain> {
    let check = || vec![Part::New, jump(SERVICE_ENDPOINTS_CHECK)];
    vec![
        Chain::hooked("filter-forward", Hook::FilterForward, check()),
        Chain::hooked("filter-output", Hook::FilterOutput, check()),
        Chain::hooked("nat-prerouting", Hook::NatPrerouting, vec![jump(SERVICES)]),
        Chain::hooked("nat-output", Hook::NatOutput, vec![jump(SERVICES)]),
        Chain::hooked(
            "nat-postrouting",
            Hook::NatPostrouting,
            vec![jump(MASQUERADING)],
        ),
        Chain::own(
            SERVICE_ENDPOINTS_CHECK,
            vec![vec![Part::Look(NO_ENDPOINT_SERVICES)]],
        ),
        Chain::own(SERVICES, vec![vec![Part::Look(SERVICE_IPS)]]),
        Chain::own(
            MARK_FOR_MASQUERADE,
            vec![vec![Part::SetMark(MASQUERADE_MARK)]],
        ),
        Chain::own(
            MASQUERADING,
            vec![
                vec![Part::NotMarked(MASQUERADE_MARK), Part::Return],
                vec![Part::TurnMark(MASQUERADE_MARK)],
                vec![Part::Masquerade],
            ],
        ),
        Chain::own(REJECT_CHAIN, vec![vec![Part::Reject]]),
    ]
}

/// A service's own chain, if it has endpoints, and those of its endpoints.
fn service(state: &ServiceState) -> Vec<Chain> {
    let chosen = state.chosen();
    let sides: Vec<_> = chosen
        .iter()
        .map(|(_, to)| endpoint_chain(state, *to))
        .collect();
    let mut rules = Vec::new();
    if state.service.affinity.is_some() {
        rules.extend(chosen.iter().map(|(_, to)| {
            let seen = Part::Remembered(affinity_set(state, *to));
            vec![seen, Part::Goto(endpoint_chain(state, *to))]
        }));
    }
    if !sides.is_empty() {
        rules.push(vec![Part::Dice(sides)]);
    }
    let mut chains = vec![Chain::own(service_chain(state), rules)];
    for address in state.present() {
        let mut rules = vec![vec![Part::From(address.ip()), jump(MARK_FOR_MASQUERADE)]];
        if state.service.affinity.is_some() {
            rules.push(vec![Part::Remember(affinity_set(state, address))]);
        }
        rules.push(vec![Part::Tcp, Part::Dnat(address)]);
        chains.push(Chain::own(endpoint_chain(state, address), rules));
    }
    chains
}

/// The set of those whose last connection an endpoint got.
fn memory(state: &ServiceState, endpoint: SocketAddr) -> Option<Memory> {
    Some(Memory {
        name: affinity_set(state, endpoint),
        timeout: state.service.affinity?,
    })
}

/// What the tables of `services` have no longer.
pub(super) fn gone(services: &[&ServiceState]) -> Gone {
    let mut gone = Gone::default();
    for state in services {
        for address in state.absent() {
            gone.chains.push(endpoint_chain(state, address));
            gone.memories.extend(memory(state, address));
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Endpoint, Proxy, Service};

    fn service(number: usize, name: &str, affinity: Option<Duration>) -> ServiceState {
        let endpoints = [("aa-1", "192.168.3.2:6443"), ("aa-2", "192.168.2.2:6443")];
        let endpoints = endpoints.map(|(server, address)| Endpoint {
            server: server.to_owned(),
            address: address.parse().unwrap(),
        });
        let service = Service {
            name: name.to_owned(),
            address: SocketAddr::from(([192, 168, 255, 220], 443)),
            proxy: Proxy::Nftables,
            endpoints: endpoints.into(),
            pin_first: None,
            affinity,
            removal: None,
            readiness: None,
        };
        ServiceState::new(number, &service)
    }

    fn listed(state: &ServiceState) -> String {
        table(Family::Ipv4, &[state]).listed().join("\n")
    }

    #[test]
    fn the_table_has_kube_proxy_s_shape() {
        assert_snapshot!(listed(&service(1, "aa", Some(Duration::from_secs(10_800)))));
    }

    #[test]
    fn a_removed_endpoint_loses_its_chain_and_the_last_one_leaves_a_reject() {
        let mut state = service(1, "aa", Some(Duration::from_secs(60)));
        assert!(state.remove(&["aa-1"]));
        let text = listed(&state);
        assert!(
            text.contains(
                "numgen random mod 1 vmap { 0 : goto endpoint-aa/tcp__192.168.2.2/6443 }"
            )
        );
        assert!(!text.contains("192.168.3.2"), "{text}");
        let gone = gone(&[&state]);
        assert_eq!(gone.chains, ["endpoint-aa/tcp__192.168.3.2/6443"]);
        assert_eq!(gone.memories[0].name, "affinity-aa/tcp__192.168.3.2/6443");
        assert!(state.remove(&["aa-2"]));
        let text = listed(&state);
        assert!(text.contains("elements = { 192.168.255.220 . tcp . 443 : goto reject-chain }"));
        assert!(!text.contains("numgen"), "{text}");
    }

    proptest! {
        #[test]
        fn names_are_ones_nft_takes_and_nobody_else_s(name in ".{0,80}", number in 1_usize..99) {
            let chain = service_chain(&service(number, &name, None));
            prop_assert!(chain.len() <= 127, "{chain}");
            prop_assert!(chain.chars().all(|c| c.is_ascii_alphanumeric() || "-./_".contains(c)), "{chain}");
            let plain = service_chain(&service(number + 1, "aa", None));
            prop_assert!(name == "aa" || chain != plain);
        }
    }
}
