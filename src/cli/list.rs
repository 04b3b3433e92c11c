//! `halfopen list`.

use std::path::PathBuf;

use comfy_table::{Table, presets};

use super::stdout::say;
use super::{Exit, run};
use crate::plan::{Case, Prediction, Window};
use crate::verdict::units::between;

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
    let mut lines: Vec<_> = cases.iter().map(describe).collect();
    lines.push(format!(
        "{} case{}",
        cases.len(),
        if cases.len() == 1 { "" } else { "s" }
    ));
    say(&lines.join("\n"), Exit::Held)
}

/// A case with the model's predictions, for people.
fn describe(case: &Case) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "  client",
        "profile",
        "predicted cause",
        "detected after",
        "recovered after",
    ]);
    for client in &case.lab.clients {
        let prediction = case.predictions.iter().find(|p| p.client == client.name);
        table.add_row([
            format!("  {}", client.name),
            match client.program() {
                Some(program) => format!(
                    "exec {}",
                    program.command.first().map_or("", String::as_str)
                ),
                None => client.profile.clone(),
            },
            prediction.map_or("-".to_owned(), |p| name(&p.cause)),
            window(prediction, |p| p.detection),
            window(prediction, |p| p.recovery),
        ]);
    }
    format!(
        "{}/{}: {} s\n{table}\n",
        case.scenario,
        case.name,
        case.lab.duration.as_secs_f64()
    )
}

fn window(prediction: Option<&Prediction>, part: impl Fn(&Prediction) -> Option<Window>) -> String {
    match prediction.and_then(part) {
        Some(window) => between(window.min, window.max),
        None => "-".to_owned(),
    }
}

/// An enum's name as it stands in YAML.
fn name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
