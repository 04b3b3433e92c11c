//! A case of three nodes: `s1` on node3, which loses its power at 12 s unless another fault is given, and `s2` on node2,
//! both behind the service `web`, whose first connections go to `s1`. Clients are on node1.

use std::time::Duration;

use halfopen::record::{Event, Observation};
use serde_json::Value;

use crate::command::{Run, kernel_or_skip};

/// What a case came to, and its record.
pub(crate) struct Played {
    pub(crate) run: Run,
    pub(crate) events: Vec<Event>,
}

/// A scenario to be.
pub(crate) struct Scenario {
    pub(crate) app: &'static str,
    pub(crate) duration: &'static str,
    pub(crate) fault: &'static str,
    /// Clients' own lines: name and fields.
    pub(crate) clients: Vec<(&'static str, String)>,
    /// More lines at the end.
    pub(crate) more: &'static str,
}

impl Scenario {
    pub(crate) fn new(duration: &'static str, clients: Vec<(&'static str, String)>) -> Self {
        Self {
            app: "echo",
            duration,
            fault: "at: 12s",
            clients,
            more: "",
        }
    }

    fn text(&self) -> String {
        let app = self.app;
        let mut text = format!(
            "name: t\nduration: {}\nnodes: [node1, node2, node3]\n\
             servers:\n  s1: {{ node: node3, app: {app} }}\n  s2: {{ node: node2, app: {app} }}\n\
             service:\n  web: {{ address: '192.168.255.1:80', endpoints: [s1, s2], pin_first: s1, removal: 1s }}\n\
             faults:\n  - {{ {}, fault: {{ power_loss: {{ node: node3 }} }} }}\nclients:\n",
            self.duration, self.fault
        );
        for (name, fields) in &self.clients {
            text.push_str(&format!("  {name}: {{ node: node1, {fields} }}\n"));
        }
        text.push_str(self.more);
        text
    }

    /// Plays it; `None` where there is no kernel for the virtual clock.
    pub(crate) fn play(&self, code: i32) -> Option<Played> {
        kernel_or_skip()?;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("t.yaml");
        std::fs::write(&file, self.text()).expect("written");
        let records = folder.path().join("records");
        let records_text = records.to_str().expect("UTF-8");
        let arguments = ["--clock", "virtual", "--record", records_text];
        let run = Run::of(&[&file], &arguments);
        run.outcome.assert(code, &[]);
        let record = std::fs::read_to_string(records.join("t--default.ndjson")).expect("a record");
        let events = record
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"));
        Some(Played {
            events: events.collect(),
            run,
        })
    }
}

impl Played {
    pub(crate) fn client(&self, name: &str) -> &Value {
        let clients = self.run.cases()[0]["clients"].as_array().expect("clients");
        let found = clients.iter().find(|client| client["name"] == name);
        found.unwrap_or_else(|| panic!("no client {name}"))
    }

    pub(crate) fn workload(&self, client: &str, name: &str) -> &Value {
        let all = self.client(client)["workloads"].as_array().expect("a list");
        let found = all.iter().find(|workload| workload["name"] == name);
        found.unwrap_or_else(|| panic!("{client} has no workload {name}"))
    }

    /// When something was observed.
    pub(crate) fn times(&self, wanted: impl Fn(&Observation) -> bool) -> Vec<Duration> {
        let found = self.events.iter().filter(|event| wanted(&event.what));
        found.map(Event::at).collect()
    }

    /// How many requests of a client servers had whose line begins so.
    pub(crate) fn served(&self, client: &str, line: &str) -> usize {
        let wanted = |what: &Observation| match what {
            Observation::ServerRequest {
                request: Some(request),
                line: found,
                ..
            } => request.client == client && found.starts_with(line),
            _ => false,
        };
        self.times(wanted).len()
    }

    /// The connections that a client opened.
    pub(crate) fn opened(&self, client: &str) -> usize {
        let wanted = |what: &Observation| matches!(what, Observation::ConnectionOpened { client: c, .. } if c == client);
        self.times(wanted).len()
    }
}

/// A client's fields: where it asks, its profile with more knobs, and what it does.
pub(crate) fn client(profile: &str, knobs: &str, work: &str) -> String {
    format!("url: 'http://web/', profile: {profile}, transport: {{ {knobs} }}, {work}")
}

/// A field in seconds.
#[track_caller]
pub(crate) fn seconds(of: &Value, field: &str) -> f64 {
    of[field]
        .as_f64()
        .unwrap_or_else(|| panic!("no {field} in {of:#}"))
}

/// Asserts that a field lies between two times in seconds.
#[track_caller]
pub(crate) fn within(of: &Value, field: &str, min: f64, max: f64) {
    let found = seconds(of, field);
    assert!(
        (min..=max).contains(&found),
        "{field} is {found}, not from {min} to {max}: {of:#}"
    );
}
