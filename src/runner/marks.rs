//! What happened in a case, as comments for the packets where it happened.

use std::time::Duration;

use crate::plan::{Case, Place};
use crate::record::{Event, Observation};
use crate::result::ClientResult;
use crate::verdict::CaseResult;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// When, in nanoseconds from the case's start.
    pub(super) at_ns: u64,
    /// What.
    pub(super) text: String,
    /// Links where it should be seen, if they are watched.
    pub(super) links: Vec<String>,
}

/// What `events` and the case's `result` tell, in order of time.
pub(super) fn marks(events: &[Event], result: &CaseResult) -> Vec<Mark> {
    let case = events.iter().find_map(|event| match &event.what {
        Observation::CaseStarted { case, .. } => Some(case.as_ref()),
        _ => None,
    });
    let mut marks: Vec<Mark> = events
        .iter()
        .filter_map(|event| {
            Some(Mark {
                at_ns: event.t_ns,
                text: said_by(&event.what, result)?,
                links: Vec::new(),
            })
        })
        .collect();
    for client in &result.clients {
        marks.extend(of_client(client, case));
    }
    marks.sort_by_key(|mark| mark.at_ns);
    for mark in &mut marks {
        let at = Duration::from_nanos(mark.at_ns).as_secs_f64();
        mark.text.insert_str(0, &format!("{at:.6} s: "));
    }
    marks
}

fn said_by(what: &Observation, result: &CaseResult) -> Option<String> {
    match what {
        Observation::FaultInjected { fault, .. } => {
            let fault = result.faults.get(*fault)?;
            Some(format!("fault: {} of {}", fault.kind, fault.target))
        }
        Observation::EndpointRemoved {
            service,
            endpoint,
            node,
        } => {
            let on = node
                .as_ref()
                .map_or(String::new(), |node| format!(" on {node}"));
            Some(format!(
                "endpoint removal: {endpoint} has left the rules of {service}{on}"
            ))
        }
        Observation::ClientGone { client } => {
            Some(format!("client {client} is gone with its node"))
        }
        Observation::RigError { text, .. } => Some(format!("the rig broke: {text}")),
        _ => None,
    }
}

/// When a client gave up the dead connection, and when it was well again.
fn of_client(client: &ClientResult, case: Option<&Case>) -> Vec<Mark> {
    let Some(fault) = client.fault_at else {
        return Vec::new();
    };
    let links = links_of(&client.name, case);
    let mark = |after: Duration, text: String| Mark {
        at_ns: u64::try_from((fault + after).as_nanos()).unwrap_or(u64::MAX),
        text,
        links: links.clone(),
    };
    let detected = client.detected_after.map(|after| {
        let cause = client.cause.map(|cause| format!(": {cause}"));
        let text = format!(
            "detection: {} has given up the dead connection after {:.3} s{}",
            client.name,
            after.as_secs_f64(),
            cause.unwrap_or_default()
        );
        mark(after, text)
    });
    let recovered = client.recovered_after.map(|after| {
        let text = format!(
            "recovery: {} has its first response from a live endpoint after {:.3} s",
            client.name,
            after.as_secs_f64()
        );
        mark(after, text)
    });
    detected.into_iter().chain(recovered).collect()
}

/// The client's own link, and its node's uplink.
fn links_of(client: &str, case: Option<&Case>) -> Vec<String> {
    let client = case.and_then(|case| case.lab.clients.iter().find(|c| c.name == client));
    let Some(client) = client else {
        return Vec::new();
    };
    let mut links = vec![client.node.clone()];
    if let Place::Pod(pod) = &client.place {
        links.push(pod.clone());
    }
    links
}
