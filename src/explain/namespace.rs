//! The services' rules before and after, what conntrack still knew, and which counters moved.

use std::collections::BTreeSet;

use super::{Told, clock};
use crate::plan::Proxy;
use crate::record::{Flow, Observation, Stage};

/// What changed in the rules of the client's node, and the connections that outlived it.
pub(super) fn lines(told: &Told) -> Vec<String> {
    let mut lines = rules(told);
    if told.options.verbose {
        lines.extend(counters(told));
    }
    lines
}

fn rules(told: &Told) -> Vec<String> {
    let mut lines = Vec::new();
    let mut before: Option<BTreeSet<&String>> = None;
    for event in told.record {
        let Observation::Rules {
            node,
            stage,
            rules,
            flows,
        } = &event.what
        else {
            continue;
        };
        if *node != told.planned.node {
            continue;
        }
        let now: BTreeSet<_> = rules.iter().filter(|rule| !rule.starts_with('#')).collect();
        let after_removal = matches!(stage, Stage::EndpointRemoved(_));
        if let Some(before) = before
            .as_ref()
            .filter(|_| after_removal || told.options.verbose)
        {
            let gone = before.difference(&now).map(|rule| format!("- {rule}"));
            let come = now.difference(before).map(|rule| format!("+ {rule}"));
            let changed: Vec<_> = gone.chain(come).collect();
            if !changed.is_empty() {
                lines.push(format!(
                    "  {} rules on {node}, {}",
                    clock(event.at()),
                    name(stage)
                ));
                lines.extend(changed.into_iter().map(|rule| format!("      {rule}")));
            }
        } else if told.options.verbose && before.is_none() {
            lines.push(format!(
                "  {} rules on {node}, {}",
                clock(event.at()),
                name(stage)
            ));
            lines.extend(rules.iter().map(|rule| format!("        {rule}")));
        }
        if after_removal || told.options.verbose {
            let own = flows.iter().filter(|flow| own(told, flow));
            lines.extend(own.map(|flow| {
                format!(
                    "  {} {}: {}",
                    clock(event.at()),
                    who(told, flow),
                    shown(flow)
                )
            }));
        }
        before = Some(now);
    }
    lines
}

fn own(told: &Told, flow: &Flow) -> bool {
    let addresses = told.case.lab.addresses(&told.planned.place);
    addresses.is_some_and(|own| own.contains(&flow.from.ip()))
}

/// Who remembers a connection.
fn who(told: &Told, flow: &Flow) -> &'static str {
    let mut services = told.case.lab.services.iter();
    let service = services.find(|service| service.address == flow.to);
    match service.map(|service| service.proxy) {
        Some(Proxy::Ipvs) => "ip_vs",
        Some(Proxy::Iptables | Proxy::Nftables | Proxy::Vip | Proxy::Programs) | None => {
            "conntrack"
        }
    }
}

fn shown(flow: &Flow) -> String {
    let assured = if flow.assured { " ASSURED" } else { "" };
    format!(
        "{} -> {} is sent to {}, {}{assured}, forgotten in {} s",
        flow.from, flow.to, flow.endpoint, flow.state, flow.timeout_s
    )
}

fn counters(told: &Told) -> Vec<String> {
    let own = told.planned.place.name();
    let mut lines = Vec::new();
    for event in told.record {
        let Observation::Counters {
            place,
            stage,
            deltas,
        } = &event.what
        else {
            continue;
        };
        if place == own && !deltas.is_empty() {
            lines.push(format!(
                "  {} counters of {place}, {}",
                clock(event.at()),
                name(stage)
            ));
            let each = deltas
                .iter()
                .map(|(name, grown)| format!("      {name} +{grown}"));
            lines.extend(each);
        }
    }
    lines
}

fn name(stage: &Stage) -> String {
    match stage {
        Stage::Start => String::from("at the start"),
        Stage::Fault(_) => String::from("at the fault"),
        Stage::EndpointRemoved(endpoint) => format!("{endpoint} removed"),
        Stage::End => String::from("at the end"),
    }
}
