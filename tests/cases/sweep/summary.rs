//! What a sweep came to, and that it would have noticed a wrong model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::Model;
use super::{EXACT, Kind, SEED, Swept};

/// Of all series that a wrong model judges, so many must show it, in percent: one that gives up at the same timer by chance
/// does not.
const SHOWN: usize = 50;

pub(crate) struct Summary {
    kernels: Vec<Value>,
    kinds: Vec<Value>,
    causes: BTreeMap<String, usize>,
    exact: usize,
    worst: Duration,
    controls: Vec<Control>,
}

/// A model that is wrong in one thing.
struct Control {
    name: &'static str,
    judged: usize,
    wrong: usize,
}

pub(crate) fn of(all: &[(String, Vec<Swept>)]) -> Summary {
    let each = || all.iter().flat_map(|(_, swept)| swept);
    let errors: Vec<_> = each()
        .filter_map(|one| one.error(&Model::right(one.hz)))
        .collect();
    let mut causes = BTreeMap::new();
    for one in each() {
        let cause = one
            .judged
            .cause
            .map_or_else(|| "none".to_owned(), |cause| cause.to_string());
        *causes.entry(cause.to_owned()).or_default() += 1;
    }
    let kernels = all
        .iter()
        .map(|(kernel, swept)| json!({ "kernel": kernel, "cases": swept.len() }));
    let kinds = Kind::ALL.map(|kind| {
        let of_kind = || each().filter(|one| one.drawn.kind == kind);
        let mut widths: Vec<_> = of_kind().filter_map(|one| one.judged.width).collect();
        widths.sort_by(f64::total_cmp);
        json!({
            "kind": kind.name(),
            "cases": of_kind().count(),
            "predicted": widths.len(),
            "median_window_s": widths.get(widths.len() / 2),
        })
    });
    Summary {
        kernels: kernels.collect(),
        kinds: kinds.to_vec(),
        causes,
        exact: errors.len(),
        worst: errors.into_iter().max().unwrap_or_default(),
        controls: controls(all),
    }
}

/// What is wrong with a model.
type Change = fn(Model) -> Model;

fn controls(all: &[(String, Vec<Swept>)]) -> Vec<Control> {
    let wrong: [(&str, Change); 5] = [
        ("HZ=1000 instead of 250", |m| Model { hz: 1000, ..m }),
        ("HZ=100 instead of 250", |m| Model { hz: 100, ..m }),
        ("one retry more", |m| Model {
            more_retries: 1,
            ..m
        }),
        ("one retry less", |m| Model {
            more_retries: -1,
            ..m
        }),
        ("the tail loss probe counted", |m| Model {
            counts_the_probe: true,
            ..m
        }),
    ];
    let control = |(name, change): (&'static str, Change)| {
        let each = all.iter().flat_map(|(_, swept)| swept).filter(|one| {
            let series = one.judged.series.as_ref();
            series.is_some_and(|series| match name {
                // Retries do not count where a user timeout does.
                "one retry more" | "one retry less" => series.user_timeout.is_none(),
                "the tail loss probe counted" => series.has_probe(),
                _ => true,
            })
        });
        let errors: Vec<_> = each
            .filter_map(|one| one.error(&change(Model::right(one.hz))))
            .collect();
        Control {
            name,
            judged: errors.len(),
            wrong: errors.into_iter().filter(|error| *error > EXACT).count(),
        }
    };
    wrong.map(control).into()
}

impl Summary {
    /// The same measurements, judged by a model that is wrong in one thing, must not pass.
    pub(crate) fn controls_fail(&self) {
        for Control {
            name,
            judged,
            wrong,
        } in &self.controls
        {
            assert!(
                *judged >= 10 && wrong * 100 >= judged * SHOWN,
                "{name}: {wrong} of {judged} series show it"
            );
        }
    }

    pub(crate) fn write(&self, file: &Path) {
        let controls = self.controls.iter().map(|control| {
            json!({ "model": control.name, "series": control.judged, "wrong": control.wrong })
        });
        let text = json!({
            "seed": SEED,
            "kernels": self.kernels,
            "outside": 0,
            "kinds": self.kinds,
            "causes": self.causes,
            "series": self.exact,
            "worst_error_us": self.worst.as_micros(),
            "controls": controls.collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&text).expect("JSON");
        fs::write(file, text + "\n").expect("written");
    }
}
