//! The records that other tests read are those of today's program.
//!
//! They are of the virtual clock; this makes them anew: `UPDATE_RECORDS=1 cargo test --test cases records::`

use std::fs;
use std::time::Duration;

use halfopen::verdict::judge;

use crate::command::{kernel_or_skip, repository, run};
use crate::stored::{events, path};

/// Each record, and the scenario that it is of.
const RECORDS: [(&str, &str); 8] = [
    ("a1", "scenarios/incidents/a1-leader-election-h2.yaml"),
    ("a2", "scenarios/incidents/a2-leader-election-h1.yaml"),
    ("a4", "scenarios/incidents/a4-httptest-h1.yaml"),
    ("d2", "scenarios/incidents/d2-accept-queue.yaml"),
    ("other-faults", "fixtures/scenarios/other-faults.yaml"),
    ("quickstart", "scenarios/quickstart.yaml"),
    ("causes", "fixtures/scenarios/causes.yaml"),
    ("timers", "fixtures/scenarios/timers.yaml"),
];

/// On the virtual clock nothing takes time but what waits.
const UNEXPLAINED: Duration = Duration::from_millis(1);

/// What the records say holds of today's program: the same causes, within their windows, and explained.
#[test]
fn records_are_those_of_their_scenarios() {
    if kernel_or_skip().is_none() {
        return;
    }
    for (name, scenario) in RECORDS {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().to_str().expect("UTF-8");
        let scenario = repository(scenario);
        let scenario = scenario.to_str().expect("UTF-8");
        let outcome = run(["run", scenario, "--clock", "virtual", "--record", kept]);
        outcome.assert(0, &["1 passed"]);
        let made = fs::read_dir(folder.path())
            .expect("a folder")
            .filter_map(Result::ok);
        let made = made
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "ndjson"))
            .expect("a record");
        if std::env::var_os("UPDATE_RECORDS").is_some() {
            // Where this checkout lies is nobody's business.
            let here = format!("{}/", env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(&made).expect("text").replace(&here, "");
            assert!(text.len() < 200_000, "{name}: {} bytes", text.len());
            fs::write(path(name), text).expect("written");
        }
        let (now, kept) = (judge(&events(&made)), judge(&events(&path(name))));
        for (now, kept) in now.clients.iter().zip(&kept.clients) {
            let who = format!("{name}/{}", now.name);
            assert_eq!(now.cause, kept.cause, "{who}");
            assert!(
                now.unexplained.is_none_or(|time| time <= UNEXPLAINED),
                "{who}: {now:#?}"
            );
        }
    }
}
