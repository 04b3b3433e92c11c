//! `halfopen list`.

use std::path::PathBuf;

use comfy_table::{Table, presets};

use super::check::warn;
use super::stdout::say;
use super::{Exit, run};
use crate::plan::units::{between, exact};
use crate::plan::{Case, Cause, Client, LabPlan, Phase, Prediction, Trigger, Window, word};
use crate::printable::printable_lines;
use crate::report::trimmed;
use crate::result::{PredictedQuantileResult, not_for_good};

pub(super) fn list(paths: &[PathBuf], filter: Option<&str>, json: bool) -> Exit {
    let cases = match run::cases(paths, filter, 0) {
        Ok(cases) => cases,
        Err(exit) => return exit,
    };
    if json {
        return match serde_json::to_string_pretty(&cases) {
            Ok(text) => say(&text, Exit::Held),
            Err(error) => Exit::broken(&format!("failed to write the plans: {error}")),
        };
    }
    warn(&cases);
    let cases = without_repetitions(cases);
    let mut lines: Vec<_> = cases.iter().map(describe).collect();
    lines.push(format!(
        "{} case{}",
        cases.len(),
        if cases.len() == 1 { "" } else { "s" }
    ));
    say(&printable_lines(&lines.join("\n")), Exit::Held)
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
fn describe(case: &Case) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "  client",
        "profile",
        "at the fault",
        "predicted cause",
        "detected after",
        "recovered after",
    ]);
    let mut notes = Vec::new();
    for client in &case.lab.clients {
        let prediction = case.predictions.iter().find(|p| p.client == client.name);
        table.add_row([
            format!("  {}", client.name),
            match client.program() {
                Some(program) => format!(
                    "exec {}",
                    program.exec.command.first().map_or("", String::as_str)
                ),
                None => client.profile.clone(),
            },
            phase(&case.lab, &client.name),
            cause(client, &case.lab, prediction),
            window(prediction, |p| p.detection),
            match prediction.and_then(|p| p.relapses_within) {
                Some(within) => not_for_good(within),
                None => window(prediction, |p| p.recovery),
            },
        ]);
        notes.extend(prediction.and_then(chances));
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
        trimmed(&table)
    )
}

/// What a client is doing when the first fault strikes, where that is asked for.
fn phase(plan: &LabPlan, client: &str) -> String {
    let asked = plan.faults.iter().find_map(|fault| match &fault.trigger {
        Trigger::Phase {
            client: name,
            phase,
            ..
        } if name == client => Some(name_of(*phase)),
        _ => None,
    });
    asked.unwrap_or_else(|| "-".to_owned())
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
        without_repetitions(cases).iter().map(describe).collect()
    }

    fn row(listed: &str, client: &str) -> Vec<String> {
        let line = listed.lines().find(|l| l.trim_start().starts_with(client));
        let cells = line.unwrap_or_default().split("  ").map(str::trim);
        cells.filter(|c| !c.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn who_dies_is_gone_and_who_is_passed_by_is_not_affected() {
        let listed = listed("");
        assert_eq!(row(&listed[0], "b ")[3..], ["gone", "-", "-"]);
        assert_eq!(row(&listed[0], "c ")[3..], ["not affected", "-", "-"]);
        let cause = &row(&listed[0], "a ")[3];
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
