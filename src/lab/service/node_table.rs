//! Rules of netfilter on the nodes where services' clients are: which services a table has, and what is loaded there.
//!
//! A program that shows rules takes 3 ms, in a guest 15 to 30 ms of wall time, a tenth of a whole case, and it need not be
//! installed. But nf_tables counts its generations: as long as a namespace is still in the one in which we left it, its rules
//! are those that we loaded, and how the program shows them is known beforehand (tests compare the two). In any other
//! generation the program is asked. The first line says which it was.

use std::cell::{RefCell, RefMut};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::mode::{NodeRules, has_client_on};
use super::state::ServiceState;
use crate::lab::network::Network;
use crate::linux::LinuxError;
use crate::linux::iptables::Family;
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::nft;
use crate::plan::{LabPlan, Place};
use crate::probe::rules::flows;

/// What a fresh namespace's generation is, in which nf_tables has loaded nothing.
const FIRST_GENERATION: u32 = 1;

/// Where programs of the administrator's are on systems that leave them out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The rules of one address family on one node.
pub(super) struct NodeTable {
    pub(super) node: String,
    pub(super) namespace: Rc<Namespace>,
    pub(super) family: Family,
    channel: RefCell<Channel>,
    /// Rules as they were loaded, and the generation they are of.
    loaded: RefCell<Option<(Vec<String>, u32)>>,
    /// Positions among the mode's services.
    pub(super) services: Vec<usize>,
}

/// What shows a table's rules.
pub(super) struct Listing {
    /// Its name.
    pub(super) program: &'static str,
    /// What it is told.
    pub(super) arguments: &'static [&'static str],
    /// What is kept of what it says, a line each.
    pub(super) kept: fn(&str) -> Vec<String>,
}

/// One for each node with clients of `services` and each address family that they use; nothing is loaded yet.
///
/// # Errors
/// If the kernel gives no netfilter socket.
pub(super) fn tables(
    network: &Network,
    plan: &LabPlan,
    services: &[ServiceState],
) -> Result<Vec<NodeTable>, LinuxError> {
    let mut tables = Vec::new();
    for family in Family::ALL {
        let of_family = |state: &ServiceState| Family::of(state.service.address.ip()) == family;
        for node in &plan.nodes {
            let services: Vec<_> = (0..services.len())
                .filter(|&n| of_family(&services[n]))
                .filter(|&n| has_client_on(plan, &services[n].service.name, &node.name))
                .collect();
            if !services.is_empty() {
                let namespace = network.namespace(&Place::Node(node.name.clone()));
                let channel = Channel::open(&namespace, NETLINK_NETFILTER)?;
                tables.push(NodeTable {
                    node: node.name.clone(),
                    namespace,
                    family,
                    channel: RefCell::new(channel),
                    loaded: RefCell::default(),
                    services,
                });
            }
        }
    }
    Ok(tables)
}

/// The rules of each node, and its connections to the services at `addresses`.
///
/// # Errors
/// As [`Mode::read`](super::mode::Mode::read).
pub(super) fn read_all(
    tables: &[NodeTable],
    ask: bool,
    addresses: &[SocketAddr],
    listing: fn(Family) -> Listing,
) -> Result<Vec<NodeRules>, LinuxError> {
    let mut nodes: Vec<NodeRules> = Vec::new();
    for table in tables {
        let rules = table.read(ask, &listing(table.family))?;
        match nodes.iter_mut().find(|n| n.node == table.node) {
            // The other address family.
            Some(node) => node.rules.extend(rules),
            None => nodes.push(NodeRules {
                node: table.node.clone(),
                rules,
                flows: flows(&mut table.channel(), addresses).map_err(LinuxError::kernel(
                    format!("reading the connections that {} tracks", table.node),
                ))?,
            }),
        }
    }
    Ok(nodes)
}

impl NodeTable {
    /// Of all services of the mode, those that this table has.
    pub(super) fn states<'a>(&self, all: &'a [ServiceState]) -> Vec<&'a ServiceState> {
        self.services.iter().map(|&n| &all[n]).collect()
    }

    /// A netfilter socket of the node's.
    pub(super) fn channel(&self) -> RefMut<'_, Channel> {
        self.channel.borrow_mut()
    }

    /// Its rules are shown as `rules` now. Call when everything of the namespace is loaded: all its tables share a generation.
    pub(super) fn is_loaded(&self, rules: Vec<String>) {
        let generation = self.generation().ok().flatten();
        let known = generation.filter(|generation| *generation > FIRST_GENERATION);
        *self.loaded.borrow_mut() = known.map(|generation| (rules, generation));
    }

    fn read(&self, ask: bool, listing: &Listing) -> Result<Vec<String>, LinuxError> {
        let known = self.still_loaded();
        let program = match known.is_none() || ask {
            true => find_program(listing.program),
            false => None,
        };
        match (program, known) {
            (Some(program), _) => self.show(&program, listing),
            (None, Some(rules)) => Ok(rules),
            (None, None) => Ok(vec![format!(
                "# Somebody else has changed them, and {}, which would show them, is not installed",
                listing.program
            )]),
        }
    }

    /// The rules, if they are still those that were loaded last.
    fn still_loaded(&self) -> Option<Vec<String>> {
        let loaded = self.loaded.borrow();
        let (rules, generation) = loaded.as_ref()?;
        if self.generation().ok().flatten() != Some(*generation) {
            return None;
        }
        let how = format!("# As loaded: nf_tables is in generation {generation} since");
        Some(std::iter::once(how).chain(rules.iter().cloned()).collect())
    }

    fn generation(&self) -> io::Result<Option<u32>> {
        nft::generation(&mut self.channel())
    }

    fn show(&self, program: &Path, listing: &Listing) -> Result<Vec<String>, LinuxError> {
        let mut command = Command::new(program);
        command.args(listing.arguments);
        Ok((listing.kept)(&output_of(&self.namespace, command)?))
    }
}

/// What a program writes in a namespace.
pub(super) fn output_of(
    namespace: &Rc<Namespace>,
    mut command: Command,
) -> Result<String, LinuxError> {
    command.stdin(Stdio::null());
    let output = namespace
        .enter(|| command.output())
        .map_err(LinuxError::kernel(format!(
            "running {} in {}",
            command.get_program().display(),
            namespace.name()
        )))?;
    if !output.status.success() {
        return Err(LinuxError::Program {
            program: command.get_program().display().to_string(),
            namespace: namespace.name().to_owned(),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program of the system's administrator, who may not be the user.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_PATHS.map(PathBuf::from).into_iter();
    system
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}
