//! What will become of a client.

use std::time::Duration;

use super::situation::{Dials, Situation};
use crate::plan::{Cause, Client, Fault, LabPlan, Prediction, Service, Window};

/// What will become of `client` when the plan's faults fire. Times count from the fault that takes its server.
#[must_use]
pub fn predict(client: &Client, plan: &LabPlan) -> Prediction {
    let nothing = |cause| Prediction {
        client: client.name.clone(),
        detection: None,
        recovery: None,
        cause,
    };
    if loss_of(&client.node, plan).is_some() {
        return nothing(Cause::Unknown);
    }
    let Some(hit) = Hit::of(client, plan) else {
        return nothing(Cause::Never);
    };
    let situation = Situation::of(client, plan, hit.fault);
    let detection = situation.detection();
    let window = detection.map(|(window, _)| window);
    let recovery = situation.recovery(window, &hit.dials);
    if hit.certain {
        return Prediction {
            detection: window,
            recovery,
            ..nothing(detection.map_or(Cause::Never, |(_, cause)| cause))
        };
    }
    // It may as well be connected to a server that lives on, or have no connection at all at the time.
    let cause = if situation.reuses() {
        Cause::Unknown
    } else {
        Cause::Never
    };
    Prediction {
        recovery: recovery.map(|r| Window {
            min: Duration::ZERO,
            ..r
        }),
        ..nothing(cause)
    }
}

/// The fault that takes a client's server, and what is left to dial.
struct Hit<'a> {
    fault: &'a Fault,
    /// Whether the client's connection goes to a server that dies, not only perhaps.
    certain: bool,
    dials: Dials<'a>,
}

impl<'a> Hit<'a> {
    /// `None` where the client keeps its server.
    fn of(client: &Client, plan: &'a LabPlan) -> Option<Self> {
        let loss = |server: &str| {
            let server = plan.servers.iter().find(|s| s.name == server)?;
            loss_of(&server.node, plan)
        };
        let servers = &client.target.servers;
        let losses: Vec<&Fault> = servers.iter().filter_map(|s| loss(s)).collect();
        let first: &Fault = losses.first()?;
        let service = client.target.service.as_ref();
        let service: Option<&Service> =
            service.and_then(|name| plan.services.iter().find(|s| s.name == *name));
        let pinned = service.and_then(|s| s.pin_first.as_deref());
        let (fault, certain) = match pinned {
            // The pin holds for the first connections only.
            Some(pinned) if Situation::of(client, plan, first).reuses() => (loss(pinned)?, true),
            _ => (first, losses.len() == servers.len()),
        };
        Some(Self {
            fault,
            certain,
            dials: Dials {
                service,
                live: servers.len() - losses.len(),
                all: servers.len(),
            },
        })
    }
}

/// The fault that takes a node.
fn loss_of<'a>(node: &str, plan: &'a LabPlan) -> Option<&'a Fault> {
    plan.faults.iter().find(|fault| fault.kind.target() == node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlanOptions, cases};
    use crate::scenario::{parse, render};

    /// Prediction for the one client of a scenario of two nodes and a service; `client` are the client's own lines.
    fn predicted(server: &str, client: &str, fault: &str) -> Prediction {
        let text = format!(
            "name: t\nduration: 20h\nnodes: [n1, n2, n3]\n\
             servers:\n  s1: {{ node: n1 {server} }}\n  s2: {{ node: n2 }}\n\
             service:\n  web: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1 }}\n\
             clients:\n  c: {{ node: n3, {client} }}\n\
             faults:\n  - {{ {fault}, fault: {{ power_loss: {{ node: n1 }} }} }}\n"
        );
        let loaded =
            parse("t.yaml", &text).unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
        let mut cases = cases(&loaded, &PlanOptions::default())
            .unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
        cases.remove(0).predictions.remove(0)
    }

    fn client(profile: &str, more: &str) -> String {
        format!(
            "url: 'http://web/', profile: {profile}, workload: {{ poll: {{ every: 3s }} }} {more}"
        )
    }

    fn seconds(window: Option<Window>) -> Option<(f64, f64)> {
        window.map(|w| (w.min.as_secs_f64(), w.max.as_secs_f64()))
    }

    #[test]
    fn without_any_limit_the_kernel_rules() {
        let p = predicted("", &client("java", ""), "at: 10s");
        assert_eq!(p.cause, Cause::RetransmissionTimeout);
        let (min, max) = seconds(p.detection).expect("a window");
        assert!(
            (924.0..926.0).contains(&min) && max < 924.8 + 122.88 + 3.0 + 0.7,
            "{min} to {max}"
        );
        // After 40 s the rules no longer name the dead endpoint: one pause, then service.
        let (recovered, _) = seconds(p.recovery).expect("a window");
        assert!((recovered - min - 3.0).abs() < 0.01);
    }

    #[test]
    fn a_request_timeout_closes_an_http1_connection_only() {
        let timeout = "transport: { request_timeout: 10s }";
        let h1 = predicted("", &client("go-http1", &format!(", {timeout}")), "at: 10s");
        assert_eq!(
            (h1.cause, seconds(h1.detection)),
            (Cause::RequestTimeout, Some((10.0, 13.0)))
        );
        let h2 = predicted("", &client("go-http2", &format!(", {timeout}")), "at: 10s");
        assert_eq!(h2.cause, Cause::RetransmissionTimeout);
    }

    #[test]
    fn a_dial_may_meet_the_dead_endpoint_until_it_is_removed() {
        let p = predicted(
            "",
            &client("go-http1", ", transport: { request_timeout: 10s }"),
            "at: 10s",
        );
        let (min, max) = seconds(p.recovery).expect("a window");
        // The timeout and the pause; or 40 s, one dial of 10 s, and the pause.
        assert!(
            (10.0..13.1).contains(&min) && (53.0..54.0).contains(&max),
            "{min} to {max}"
        );
    }

    #[test]
    fn a_ping_is_counted_from_the_last_frame() {
        let p = predicted("", &client("client-go", ""), "at: 60s");
        assert_eq!(
            (p.cause, seconds(p.detection)),
            (Cause::PingTimeout, Some((42.0, 45.0)))
        );
    }

    #[test]
    fn while_it_waits_for_a_response_keepalive_rules_or_nothing_does() {
        let when = "when: { client: c, phase: waiting_for_response }";
        let slow = ", response_delay: 2s";
        let go = predicted(slow, &client("go-http1", ""), when);
        assert_eq!(go.cause, Cause::Keepalive);
        let (min, max) = seconds(go.detection).expect("a window");
        assert!(
            (163.0..=165.0).contains(&min) && max > 165.0 && max < 175.0,
            "{min} to {max}"
        );
        let java = predicted(slow, &client("java", ""), when);
        assert_eq!(
            (java.cause, java.detection, java.recovery),
            (Cause::Never, None, None)
        );
    }

    #[test]
    fn a_stream_that_times_out_while_waiting_starts_the_retransmissions() {
        let when = "when: { client: c, phase: waiting_for_response }";
        let p = predicted(
            ", response_delay: 2s",
            &client("java", ", transport: { request_timeout: 10s }"),
            when,
        );
        assert_eq!(p.cause, Cause::RetransmissionTimeout);
        let (min, _) = seconds(p.detection).expect("a window");
        assert!((932.0..936.0).contains(&min), "{min}");
    }

    #[test]
    fn unacknowledged_data_puts_keepalive_aside() {
        let when = "when: { client: c, phase: request_unacknowledged }";
        let p = predicted("", &client("node-http", ""), when);
        assert_eq!(p.cause, Cause::RetransmissionTimeout);
    }

    #[test]
    fn a_user_timeout_takes_the_place_of_retries() {
        let p = predicted("", &client("reqwest", ""), "at: 10s");
        assert_eq!(p.cause, Cause::UserTimeout);
        let (min, max) = seconds(p.detection).expect("a window");
        assert!(min >= 30.0 && max < 38.0, "{min} to {max}");
    }

    #[test]
    fn a_pool_that_closes_idle_connections_has_none_to_lose() {
        let p = predicted(
            "",
            &client("bare", ", transport: { idle_timeout: 1s }"),
            "at: 10s",
        );
        assert_eq!((p.cause, p.detection), (Cause::Never, None));
        assert!(p.recovery.is_some());
    }

    #[test]
    fn a_client_of_a_server_that_lives_is_not_affected() {
        let p = predicted(
            "",
            "url: 'http://s2/', profile: java, workload: { poll: { every: 3s } }",
            "at: 10s",
        );
        assert_eq!(
            (p.cause, p.detection, p.recovery),
            (Cause::Never, None, None)
        );
    }

    #[test]
    fn with_nobody_else_to_answer_there_is_no_recovery() {
        let p = predicted(
            "",
            "url: 'http://s1/', profile: java, workload: { poll: { every: 3s } }",
            "at: 10s",
        );
        assert!(p.detection.is_some());
        assert_eq!(p.recovery, None);
    }
}
