//! `halfopen profiles`.

use serde_json::{Map, Value, json};

use super::stdout::say;
use super::{Exit, screen};
use crate::preset::{self, Knob, Preset};
use crate::report::Sheet;

pub(super) fn profiles(name: Option<&str>, json: bool) -> Exit {
    let chosen: &[Preset] = match name {
        None => preset::presets(),
        Some(name) => match preset::find(name) {
            Some(preset) => std::slice::from_ref(preset),
            None => return unknown(name),
        },
    };
    if json {
        let all: Vec<Value> = chosen.iter().map(as_json).collect();
        return match serde_json::to_string_pretty(&all) {
            Ok(text) => say(&text, Exit::Held),
            Err(error) => Exit::broken(&format!("failed to write the presets: {error}")),
        };
    }
    let columns = screen::width_of_stdout();
    let width = columns.unwrap_or(screen::COLUMNS);
    let text = match (name, chosen) {
        (Some(_), [preset]) => whole(preset, width),
        _ => table_of(chosen, width),
    };
    say(&screen::folded(&text, columns), Exit::Held)
}

fn unknown(name: &str) -> Exit {
    let mut text = format!("no preset named `{name}`");
    if let Some(help) = preset::nearest(name) {
        text += &format!("; {help}");
    }
    Exit::usage(&text)
}

/// One line a preset, with the knobs that are on.
fn table_of(presets: &[Preset], columns: usize) -> String {
    let mut sheet =
        Sheet::new(["profile", "library and version, and the knobs that are on"]).plain();
    for preset in presets {
        let on = preset.knobs.iter().filter(|knob| !knob.is_off());
        let knobs: Vec<String> = on.map(in_short).collect();
        let about = format!(
            "{}, version {}\n{}",
            preset.library,
            preset.version,
            knobs.join("; ")
        );
        sheet.row([preset.name, &about]);
    }
    format!(
        "{}\n\n`halfopen profiles NAME` gives the source of every number.",
        sheet.within(columns)
    )
}

fn in_short(knob: &Knob) -> String {
    match knob.name {
        "protocol" => knob.text.clone(),
        name => format!("{name} {}", knob.text),
    }
}

/// Everything of one preset.
fn whole(preset: &Preset, columns: usize) -> String {
    let mut sheet = Sheet::new(["knob", "value", "source"]).plain();
    for knob in &preset.knobs {
        let source = match &knob.origin {
            Some(origin) if origin.preset == preset.name => origin.source.clone(),
            Some(origin) => format!("{} (as in {})", origin.source, origin.preset),
            None => "-".to_owned(),
        };
        sheet.row([knob.name.to_owned(), knob.text.clone(), source]);
    }
    let base = preset.base.as_ref();
    let base = base.map_or(String::new(), |base| format!("\nbegins from {base}"));
    format!(
        "{}: {}\nlibrary {}, version {}{base}\n\n{}",
        preset.name,
        preset.about,
        preset.library,
        preset.version,
        sheet.within(columns)
    )
}

fn as_json(preset: &Preset) -> Value {
    let knobs: Map<String, Value> = preset
        .knobs
        .iter()
        .map(|knob| {
            let origin = knob.origin.as_ref();
            let about = json!({
                "value": knob.value,
                "source": origin.map(|origin| &origin.source),
                "preset": origin.map(|origin| &origin.preset),
            });
            (knob.name.to_owned(), about)
        })
        .collect();
    json!({
        "name": preset.name,
        "about": preset.about,
        "library": preset.library,
        "version": preset.version,
        "base": preset.base,
        "knobs": knobs,
    })
}
