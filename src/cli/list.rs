//! `halfopen list`.

use std::path::PathBuf;

use super::check::warn;
use super::division::Division;
use super::stdout::say;
use super::{Exit, run, screen};
use crate::plan::shard::Shard;
use crate::plan::units::{between, exact};
use crate::plan::{Case, Cause, Client, LabPlan, Phase, Prediction, Trigger, Window, word};
use crate::printable::printable_lines;
use crate::report::Sheet;
use crate::result::{PredictedQuantileResult, not_for_good};
use crate::timeout_model::{ForeseenOutage, foresee_outages};

pub(super) fn list(paths: &[PathBuf], filter: Option<&str>, shard: Shard, json: bool) -> Exit {
    let cases = match run::cases(paths, filter, 0) {
        Ok(cases) => cases,
        Err(exit) => return exit,
    };
    let division = Division::of(cases, shard);
    let told = division.told();
    let cases: Vec<Case> = division.own.into_iter().map(|one| one.case).collect();
    if json {
        return match serde_json::to_string_pretty(&cases) {
            Ok(text) => say(&text, Exit::Held),
            Err(error) => Exit::broken(&format!("failed to write the plans: {error}")),
        };
    }
    warn(&cases);
    let cases = without_repetitions(cases);
    let columns = screen::width_of_stdout();
    let width = columns.unwrap_or(screen::COLUMNS);
    let mut lines: Vec<_> = cases.iter().map(|case| describe(case, width)).collect();
    lines.push(told.unwrap_or_else(|| {
        let s = if cases.len() == 1 { "" } else { "s" };
        format!("{} case{s}", cases.len())
    }));
    let text = printable_lines(&lines.join("\n")).into_owned();
    say(&screen::folded(&text, columns), Exit::Held)
}

/// The first of each case's repetitions: they are one case, as a run counts them, and differ in chance only.
fn without_repetitions(mut cases: Vec<Case>) -> Vec<Case> {
    cases.dedup_by(|one, before| match (&one.repetition, &before.repetition) {
        (Some(own), Some(other)) => one.scenario == before.scenario && own.case == other.case,
        _ => false,
    });
    cases
}

/// A case with the model's predictions, for people.
fn describe(case: &Case, columns: usize) -> String {
    let phases = case.lab.clients.iter();
    let phases: Vec<_> = phases
        .map(|client| phase(&case.lab, &client.name))
        .collect();
    // Few scenarios ask for a phase, and the column is missed where there is little room.
    let asked = phases.iter().any(Option::is_some);
    let at_the_fault = asked.then_some("at the fault");
    let header = ["client", "profile"].into_iter().chain(at_the_fault);
    let predicted = ["predicted cause", "detected after", "recovered after"];
    let mut sheet = Sheet::new(header.chain(predicted)).plain();
    let mut notes = Vec::new();
    for (client, phase) in case.lab.clients.iter().zip(phases) {
        let prediction = case.predictions.iter().find(|p| p.client == client.name);
        let profile = match client.program() {
            Some(program) => format!(
                "exec {}",
                program.exec.command.first().map_or("", String::as_str)
            ),
            None => client.profile.clone(),
        };
        let phase = asked.then(|| phase.unwrap_or_else(|| "-".to_owned()));
        let predicted = [
            cause(client, &case.lab, prediction),
            window(prediction, |p| p.detection),
            match prediction.and_then(|p| p.relapses_within) {
                Some(within) => not_for_good(within),
                None => window(prediction, |p| p.recovery),
            },
        ];
        let own = [client.name.clone(), profile].into_iter().chain(phase);
        sheet.row(own.chain(predicted));
        notes.extend(prediction.and_then(chances));
        notes.extend(prediction.and_then(standing));
        notes.extend(outages(client, &case.lab));
    }
    let rtt = case.lab.rtt.as_ref().map(|rtt| exact(rtt.time));
    let rtt = rtt.map_or(String::new(), |rtt| format!(", round trip {rtt}"));
    let notes: String = notes.iter().map(|note| format!("\n  {note}")).collect();
    let (name, times) = match &case.repetition {
        Some(repetition) => (&repetition.case, format!(" × {}", repetition.of)),
        None => (&case.name, String::new()),
    };
    format!(
        "{}/{name}{times}: {} s{rtt}\n{}{notes}\n",
        case.scenario,
        case.lab.duration.as_secs_f64(),
        indented(&sheet.within(columns.saturating_sub(INDENT)))
    )
}

/// Columns that a case's lines stand further in.
const INDENT: usize = 2;

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a client is doing when the first fault strikes, where that is asked for.
fn phase(plan: &LabPlan, client: &str) -> Option<String> {
    plan.faults.iter().find_map(|fault| match &fault.trigger {
        Trigger::Phase {
            client: name,
            phase,
            ..
        } if name == client => Some(name_of(*phase)),
        _ => None,
    })
}

fn name_of(phase: Phase) -> String {
    word(&phase).replace('_', " ")
}

/// What a client's wait will end by; `gone` if it dies itself.
fn cause(client: &Client, plan: &LabPlan, prediction: Option<&Prediction>) -> String {
    let mut faults = plan.faults.iter();
    match prediction {
        _ if faults.any(|fault| fault.ends(client)) => "gone".to_owned(),
        Some(prediction) if prediction.unaffected => "not affected".to_owned(),
        Some(prediction) => word(&prediction.cause),
        None => "-".to_owned(),
    }
}

/// A predicted window; `never` where the model says that it will not come, `-` where it says nothing.
fn window(prediction: Option<&Prediction>, part: impl Fn(&Prediction) -> Option<Window>) -> String {
    match prediction.map(|p| (part(p), p)) {
        Some((Some(window), _)) => between(window.min, window.max),
        Some((None, p)) if !p.unaffected && p.cause != Cause::Unknown => "never".to_owned(),
        _ => "-".to_owned(),
    }
}

/// What each of several faults does to a client that it strikes, a line each.
fn outages(client: &Client, plan: &LabPlan) -> impl Iterator<Item = String> {
    let dies = plan.faults.iter().any(|fault| fault.ends(client));
    let foreseen = foresee_outages(client, plan).into_iter();
    let says = |one: &ForeseenOutage| {
        let it = &one.prediction;
        it.unaffected || it.cause != Cause::Unknown || it.detection.or(it.recovery).is_some()
    };
    foreseen
        .filter(move |one| !dies && says(one))
        .map(|ForeseenOutage { fault, prediction }| {
            let called = plan.faults[fault].called();
            let told = match prediction.unaffected {
                true => String::from("not affected"),
                false => format!(
                    "{}; detected after {}, recovered after {}",
                    word(&prediction.cause),
                    window(Some(&prediction), |p| p.detection),
                    window(Some(&prediction), |p| p.recovery),
                ),
            };
            format!("{}: if {called} strikes it: {told}", client.name)
        })
}

/// What follows for others: when its node is judged not ready, when it leads.
fn standing(prediction: &Prediction) -> Option<String> {
    let said = prediction.standing.iter();
    let said: Vec<String> = said
        .map(|(what, window)| format!("{what} after {}", between(window.min, window.max)))
        .collect();
    (!said.is_empty()).then(|| format!("{}: {}", prediction.client, said.join("; ")))
}

/// Where chance sends dials to a dead endpoint: within which time a client has recovered with which probability.
fn chances(prediction: &Prediction) -> Option<String> {
    let mut sum = 0.0;
    let mut said = Vec::new();
    for odds in &prediction.odds {
        sum += odds.probability;
        // Rounded down: nobody is promised more than there is.
        let percent = (sum * 1000.0 + 1e-6).floor() / 10.0;
        let within = between(odds.recovery.min, odds.recovery.max);
        said.push(format!("{} dead: {within}, {percent} %", odds.dead_dials));
        if sum >= ENOUGH {
            break;
        }
    }
    let quantiles: Vec<PredictedQuantileResult> =
        prediction.quantiles.iter().map(Into::into).collect();
    (!said.is_empty()).then(|| {
        format!(
            "{}: chance sends dials to a dead endpoint; recovered {}; after as many dead dials, and probability of no \
             more:\n    {}",
            prediction.client,
            PredictedQuantileResult::words(&quantiles),
            said.join("\n    ")
        )
    })
}

/// Beyond this share of all runs nothing more is told.
const ENOUGH: f64 = 0.99;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{PlanOptions, parse};

    fn listed(more: &str) -> Vec<String> {
        let text = format!(
            "name: t\nduration: 1h\nnodes: [n1, n2, n3]\nservers: {{ s: {{ node: n3 }}, t: {{ node: n2 }} }}\n\
             clients:\n  a: {{ node: n1, url: 'http://s/', profile: java, workload: {{ poll: {{ every: 3s }} }} }}\n\
             \x20 b: {{ node: n3, url: 'http://s/', profile: java, workload: {{ poll: {{ every: 3s }} }} }}\n\
             \x20 c: {{ node: n1, url: 'http://t/', profile: java, workload: {{ poll: {{ every: 3s }} }} }}\n\
             faults:\n  - {{ at: 10s, fault: {{ power_loss: {{ node: n3 }} }} }}\n{more}"
        );
        let cases = parse("t.yaml", &text, &PlanOptions::default()).expect("a right scenario");
        let cases = without_repetitions(cases);
        cases.iter().map(|case| describe(case, 200)).collect()
    }

    fn row(listed: &str, client: &str) -> Vec<String> {
        let line = listed.lines().find(|l| l.trim_start().starts_with(client));
        let cells = line.unwrap_or_default().split("  ").map(str::trim);
        cells.filter(|c| !c.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn who_dies_is_gone_and_who_is_passed_by_is_not_affected() {
        let listed = listed("");
        assert_eq!(row(&listed[0], "b ")[2..], ["gone", "-", "-"]);
        assert_eq!(row(&listed[0], "c ")[2..], ["not affected", "-", "-"]);
        let cause = &row(&listed[0], "a ")[2];
        assert_eq!(cause, "retransmission_timeout");
    }

    #[test]
    fn a_repeated_case_is_listed_once() {
        let listed = listed("repeat: 20\n");
        assert_eq!(listed.len(), 1);
        assert!(
            listed[0].starts_with("t/default × 20: 3600 s"),
            "{listed:?}"
        );
    }
}
