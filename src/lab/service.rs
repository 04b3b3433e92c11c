//! Services: virtual addresses that a node's kernel spreads over endpoints, by rules of the shape kube-proxy writes in
//! iptables mode.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::LabError;
use super::namespace::Namespace;
use super::network::Network;
use crate::plan::{LabPlan, Place, Service};

/// Where iptables is on systems that leave it out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// kube-proxy's mark for connections to be masqueraded.
const MASQUERADE_MARK: &str = "0x4000";

/// The services of a lab, as loaded in the nodes where their clients run.
pub struct Services {
    /// Held while rules are being written, so that an older state never overwrites a newer one.
    state: Mutex<Vec<ServiceState>>,
    tables: Vec<NodeTable>,
}

/// The rules of one address family on one node.
struct NodeTable {
    namespace: Rc<Namespace>,
    program: PathBuf,
    /// Positions in [`Services::state`].
    services: Vec<usize>,
}

/// A service and which of its endpoints the rules name.
#[derive(Debug, Clone)]
struct ServiceState {
    service: Service,
    chain: String,
    pinned: Option<String>,
    removed: Vec<String>,
}

impl Services {
    /// Loads every service's rules in the nodes where its clients run: one restore a node and address family, side by
    /// side. A service with `pin_first` is pinned.
    ///
    /// # Errors
    /// [`LabError::NoProgram`] without iptables, [`LabError::Program`] with its own words if it fails.
    pub async fn load(network: &Network, plan: &LabPlan) -> Result<Self, LabError> {
        let state: Vec<_> = plan
            .services
            .iter()
            .enumerate()
            .map(|(n, service)| ServiceState::new(n + 1, service))
            .collect();
        let mut tables = Vec::new();
        for (program, ipv6) in [("iptables-restore", false), ("ip6tables-restore", true)] {
            if !plan.services.iter().any(|s| s.address.is_ipv6() == ipv6) {
                continue;
            }
            let program = find_program(program)?;
            for node in &plan.nodes {
                let services: Vec<_> = (0..state.len())
                    .filter(|&n| plan.services[n].address.is_ipv6() == ipv6)
                    .filter(|&n| has_client_on(plan, &plan.services[n].name, &node.name))
                    .collect();
                if !services.is_empty() {
                    tables.push(NodeTable {
                        namespace: network.namespace(&Place::Node(node.name.clone())),
                        program: program.clone(),
                        services,
                    });
                }
            }
        }
        restore(tables.iter().map(|table| {
            let text = render(&table.states(&state), Load::Whole);
            (table, text)
        }))
        .await?;
        Ok(Self {
            state: Mutex::new(state),
            tables,
        })
    }

    /// Lets the dice choose among all endpoints of every pinned service, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn unpin(&self) -> Result<(), LabError> {
        self.change(|state| state.pinned.take().is_some()).await
    }

    /// Takes endpoints, by their servers' names, out of a service's rules. Established connections to them stay. When
    /// none is left, new connections are rejected, as kube-proxy does it.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn remove_endpoints(&self, service: &str, servers: &[&str]) -> Result<(), LabError> {
        self.change(|state| {
            if state.service.name != service {
                return false;
            }
            let before = state.removed.len();
            for server in servers {
                let known = state.service.endpoints.iter().any(|e| e.server == *server);
                if known && !state.removed.iter().any(|removed| removed == server) {
                    state.removed.push((*server).to_owned());
                }
            }
            state.removed.len() > before
        })
        .await
    }

    /// Applies `change` to every service (it says whether it changed that one) and rewrites the nodes concerned.
    async fn change(
        &self,
        mut change: impl FnMut(&mut ServiceState) -> bool,
    ) -> Result<(), LabError> {
        let mut state = self.state.lock().await;
        let changed: Vec<bool> = state.iter_mut().map(&mut change).collect();
        let tables = self
            .tables
            .iter()
            .filter(|table| table.services.iter().any(|&n| changed[n]));
        restore(tables.map(|table| (table, render(&table.states(&state), Load::Update)))).await
    }
}

impl NodeTable {
    fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }
}

impl ServiceState {
    fn new(number: usize, service: &Service) -> Self {
        Self {
            service: service.clone(),
            chain: chain_part(number, &service.name),
            pinned: service.pin_first.clone(),
            removed: Vec::new(),
        }
    }

    /// Numbers (from 1) and addresses of the endpoints that get new connections.
    fn chosen(&self) -> Vec<(usize, SocketAddr)> {
        let mut live = Vec::new();
        for (n, endpoint) in (1..).zip(&self.service.endpoints) {
            if self.removed.contains(&endpoint.server) {
                continue;
            }
            if self.pinned.as_ref() == Some(&endpoint.server) {
                return vec![(n, endpoint.address)];
            }
            live.push((n, endpoint.address));
        }
        live
    }

    fn sep(&self, number: usize) -> String {
        format!("KUBE-SEP-{}-{number}", self.chain)
    }

    fn svc(&self) -> String {
        format!("KUBE-SVC-{}", self.chain)
    }

    /// `-d ADDRESS/LENGTH -p tcp -m tcp --dport PORT`.
    fn matches(&self) -> String {
        let address = self.service.address;
        format!(
            "-d {} -p tcp -m tcp --dport {}",
            host(address),
            address.port()
        )
    }
}

fn has_client_on(plan: &LabPlan, service: &str, node: &str) -> bool {
    plan.clients
        .iter()
        .any(|client| client.node == node && client.target.service.as_deref() == Some(service))
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
enum Load {
    Whole,
    Update,
}

/// The input of `iptables-restore --noflush` for `services` on one node. A chain that is declared is emptied first, all in one
/// transaction.
fn render(services: &[&ServiceState], load: Load) -> String {
    let mut text = String::new();
    render_nat(&mut text, services, load);
    render_filter(&mut text, services, load);
    text
}

fn render_nat(text: &mut String, services: &[&ServiceState], load: Load) {
    let mut chains = vec!["KUBE-SERVICES".to_owned()];
    let mut rules = Vec::new();
    if load == Load::Whole {
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
        let svc = state.svc();
        let chosen = state.chosen();
        chains.push(svc.clone());
        if !chosen.is_empty() {
            rules.push(format!("-A KUBE-SERVICES {} -j {svc}", state.matches()));
        }
        for (position, (number, _)) in chosen.iter().enumerate() {
            let dice = match chosen.len() - position {
                1 => String::new(),
                left => format!(
                    " -m statistic --mode random --probability {:.10}",
                    1.0 / left as f64
                ),
            };
            rules.push(format!("-A {svc}{dice} -j {}", state.sep(*number)));
        }
        for (number, endpoint) in (1..).zip(&state.service.endpoints) {
            let sep = state.sep(number);
            if state.removed.contains(&endpoint.server) {
                chains.push(sep.clone());
                rules.push(format!("-X {sep}"));
            } else if load == Load::Whole {
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
fn render_filter(text: &mut String, services: &[&ServiceState], load: Load) {
    let mut rules = Vec::new();
    if load == Load::Whole {
        for chain in ["FORWARD", "OUTPUT"] {
            rules.push(format!(
                "-I {chain} -m conntrack --ctstate NEW -j KUBE-SERVICES"
            ));
        }
    }
    for state in services.iter().filter(|state| state.chosen().is_empty()) {
        rules.push(format!("-A KUBE-SERVICES {} -j REJECT", state.matches()));
    }
    table(text, "filter", &["KUBE-SERVICES".to_owned()], &rules);
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

/// Finds a program of the system's administrator, who may not be the user.
///
/// Where it is as a rule comes first: in a guest each look in vain takes from the kernel's randomness, so that the same seed
/// would give another run to a user with another PATH.
pub(crate) fn find_program(name: &str) -> Result<PathBuf, LabError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_PATHS.map(PathBuf::from).into_iter();
    system
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| LabError::NoProgram {
            program: name.to_owned(),
        })
}

/// Loads `rules` in a namespace, to see whether it can be done.
pub(crate) async fn try_rules(
    namespace: &Rc<Namespace>,
    program: &str,
    rules: &str,
) -> Result<(), LabError> {
    let table = NodeTable {
        namespace: Rc::clone(namespace),
        program: find_program(program)?,
        services: Vec::new(),
    };
    restore(std::iter::once((&table, rules.to_owned()))).await
}

/// Starts one restore for each table, all at once, and waits for them.
async fn restore<'a>(work: impl Iterator<Item = (&'a NodeTable, String)>) -> Result<(), LabError> {
    let mut running = Vec::new();
    for (table, text) in work {
        let child = start(table, &text).map_err(LabError::kernel(format!(
            "starting {} in {}",
            table.program.display(),
            table.namespace.name()
        )))?;
        running.push((table, child));
    }
    for (table, child) in running {
        finish(table, child).await?;
    }
    Ok(())
}

fn start(table: &NodeTable, text: &str) -> io::Result<Child> {
    // A file for its input: nothing has to be fed to it while it runs.
    let mut rules = File::from(memfd_create(c"rules", MFdFlags::MFD_CLOEXEC)?);
    rules.write_all(text.as_bytes())?;
    rules.rewind()?;
    let mut command = Command::new(&table.program);
    command
        .args(["--noflush", "-w"])
        // iptables-legacy locks a file that an ordinary user may not open, against others on the same tables. These
        // tables are this lab's alone, and their writers take turns already: any file will do.
        .env("XTABLES_LOCKFILE", "/proc/self/fd/0")
        .stdin(Stdio::from(rules))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // The child starts in the namespace its parent is visiting.
    table.namespace.enter(|| command.spawn())
}

async fn finish(table: &NodeTable, child: Child) -> Result<(), LabError> {
    let program = table.program.display().to_string();
    let output = child
        .wait_with_output()
        .await
        .map_err(LabError::kernel(format!("waiting for {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Program {
        program,
        namespace: table.namespace.name().to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Endpoint;

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
                endpoints: endpoints.collect(),
                pin_first: None,
                removal: None,
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
        assert_snapshot!(render(&[&three()], Load::Whole), @"
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
        assert_snapshot!(render(&[&state], Load::Update), @"
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
        assert_snapshot!(render(&[&state], Load::Update), @"
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
        assert_snapshot!(render(&[&state], Load::Update), @"
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
        assert_snapshot!(render(&[&state], Load::Update), @"
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

    #[test]
    fn a_pinned_endpoint_that_is_removed_no_longer_pins() {
        let mut state = three();
        state.pinned = Some("aa-1".to_owned());
        state.removed.push("aa-1".to_owned());
        let numbers: Vec<_> = state.chosen().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [2, 3]);
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
            let text = render(&[&service("x", "10.9.9.9:80", &borrowed)], Load::Whole);
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
