//! What the model knows no prediction for: faults other than a loss of power that lasts and a path that heals, and clients of
//! another rhythm.

use std::time::Duration;

use super::healed;
use super::predict::predict;
use super::rhythm::Seen;
use super::side_by_side;
use super::standing;
use super::streams;
use crate::plan::{Client, Effect, Fault, LabPlan, Prediction, Proxy, Service};

/// More than a client takes to send what it has to send.
const SENDING: Duration = Duration::from_secs(1);

/// What will become of `client` when the plan's faults fire; `None` where the model does not know.
///
/// It knows of nodes that lose their power and stay without, and of one fault alone that heals. Everything else that happens to the client meanwhile would
/// change what comes after it, and a window that leaves it out would be wrong. And it knows of clients that ask, are
/// answered and pause: a program's own timeouts nobody knows beforehand.
#[must_use]
pub fn foresee(client: &Client, plan: &LabPlan) -> Option<Prediction> {
    let reads = streams::reads(client, plan);
    let at_once = side_by_side::asks(client);
    if plan.faults.is_empty() || (client.workloads.cycle().is_none() && !reads && !at_once) {
        return None;
    }
    // Whether it keeps a connection, and how long it takes to answer, is the program's own affair.
    if plan
        .servers_of(client)
        .any(|server| server.program.is_some())
    {
        return None;
    }
    let name = client.target.service.as_ref();
    let mut services = plan.services.iter();
    if services.any(|service| Some(&service.name) == name && is_open(service)) {
        return None;
    }
    if let Some(fault) = healing(client, plan) {
        if reads || at_once {
            return None;
        }
        return healed::predict(client, plan, fault, &Seen::default());
    }
    let harmless = |fault: &Fault| is_known(fault) || !concerns(fault, client, plan);
    plan.faults
        .iter()
        .all(harmless)
        .then(|| standing::with(predict(client, plan), client, plan))
}

/// The one fault that concerns a client, if it is one that heals and nothing else happens to it.
pub(super) fn healing<'a>(client: &Client, plan: &'a LabPlan) -> Option<&'a Fault> {
    let mut all = plan.faults.iter();
    let fault = all.find(|fault| concerns(fault, client, plan))?;
    let alone = !all.any(|fault| concerns(fault, client, plan));
    (alone && healed::heals(fault)).then_some(fault)
}

/// Whether a fault may change anything for a client.
pub(super) fn concerns(fault: &Fault, client: &Client, plan: &LabPlan) -> bool {
    let mut effects = fault.effects.iter();
    let any =
        effects.any(|effect| may_concern(effect, client) && !sends_in_time(effect, client, plan));
    any && !healed::spares(fault, client, plan)
}

/// Whether a middlebox has no time to forget a client's connections, since something is sent on them more often.
fn sends_in_time(effect: &Effect, client: &Client, plan: &LabPlan) -> bool {
    let Effect::LoseState {
        middlebox,
        idle_of: Some(_),
    } = effect
    else {
        return false;
    };
    let known = plan.middleboxes.iter().find(|m| m.name == *middlebox);
    let idle = known.and_then(|middlebox| middlebox.idle_timeout);
    let most = client.workloads.longest_pause() + plan.slowest(client) + plan.round_trip();
    client.program().is_none() && idle.is_none_or(|idle| most + SENDING < idle)
}

/// Whether nobody can tell what becomes of a service's connections, or which endpoint gets a new one: where its address moves or
/// programs set its rules, and where endpoints stay that are chosen by no dice.
fn is_open(service: &Service) -> bool {
    service.proxy.moves()
        || service.proxy == Proxy::Programs
        || (!service.throws_dice() && service.removal.is_none())
}

/// Whether a fault is a loss of power that lasts, and nothing else.
fn is_known(fault: &Fault) -> bool {
    fault.lasts.is_none() && only_loses_power(fault).is_some()
}

/// The node that loses its power by a fault, if that is all that it does.
pub(super) fn only_loses_power(fault: &Fault) -> Option<&str> {
    let dead = fault.dead_node()?;
    let only = fault.effects.iter().all(|effect| match effect {
        Effect::Silence { node, .. } | Effect::Stop { node } => node == dead,
        Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::Rules { .. }
        | Effect::Forget { .. }
        | Effect::Destroy { .. }
        | Effect::LoseState { .. } => false,
    });
    only.then_some(dead)
}

/// Whether an effect may change anything for a client: of those that name whom they strike, only if it is this one.
fn may_concern(effect: &Effect, client: &Client) -> bool {
    match effect {
        Effect::Forget { service, .. } | Effect::Rules { service, .. } => {
            client.target.service.as_ref() == Some(service)
        }
        Effect::Destroy { client: name, .. }
        | Effect::LoseState {
            idle_of: Some(name),
            ..
        } => *name == client.name,
        Effect::Silence { .. }
        | Effect::Stop { .. }
        | Effect::Restore { .. }
        | Effect::Kill { .. }
        | Effect::Hang { .. }
        | Effect::Carrier { .. }
        | Effect::Drop { .. }
        | Effect::Delay { .. }
        | Effect::Answer { .. }
        | Effect::LoseState { idle_of: None, .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Case, Prediction};
    use crate::scenario::{PlanOptions, parse};

    const LOSS: &str = "{ at: 10s, fault: { power_loss: { node: n1 } } }";
    const POLL: &str = "poll: { every: 3s }";

    /// Clients of a scenario that a prediction is made for; `a` does `work`, and `b` polls.
    fn predicted(work: &str, faults: &str) -> Vec<String> {
        let predictions = case(work, faults).predictions;
        predictions.into_iter().map(|p| p.client).collect()
    }

    fn case(work: &str, faults: &str) -> Case {
        let text = format!(
            "name: t\nduration: 1h\nnodes: [n1, n2, n3]\n\
             servers:\n  s1: {{ node: n1 }}\n  s2: {{ node: n2 }}\n\
             service:\n  one: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1 }}\n\
             \x20 two: {{ address: '192.168.255.2:80', endpoints: [s1, s2], pin_first: s1 }}\n\
             clients:\n  a: {{ node: n3, url: 'http://one/', profile: java, workload: {{ {work} }} }}\n\
             \x20 b: {{ node: n3, url: 'http://two/', profile: java, workload: {{ {POLL} }} }}\n\
             {faults}"
        );
        let mut cases = parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario");
        cases.remove(0)
    }

    /// The same, with a fault beside a loss of power.
    fn foreseen(fault: &str) -> Vec<String> {
        let faults = format!("faults: [{LOSS}, {{ at: 50s, fault: {fault} }}]\n");
        predicted(POLL, &faults)
    }

    /// What is foretold of a client whose service has these fields, and one of two endpoints on the node that dies.
    fn of_service(fields: &str) -> Option<Prediction> {
        let text = format!(
            "name: t\nduration: 20m\nnodes: [n1, n2, n3]\n\
             servers:\n  s1: {{ node: n1, host_network: true }}\n  s2: {{ node: n2, host_network: true }}\n\
             service:\n  one: {{ address: '192.168.255.1:80', endpoints: [s1, s2], {fields} }}\n\
             clients:\n  a: {{ node: n3, url: 'http://one/', profile: bare, workload: {{ poll: {{ every: 1s, timeout: 3s }} }} }}\n\
             faults: [{LOSS}]\n"
        );
        let cases = parse("t.yaml", &text, &PlanOptions::default());
        let lab = cases.expect("a right scenario").remove(0).lab;
        super::foresee(&lab.clients[0], &lab)
    }

    #[test]
    fn only_dice_are_foretold_as_such() {
        let rules = of_service("proxy: iptables, pin_first: s1").expect("a prediction");
        assert!(!rules.odds.is_empty());
        assert_eq!(
            of_service("proxy: nftables, pin_first: s1"),
            Some(rules.clone())
        );
        for fields in [
            "proxy: ipvs, pin_first: s1",
            "affinity: { client_ip: 1m }, pin_first: s1",
        ] {
            let other = of_service(fields).expect("a prediction");
            assert_eq!(
                (other.detection, other.cause),
                (rules.detection, rules.cause)
            );
            assert!(
                other.odds.is_empty() && other.quantiles.is_empty(),
                "{fields}"
            );
            // At the latest after a dial that began just before the endpoint left.
            let (latest, of_dice) = (other.recovery, rules.recovery);
            assert!(latest.map(|w| w.max) >= of_dice.map(|w| w.max), "{fields}");
            assert_eq!(
                of_service(&format!("{fields}, removal: off")),
                None,
                "{fields}"
            );
        }
        assert_eq!(of_service("proxy: vip"), None);
    }

    #[test]
    fn a_fault_leaves_alone_whom_it_does_not_name() {
        assert_eq!(foreseen("{ conntrack_deleted: { service: two } }"), ["a"]);
        assert_eq!(foreseen("{ socket_destroyed: { client: a } }"), ["b"]);
        assert_eq!(foreseen("{ power_loss: { node: n2 } }"), ["a", "b"]);
        assert!(foreseen("{ loss: { node: n3, percent: 5 } }").is_empty());
    }

    #[test]
    fn a_rhythm_a_response_that_goes_on_and_a_loss_of_power_that_lasts_are_foreseen() {
        let loss = format!("faults: [{LOSS}]\n");
        assert_eq!(predicted(POLL, &loss), ["a", "b"]);
        assert_eq!(predicted("watch: { push: 2s }", &loss), ["a", "b"]);
        let mut without = case(POLL, &loss).lab;
        without.faults.clear();
        assert_eq!(super::foresee(&without.clients[0], &without), None);
        let healed = LOSS.replace("at: 10s", "at: 10s, for: 10s");
        let faults = |more: &str| format!("faults: [{healed}{more}]\n");
        assert_eq!(predicted(POLL, &faults("")), ["a", "b"]);
        // What is read meanwhile comes when the path is well, and nobody looks.
        assert_eq!(predicted("watch: { push: 2s }", &faults("")), ["b"]);
        // One after the other, or one that lasts besides.
        let again = format!(", {}", healed.replace("at: 10s", "at: 50s"));
        assert!(predicted(POLL, &faults(&again)).is_empty());
        let lasting = format!(", {}", LOSS.replace("at: 10s", "at: 50s"));
        assert!(predicted(POLL, &faults(&lasting)).is_empty());
    }
}
