//! Middleboxes: which packets they let pass, and when they forget connections.
//!
//! What one knows is what conntrack knows in its namespace (RFC 3234's "state"), with picking up of connections in the middle
//! switched off.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use tokio::time::{Instant, sleep};

use super::LabError;
use super::network::{self, Network};
use super::run::Lab;
use crate::linux::LinuxError;
use crate::linux::conntrack;
use crate::linux::iptables::{self, Chain, Change, Family, Match, Rule, Table, Target};
use crate::linux::namespace::Namespace;
use crate::linux::netlink::Channel;
use crate::plan::{Client, LabPlan, Middlebox, MiddleboxKind, Place, Trigger, UnknownPackets};
use crate::record::Observation;

/// How often it is looked whether a connection is forgotten that may be in this second.
const STEP: Duration = Duration::from_millis(10);
/// Never (conntrack counts seconds in 32 bits of jiffies): longer than any case.
const NEVER: Duration = Duration::from_secs(5 * 24 * 3600);

/// Has every middlebox do its work.
///
/// # Errors
/// [`LinuxError::Missing`] if this kernel lacks conntrack or iptables' match of it, [`LinuxError::Kernel`] if it refuses.
pub fn load(network: &Network, plan: &LabPlan) -> Result<(), LabError> {
    for middlebox in &plan.middleboxes {
        let namespace = network.middlebox(&middlebox.name)?;
        let loaded = load_one(namespace, middlebox);
        loaded.map_err(|error| LabError::from(error).of(&middlebox.location))?;
    }
    Ok(())
}

fn load_one(namespace: &Rc<Namespace>, middlebox: &Middlebox) -> Result<(), LinuxError> {
    let mut channel = Channel::open(namespace, NETLINK_NETFILTER)?;
    for family in Family::ALL {
        iptables::load(&mut channel, namespace, family, &[rules(middlebox)])?;
    }
    let forgets = middlebox.idle_timeout.unwrap_or(NEVER).as_secs();
    let timeout = |name| (format!("tcp_timeout_{name}"), forgets);
    let sysctls = [
        (String::from("tcp_loose"), 0),
        // Of a window it has no opinion: it is no firewall.
        (String::from("tcp_be_liberal"), 1),
        timeout("established"),
        // By itself conntrack waits only 300 s for what is sent again, or not acknowledged.
        timeout("max_retrans"),
        timeout("unacknowledged"),
    ];
    let write = || {
        for (name, value) in &sysctls {
            let key = format!("net.netfilter.nf_conntrack_{name}");
            network::write(&key, &value.to_string())?;
        }
        Ok(())
    };
    namespace.visit(write).map_err(LinuxError::kernel(format!(
        "entering the namespace of {}",
        middlebox.name
    )))?
}

/// What becomes of packets of connections that it does not know.
fn rules(middlebox: &Middlebox) -> Change {
    let mut rules = Vec::new();
    if middlebox.unknown == UnknownPackets::Reset {
        let mut matches = match middlebox.kind {
            MiddleboxKind::LoadBalancer => Vec::new(),
            MiddleboxKind::Nat => vec![Match::From("inside")],
        };
        let tcp = Match::Tcp {
            port: None,
            syn: false,
        };
        matches.extend([tcp, Match::Invalid]);
        rules.push(Rule::last(Chain::Forward, matches, Target::Reset));
    }
    rules.push(Rule::last(
        Chain::Forward,
        vec![Match::Invalid],
        Target::Drop,
    ));
    Change::more(Table::Filter, Vec::new(), rules)
}

/// A connection that a middlebox knows.
struct Known {
    to: SocketAddr,
    established: bool,
    /// Until when at the least, if nothing is sent on it; a second more at the most.
    until: Instant,
}

impl Lab {
    /// Watches when middleboxes forget what lies idle.
    pub(super) fn watch_middleboxes(self: &Rc<Self>) {
        for middlebox in &self.plan.middleboxes {
            let Some(forgets) = middlebox.idle_timeout else {
                continue;
            };
            let (lab, middlebox) = (Rc::clone(self), middlebox.clone());
            self.watch_over("the watch over middleboxes", None, async move {
                if let Err(error) = lab.watch_middlebox(&middlebox, forgets).await {
                    lab.break_by(error.into_observation());
                }
            });
        }
    }

    async fn watch_middlebox(
        self: &Rc<Self>,
        middlebox: &Middlebox,
        forgets: Duration,
    ) -> Result<(), LabError> {
        let namespace = self.network.middlebox(&middlebox.name)?;
        let mut known: HashMap<SocketAddr, Known> = HashMap::new();
        loop {
            let now = Instant::now();
            let entries = conntrack::list(namespace)?;
            let mut next: HashMap<SocketAddr, Known> = HashMap::new();
            for entry in entries {
                let known = Known {
                    to: entry.to,
                    established: entry.established,
                    until: now + entry.left,
                };
                next.insert(entry.from, known);
            }
            // What is no more is forgotten if it was established and its time has come; else it was closed, or all state was lost.
            let mut forgotten: Vec<(SocketAddr, SocketAddr)> = known
                .into_iter()
                .filter(|(from, before)| {
                    before.established && before.until <= now && !next.contains_key(from)
                })
                .map(|(from, before)| (from, before.to))
                .collect();
            forgotten.sort_unstable();
            self.forget(middlebox, &forgotten);
            known = next;
            let soonest = known.values().filter(|known| known.established);
            let soonest = soonest.map(|known| known.until).min();
            // One that is opened meanwhile must have been seen before it is forgotten.
            let longest = forgets / 2;
            let wait = soonest.map_or(longest, |until| until.saturating_duration_since(now));
            sleep(wait.clamp(STEP, longest)).await;
        }
    }

    /// Records what a middlebox has forgotten, and lets the faults happen that this is.
    fn forget(self: &Rc<Self>, middlebox: &Middlebox, all: &[(SocketAddr, SocketAddr)]) {
        for (from, to) in all {
            self.recorder.emit(Observation::Forgotten {
                middlebox: middlebox.name.clone(),
                from: *from,
                to: *to,
            });
        }
        for client in &self.plan.clients {
            if !all.iter().any(|(from, _)| self.is_of(from, client)) {
                continue;
            }
            let mut faults = self.plan.faults.iter().enumerate();
            let next = faults.find(|(index, fault)| match &fault.trigger {
                Trigger::Forgotten {
                    middlebox: name,
                    client: of,
                    ..
                } => *name == middlebox.name && *of == client.name && !self.has_happened(*index),
                Trigger::At(_) | Trigger::Phase { .. } => false,
            });
            if let Some((index, _)) = next {
                self.inject(index);
            }
        }
    }

    /// Whether a connection that comes from there can be a client's.
    fn is_of(&self, from: &SocketAddr, client: &Client) -> bool {
        let is_at = |place: &Place| {
            let own: Option<[IpAddr; 2]> = self.plan.addresses(place);
            own.is_some_and(|own| own.contains(&from.ip()))
        };
        let masked = self.plan.node(&client.node);
        let masked = masked.filter(|node| node.masquerade);
        is_at(&client.place) || masked.is_some_and(|node| is_at(&Place::Node(node.name.clone())))
    }
}
