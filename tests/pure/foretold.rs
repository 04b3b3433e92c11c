//! What the timeout model says of the sweeps' first cases, to the millisecond: no line of it may change that without somebody
//! looking at it. (That it is right, the sweeps show, which run these cases on the kernel.)

use std::fmt::Write as _;
use std::time::Duration;

use halfopen::plan::{Cause, Client, LabPlan, Phase, Prediction, Trigger, Window};
use halfopen::scenario::{PlanOptions, parse};
use halfopen::timeout_model::{
    Kernel, Seen, foresee_outages, killed_by_loss, longest_blip, longest_blip_by_kernel, predict,
    predict_seen,
};

use crate::generate::{Dice, Drawn, draw, draw_at_once, draw_healing, draw_reading, draw_sequence};

/// Cases of each sweep.
const FIRST: usize = 50;
/// The sweeps' own.
const SEED: u64 = 2026;

type Draw = fn(&mut Dice, usize, bool) -> Drawn;

#[test]
fn of_faults_that_last() {
    is_what_it_was("lasting", draw);
}

#[test]
fn of_faults_that_heal() {
    is_what_it_was("healing", draw_healing);
}

#[test]
fn of_responses_that_go_on() {
    is_what_it_was("reading", draw_reading);
}

#[test]
fn of_things_done_at_once() {
    is_what_it_was("at-once", draw_at_once);
}

#[test]
fn of_faults_one_after_the_other() {
    is_what_it_was("sequences", draw_sequence);
}

fn is_what_it_was(name: &str, draw: Draw) {
    let mut dice = Dice::new(SEED);
    let told: String = (0..FIRST)
        .map(|number| told(&draw(&mut dice, number, true)))
        .collect();
    insta::assert_snapshot!(format!("foretold-{name}"), told);
}

/// All that is said of a case.
fn told(drawn: &Drawn) -> String {
    let cases = parse(&drawn.name, &drawn.yaml, &PlanOptions::default());
    let Ok([case]) = cases.as_deref() else {
        return format!("{}: {}\n", drawn.name, drawn.kind.name());
    };
    let plan = &case.lab;
    let mut text = format!("{}: {}\n", drawn.name, drawn.kind.name());
    let mut line = |what: &str, said: &str| {
        let _ = writeln!(text, "  {what}: {said}");
    };
    for client in &plan.clients {
        line("beforehand", &prediction(&predict(client, plan)));
        for seen in moments() {
            let said = prediction(&predict_seen(client, plan, &seen));
            line(&format!("{:?} {:?}", seen.phase, seen.since), &said);
        }
        for outage in foresee_outages(client, plan) {
            line(
                &format!("fault {}", outage.fault),
                &prediction(&outage.prediction),
            );
        }
        line("silences", &silences(client, plan));
    }
    text
}

/// What a record may say of the moment of a fault.
fn moments() -> Vec<Seen> {
    let kernel = Kernel::of("7.3.4", Some(250));
    let phases = [
        (Phase::Idle, 700),
        (Phase::RequestUnacknowledged, 20),
        (Phase::WaitingForResponse, 150),
        (Phase::Streaming, 900),
        (Phase::Connecting, 10),
    ];
    let each = phases.into_iter().flat_map(|(phase, since)| {
        [None, Some(Duration::from_millis(since))].map(|since| Seen {
            kernel,
            phase: Some(phase),
            since,
        })
    });
    each.collect()
}

/// The longest that a healthy connection survives, and how likely loss ends it.
fn silences(client: &Client, plan: &LabPlan) -> String {
    let kernel = Kernel::of("7.3.4", Some(250));
    let mut told = Vec::new();
    for phase in [
        Phase::Idle,
        Phase::RequestUnacknowledged,
        Phase::WaitingForResponse,
    ] {
        let mut fault = plan.faults[0].clone();
        fault.trigger = Trigger::Phase {
            client: client.name.clone(),
            phase,
            after: Duration::from_secs(20),
        };
        let mut own = plan.clone();
        own.faults = vec![fault.clone()];
        told.push(window(longest_blip(client, &own, &fault, phase, kernel)));
        let lost = killed_by_loss(
            client,
            &own,
            &fault,
            (&[5.0, 20.0], Duration::from_secs(600)),
            kernel,
        );
        told.extend(lost.map(|of| format!("{:.5} {:.5}", of[0], of[1])));
    }
    told.push(window(Some(longest_blip_by_kernel(client, plan, kernel))));
    told.join(", ")
}

fn prediction(of: &Prediction) -> String {
    let mut text = format!(
        "{:?} {} {}",
        of.cause,
        window(of.detection),
        window(of.recovery)
    );
    if of.unaffected {
        text.push_str(" unaffected");
    }
    if let Some(within) = of.relapses_within {
        let _ = write!(text, " relapses within {within:.3?}");
    }
    if of.cause == Cause::Unknown && text.ends_with("- -") {
        return String::from("open");
    }
    for odds in of.odds.iter().take(4) {
        let _ = write!(
            text,
            "; {} dead {:.4} {}",
            odds.dead_dials,
            odds.probability,
            window(Some(odds.recovery))
        );
    }
    for quantile in &of.quantiles {
        let _ = write!(
            text,
            "; {} by {}",
            quantile.share,
            window(Some(quantile.time))
        );
    }
    for (what, by) in of.standing.iter() {
        let _ = write!(text, "; {what} {}", window(Some(by)));
    }
    text
}

fn window(window: Option<Window>) -> String {
    window.map_or_else(
        || String::from("-"),
        |window| {
            let (min, max) = (window.min.as_secs_f64(), window.max.as_secs_f64());
            format!("{min:.3}..{max:.3}")
        },
    )
}
