//! The scenarios that come with the program resolve into the cases their comments promise.

use std::path::Path;
use std::time::Duration;

use halfopen::plan::{Case, Cause, PlanOptions, cases};
use halfopen::scenario::{load, render};

fn cases_of(path: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let loaded = load(&path).unwrap_or_else(|errors| panic!("{}", render(&errors, false)));
    cases(&loaded, &PlanOptions::default())
        .unwrap_or_else(|errors| panic!("{}", render(&errors, false)))
}

#[test]
fn the_quickstart_ends_within_30_seconds() {
    let all = cases_of("scenarios/quickstart.yaml");
    let [case] = all.as_slice() else {
        panic!("one case, not {}", all.len());
    };
    assert!(
        case.lab.duration < Duration::from_secs(30),
        "{:?}",
        case.lab.duration
    );
    let causes: Vec<(&str, Cause)> = case
        .predictions
        .iter()
        .map(|p| (p.client.as_str(), p.cause))
        .collect();
    assert_eq!(
        causes,
        [
            ("h1-no-timeout", Cause::RetransmissionTimeout),
            ("h1-timeout", Cause::RequestTimeout),
            ("h2-timeout", Cause::RetransmissionTimeout),
            ("h2-ping", Cause::PingTimeout),
        ]
    );
    for p in &case.predictions {
        eprintln!("{p:?}");
    }
    eprintln!("{:?} {:?}", case.lab.duration, case.warnings);
}
