//! A case as it stands in YAML.

use std::fmt::Write as _;

use super::Knobs;

impl Knobs {
    pub(super) fn yaml(&self, name: &str) -> String {
        let mut text = format!("name: {name}\n");
        if let Some(duration) = self.duration {
            let _ = writeln!(text, "duration: {duration}s");
        }
        if let Some(rtt) = self.rtt {
            let _ = writeln!(text, "rtt: {rtt}ms");
        }
        let nodes: Vec<_> = (0..self.others).map(|n| format!(", o{n}")).collect();
        let _ = writeln!(text, "nodes: [n1, n2{}]", nodes.concat());
        let _ = writeln!(text, "sysctls: {{ {} }}", self.sysctls.join(", "));
        let tls = if self.tls { ", tls: true" } else { "" };
        let server = &self.server;
        let _ = writeln!(text, "servers:\n  s: {{ node: n2{server}{tls} }}");
        for n in 0..self.others {
            let _ = writeln!(text, "  s{n}: {{ node: o{n}{server}{tls} }}");
        }
        let hosts = self.services(&mut text);
        let scheme = if self.tls { "https" } else { "http" };
        text.push_str("clients:\n");
        let poll = || format!("workload: {{ poll: {{ every: {}ms }} }}", self.every);
        let work = self.work.clone().unwrap_or_else(poll);
        for (client, host) in ["c", "d"].iter().zip(hosts) {
            let place = if self.host_network {
                ", host_network: true"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  {client}: {{ node: n1{place}, url: '{scheme}://{host}/', profile: {}, transport: {{ {} }}, start: {}ms, {work} }}",
                self.profile,
                self.transport.join(", "),
                self.start,
            );
        }
        let dead = if self.neighbour_dead {
            ", neighbour: dead"
        } else {
            ""
        };
        let fault = match &self.loss {
            Some(place) => format!("fault: {{ loss: {{ {place}, percent: 100 }} }}"),
            None => format!("fault: {{ power_loss: {{ node: n2{dead} }} }}"),
        };
        let lasts = self.lasts.map(|ms| format!(", for: {ms}ms"));
        let lasts = lasts.unwrap_or_default();
        text.push_str("faults:\n");
        let own = format!("{}{lasts}, {fault}", self.fault);
        let none = self.faults.is_empty().then_some(&own);
        for fault in self.faults.iter().chain(none) {
            let _ = writeln!(text, "  - {{ {fault} }}");
        }
        text
    }

    /// Writes the services, and gives what clients ask.
    fn services(&self, text: &mut String) -> Vec<&'static str> {
        if self.others == 0 {
            return vec![if self.ipv6 {
                "[fd00:192:168:2::2]"
            } else {
                "s"
            }];
        }
        let names: &[&str] = if self.two { &["web", "api"] } else { &["web"] };
        let all: Vec<_> = (0..self.others).map(|n| format!(", s{n}")).collect();
        let port = if self.tls { 443 } else { 80 };
        let removal = self.removal.map_or("off".to_owned(), |s| format!("{s}s"));
        let pin = if self.pinned { ", pin_first: s" } else { "" };
        let readiness = self.readiness.map(|s| format!(", readiness: {s}s"));
        let readiness = readiness.unwrap_or_default();
        text.push_str("service:\n");
        for (n, name) in names.iter().enumerate() {
            let _ = writeln!(
                text,
                "  {name}: {{ address: '192.168.255.{}:{port}', endpoints: [s{}]{pin}, removal: {removal}{readiness} }}",
                n + 1,
                all.concat(),
            );
        }
        names.to_vec()
    }
}
