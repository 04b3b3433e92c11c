//! The rules that are loaded, as iptables-save shows them.
//!
//! A run of iptables-save costs 3 ms, in a guest 15 to 30 ms of wall time, a tenth of a whole case, and it need not be
//! installed. But nf_tables counts its generations: as long as a namespace is still in the one in which we left it, its rules
//! are those that we loaded, and how iptables-save shows them is known beforehand (a test compares the two). In any other
//! generation the program is asked. The first line says which it was.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::render::{saved, services_only};
use super::{Iptables, NodeTable};
use crate::lab::service::mode::NodeRules;
use crate::lab::service::state::ServiceState;
use crate::linux::LinuxError;
use crate::linux::iptables::{self, Change, Family};
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::linux::nft;
use crate::probe::rules::flows;
use crate::record::Flow;

/// What a fresh namespace's generation is, in which nf_tables has loaded nothing.
const FIRST_GENERATION: u32 = 1;

/// Where iptables is on systems that leave it out of an ordinary user's PATH.
const SYSTEM_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What was loaded.
pub(super) struct LoadedRules {
    channel: RefCell<Channel>,
    /// Rules, and the generation they are of.
    state: RefCell<Option<(Vec<String>, u32)>>,
}

impl LoadedRules {
    /// Nothing yet.
    ///
    /// # Errors
    /// If the kernel gives no netfilter socket.
    pub(super) fn nothing(namespace: &Namespace) -> Result<Self, LinuxError> {
        Ok(Self {
            channel: RefCell::new(Channel::open(namespace, NETLINK_NETFILTER)?),
            state: RefCell::new(None),
        })
    }

    /// Makes `changes`.
    ///
    /// # Errors
    /// As [`iptables::load`].
    pub(super) fn load(
        &self,
        namespace: &Namespace,
        family: Family,
        changes: &[Change],
    ) -> Result<(), LinuxError> {
        iptables::load(&mut self.channel.borrow_mut(), namespace, family, changes)
    }

    /// The rules are those of `services` now. Call when all families of the namespace are loaded: they share a generation.
    pub(super) fn now(&self, services: &[&ServiceState]) {
        let generation = self.generation().ok().flatten();
        let known = generation.filter(|generation| *generation > FIRST_GENERATION);
        *self.state.borrow_mut() = known.map(|generation| (saved(services), generation));
    }

    /// The rules, if they are still those that were loaded last.
    fn still(&self) -> Option<Vec<String>> {
        let state = self.state.borrow();
        let (rules, generation) = state.as_ref()?;
        if self.generation().ok().flatten() != Some(*generation) {
            return None;
        }
        let how = format!("# As loaded: nf_tables is in generation {generation} since");
        Some(std::iter::once(how).chain(rules.iter().cloned()).collect())
    }

    fn generation(&self) -> io::Result<Option<u32>> {
        nft::generation(&mut self.channel.borrow_mut())
    }
}

impl Iptables {
    /// As [`Mode::read`](crate::lab::service::mode::Mode::read) has it.
    pub(super) fn read_all(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        let mut nodes: Vec<NodeRules> = Vec::new();
        for table in &self.tables {
            let known = table.loaded.still();
            let program = match known.is_none() || ask {
                true => find_program(table.family.save()),
                false => None,
            };
            let rules = match (program, known) {
                (Some(program), _) => save(&table.namespace, &program)?,
                (None, Some(rules)) => rules,
                (None, None) => vec![format!(
                    "# Somebody else has changed them, and {}, which would show them, is not installed",
                    table.family.save()
                )],
            };
            match nodes.iter_mut().find(|n| n.node == table.node) {
                // The other address family.
                Some(node) => node.rules.extend(rules),
                None => nodes.push(NodeRules {
                    node: table.node.clone(),
                    rules,
                    flows: self.flows(table)?,
                }),
            }
        }
        Ok(nodes)
    }

    fn flows(&self, table: &NodeTable) -> Result<Vec<Flow>, LinuxError> {
        let addresses: &[SocketAddr] = &self.addresses;
        flows(&mut table.loaded.channel.borrow_mut(), addresses).map_err(LinuxError::kernel(
            format!("reading the connections that {} tracks", table.node),
        ))
    }
}

/// Finds a program of the system's administrator, who may not be the user.
pub(in crate::lab::service) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_PATHS.map(PathBuf::from).into_iter();
    system
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Asks iptables-save.
pub(in crate::lab::service) fn save(
    namespace: &Rc<Namespace>,
    program: &Path,
) -> Result<Vec<String>, LinuxError> {
    let text = output_of(namespace, Command::new(program))?;
    let program = text.lines().next().unwrap_or_default();
    // Without the date.
    let program = program.split(" on ").next().unwrap_or_default().to_owned();
    let rules = services_only(text.lines()).into_iter().map(str::to_owned);
    Ok(std::iter::once(program).chain(rules).collect())
}

/// What a program writes in a namespace.
pub(in crate::lab::service) fn output_of(
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
