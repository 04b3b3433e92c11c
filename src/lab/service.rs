//! Services: virtual addresses that a node's kernel spreads over endpoints, by rules of the shape kube-proxy writes in
//! iptables mode.
//!
//! `KUBE-SERVICES` (from PREROUTING for pods, from OUTPUT for the node's own processes) → `KUBE-SVC-x`, which throws the
//! dice → `KUBE-SEP-y`, which does the DNAT. Rules decide for new connections only: an established one keeps the
//! endpoint its conntrack entry names, whatever becomes of the rules.

mod reading;
mod render;

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use self::reading::Loaded;
pub use self::reading::NodeRules;
use self::render::{Load, ServiceState, render};
use super::LabError;
use super::namespace::Namespace;
use super::network::Network;
use crate::plan::{LabPlan, Place};

/// Where iptables is on systems that leave it out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The services of a lab, as loaded in the nodes where their clients run.
pub struct Services {
    /// Held while rules are being written, so that an older state never overwrites a newer one.
    state: Mutex<Vec<ServiceState>>,
    tables: Vec<NodeTable>,
    /// Of all services.
    addresses: Vec<SocketAddr>,
}

/// The rules of one address family on one node.
struct NodeTable {
    node: String,
    namespace: Rc<Namespace>,
    program: PathBuf,
    /// The program beside it that shows them.
    save: &'static str,
    loaded: Loaded,
    /// Positions in [`Services::state`].
    services: Vec<usize>,
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
        let programs = [
            ("iptables-restore", "iptables-save", false),
            ("ip6tables-restore", "ip6tables-save", true),
        ];
        for (program, save, ipv6) in programs {
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
                    let namespace = network.namespace(&Place::Node(node.name.clone()));
                    tables.push(NodeTable {
                        node: node.name.clone(),
                        loaded: Loaded::nothing(&namespace)?,
                        namespace,
                        program: program.clone(),
                        save,
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
        let services = Self {
            addresses: plan.services.iter().map(|s| s.address).collect(),
            tables,
            state: Mutex::new(state),
        };
        services.loaded(&services.state.lock().await);
        Ok(services)
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

    /// Puts endpoints that were taken out of a service's rules back into them, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn add_endpoints(&self, service: &str, servers: &[&str]) -> Result<(), LabError> {
        self.change(|state| {
            if state.service.name != service {
                return false;
            }
            let back = |server: &String| servers.contains(&server.as_str());
            state.returning = state.removed.iter().filter(|s| back(s)).cloned().collect();
            state.removed.retain(|server| !back(server));
            !state.returning.is_empty()
        })
        .await
    }

    /// Applies `change` to every service (it says whether it changed that one) and rewrites the nodes concerned.
    async fn change(
        &self,
        mut change: impl FnMut(&mut ServiceState) -> bool,
    ) -> Result<(), LabError> {
        let mut state = self.state.lock().await;
        for service in state.iter_mut() {
            service.returning.clear();
        }
        let changed: Vec<bool> = state.iter_mut().map(&mut change).collect();
        let tables = self
            .tables
            .iter()
            .filter(|table| table.services.iter().any(|&n| changed[n]));
        restore(tables.map(|table| (table, render(&table.states(&state), Load::Update)))).await?;
        self.loaded(&state);
        Ok(())
    }

    /// All tables' rules are those of `state` now.
    fn loaded(&self, state: &[ServiceState]) {
        for table in &self.tables {
            table.loaded.now(&table.states(state));
        }
    }
}

impl NodeTable {
    fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }
}

fn has_client_on(plan: &LabPlan, service: &str, node: &str) -> bool {
    plan.clients
        .iter()
        .any(|client| client.node == node && client.target.service.as_deref() == Some(service))
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

/// Loads `rules`, the input of `program` (iptables-restore, ip6tables-restore), in a namespace beside those it has.
pub(crate) async fn load_rules(
    namespace: &Rc<Namespace>,
    program: &str,
    rules: &str,
) -> Result<(), LabError> {
    let program = find_program(program)?;
    let child = start(namespace, &program, rules)?;
    finish(namespace, &program, child).await
}

/// Starts one restore for each table, all at once, and waits for them.
async fn restore<'a>(work: impl Iterator<Item = (&'a NodeTable, String)>) -> Result<(), LabError> {
    let mut running = Vec::new();
    for (table, text) in work {
        running.push((table, start(&table.namespace, &table.program, &text)?));
    }
    for (table, child) in running {
        finish(&table.namespace, &table.program, child).await?;
    }
    Ok(())
}

fn start(namespace: &Namespace, program: &Path, rules: &str) -> Result<Child, LabError> {
    spawn(namespace, program, rules).map_err(LabError::kernel(format!(
        "starting {} in {}",
        program.display(),
        namespace.name()
    )))
}

fn spawn(namespace: &Namespace, program: &Path, text: &str) -> io::Result<Child> {
    // A file for its input: nothing has to be fed to it while it runs.
    let mut rules = File::from(memfd_create(c"rules", MFdFlags::MFD_CLOEXEC)?);
    rules.write_all(text.as_bytes())?;
    rules.rewind()?;
    let mut command = Command::new(program);
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
    namespace.enter(|| command.spawn())
}

async fn finish(namespace: &Namespace, program: &Path, child: Child) -> Result<(), LabError> {
    let program = program.display().to_string();
    let output = child
        .wait_with_output()
        .await
        .map_err(LabError::kernel(format!("waiting for {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Program {
        program,
        namespace: namespace.name().to_owned(),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
