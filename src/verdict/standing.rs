//! What others say a client is: the holder of a lock, or a node that is ready.
//!
//! Who leads is the lock's store's to say. A candidate only believes it, and acts on that until its renew deadline; two
//! leaders there are when one believes it while the store names another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::index::{Index, Leadership};
use super::timeline::Moment;

/// What others say of a client, in times from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Until the lock's store named it as the holder, or a program said so of itself; zero if that was so at the fault.
    pub leads_after: Option<Duration>,
    /// Until there were two leaders, of which it was one; zero if that was before the fault.
    pub two_leaders_after: Option<Duration>,
    /// Until the servers judged its node not ready; zero if it was not ready at the fault.
    pub not_ready_after: Option<Duration>,
    /// Until they judged it ready again for good.
    pub ready_again_after: Option<Duration>,
}

/// What others say of a client.
pub(super) fn of(client: &str, index: &Index, fault: Moment) -> Standing {
    let (not_ready, ready_again) = readiness(client, index, fault);
    let after = |at: Moment| at.since(fault);
    Standing {
        leads_after: leads(client, index, fault).map(after),
        two_leaders_after: two_leaders(client, index).map(after),
        not_ready_after: not_ready.map(after),
        ready_again_after: ready_again.map(after),
    }
}

fn leads(client: &str, index: &Index, fault: Moment) -> Option<Moment> {
    let mut clients = index.case.lab.clients.iter();
    let is_program = clients.any(|c| c.name == client && c.program().is_some());
    let mut led_at_fault = false;
    for (at, what) in &index.leadership {
        let leads = match what {
            Leadership::Holder { holder, .. } if !is_program => *holder == Some(client),
            // Where a program's lock is, nobody here knows: it says itself whether it leads.
            Leadership::Belief {
                client: named,
                leads,
            } if is_program && *named == client => *leads,
            Leadership::Holder { .. } | Leadership::Belief { .. } | Leadership::Gone { .. } => {
                continue;
            }
        };
        match (*at > fault, leads) {
            (false, _) => led_at_fault = leads,
            (true, _) if led_at_fault => break,
            (true, true) => return Some(*at),
            (true, false) => {}
        }
    }
    led_at_fault.then_some(fault)
}

/// The first moment at which one of two believed to lead while the store of its lock named the other.
fn two_leaders(client: &str, index: &Index) -> Option<Moment> {
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    let mut believers: BTreeSet<&str> = BTreeSet::new();
    for (at, what) in &index.leadership {
        match *what {
            Leadership::Holder { store, holder } => match holder {
                Some(holder) => drop(holders.insert(store, holder)),
                None => drop(holders.remove(store)),
            },
            Leadership::Belief {
                client,
                leads: true,
            } => drop(believers.insert(client)),
            Leadership::Belief {
                client,
                leads: false,
            }
            | Leadership::Gone { client } => drop(believers.remove(client)),
        }
        let both = believers.iter().any(|believer| {
            let named = stores_of(believer, index).find_map(|store| holders.get(store));
            named.is_some_and(|holder| {
                holder != believer && (*holder == client || *believer == client)
            })
        });
        if both {
            return Some(*at);
        }
    }
    None
}

/// The stores behind the servers that a client asks.
fn stores_of<'a>(client: &str, index: &Index<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let lab = &index.case.lab;
    let client = lab.client(client).into_iter();
    let servers = client.flat_map(|client| &client.target.servers);
    let servers = servers.filter_map(|name| lab.server(name));
    servers.map(|server| server.store.as_str())
}

/// When a client's node was first judged not ready, and when ready again for good.
fn readiness(client: &str, index: &Index, fault: Moment) -> (Option<Moment>, Option<Moment>) {
    let judged = index.client(client).map_or(&[][..], |of| &of.ready);
    let (mut not_ready, mut ready_again) = (None, None);
    for (at, ready) in judged {
        let at = (*at).max(fault);
        match ready {
            false => {
                not_ready = not_ready.or(Some(at));
                ready_again = None;
            }
            // What was over before the fault says nothing of it.
            true if at == fault => not_ready = None,
            true => ready_again = ready_again.or(not_ready.map(|_| at)),
        }
    }
    (not_ready, ready_again)
}
