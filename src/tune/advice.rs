//! Which setting to take, in a sentence that a person can act on.

use std::time::Duration;

use super::result::{By, Point};
use super::setting::AS_IT_IS;
use super::tuner::Options;
use crate::plan::units::{exact, measured};

/// What is advised.
pub(super) struct Advice {
    /// Settings that hold what is asked for, the cheapest first, by their place.
    pub(super) answers: Vec<usize>,
    pub(super) sentence: String,
}

/// Other settings that are named beside the first.
const BESIDES: usize = 1;

/// What follows from a client's points.
pub(super) fn of(points: &[Point], options: &Options) -> Advice {
    let holds = |point: &Point| {
        let held = options.holds(point.recovery_worst, point.survives);
        held && point.by != By::Model && point.unmeasured.is_none()
    };
    // What holds whatever chance says comes before what held in every run.
    let by_luck = |point: &Point| {
        point
            .recovery_bound
            .is_some_and(|bound| bound > options.recover_within)
    };
    let mut answers: Vec<usize> = (0..points.len()).filter(|at| holds(&points[*at])).collect();
    match options.survive_blip {
        // What is asked for is held by all of them.
        Some(_) => answers.sort_by_key(|at| (by_luck(&points[*at]), price(&points[*at]))),
        None => answers.sort_by_key(|at| {
            let point = &points[*at];
            (
                by_luck(point),
                std::cmp::Reverse(point.survives),
                price(point),
            )
        }),
    }
    let sentence = sentence(points, &answers, options);
    Advice { answers, sentence }
}

/// What a setting costs: packets on an idle connection, connections that loss kills, those of others, and knobs to set. What was not
/// put to loss comes after all that was.
fn price(point: &Point) -> (bool, u64, u32, bool, usize) {
    let killed = point
        .killed
        .iter()
        .map(|killed| killed.share.happened)
        .sum();
    let packets = point.packets_per_hour.unwrap_or(0);
    (
        point.killed.is_empty(),
        packets,
        killed,
        point.shared,
        point.set.len(),
    )
}

fn sentence(points: &[Point], answers: &[usize], options: &Options) -> String {
    let within = exact(options.recover_within);
    let asked = match options.survive_blip {
        Some(blip) => format!(
            "For recovery within {within} and a blip of {} survived",
            exact(blip)
        ),
        None => format!("For recovery within {within}"),
    };
    let Some(first) = answers.first().map(|at| &points[*at]) else {
        return nothing(points, options);
    };
    let merit = match options.survive_blip {
        Some(_) => "is the cheapest: it recovers within",
        None => "survives the longest blip",
    };
    let mut text = match options.survive_blip {
        Some(_) => format!(
            "{asked}, {} {merit} {}, and survives {}{}.",
            first.setting,
            recovery(first),
            blip(first),
            cost(first)
        ),
        None => format!(
            "{asked}, {} {merit} ({}; recovers within {}){}.",
            first.setting,
            blip(first),
            recovery(first),
            cost(first)
        ),
    };
    let others = answers.iter().skip(1).map(|at| &points[*at]);
    let others =
        others.filter(|other| other.set.first().map(|s| &s.0) != first.set.first().map(|s| &s.0));
    for other in others.take(BESIDES) {
        text += &format!(
            " {} also holds it ({} and {}){}.",
            other.setting,
            recovery(other),
            blip(other),
            cost(other)
        );
    }
    text
}

/// Where nothing that was tried holds it.
fn nothing(points: &[Point], options: &Options) -> String {
    let within = exact(options.recover_within);
    let run = |point: &&Point| point.by != By::Model && point.unmeasured.is_none();
    let quickest = points
        .iter()
        .filter(run)
        .find(|point| point.recovery_worst.is_some());
    let Some(quickest) = quickest else {
        return format!("Nothing that was tried recovers at all, let alone within {within}.");
    };
    let quick = quickest
        .recovery_worst
        .is_some_and(|time| time <= options.recover_within);
    let mut text = match (quick, options.survive_blip) {
        (true, Some(asked)) => {
            let survivors = points.iter().filter(run).filter(|point| {
                point
                    .recovery_worst
                    .is_some_and(|time| time <= options.recover_within)
            });
            let longest = survivors.max_by_key(|point| point.survives);
            let longest = longest.map(|point| format!("{} ({})", point.setting, blip(point)));
            return format!(
                "Nothing that was tried recovers within {within} and survives a blip of {}; of those that recover in time {} survives the \
                 longest.",
                exact(asked),
                longest.unwrap_or_default()
            );
        }
        (_, _) => format!(
            "Nothing that was tried recovers within {within} whenever the power is lost; the quickest is {} ({}), which survives {}.",
            quickest.setting,
            recovery(quickest),
            blip(quickest)
        ),
    };
    let as_it_is = points
        .iter()
        .find(|point| point.setting == AS_IT_IS)
        .and_then(|p| p.recovery_worst);
    if let Some(now) = as_it_is {
        text += &format!(" As it is, it is {}.", measured(now));
    }
    text
}

fn recovery(point: &Point) -> String {
    let Some(worst) = point.recovery_worst else {
        return String::from("never");
    };
    match point.recovery_bound {
        // A model's window is a little wider than what was seen.
        Some(bound) if bound > worst + worst / 4 => format!(
            "{} in the slowest of its runs, {} at most by the model",
            measured(worst),
            measured(bound)
        ),
        Some(_) | None => measured(worst),
    }
}

fn blip(point: &Point) -> String {
    let at_least = if point.survives_at_least {
        "at least "
    } else {
        ""
    };
    format!(
        "{at_least}{}",
        exact(Duration::from_secs(point.survives.as_secs()))
    )
}

/// What speaks against it.
fn cost(point: &Point) -> String {
    let mut costs = Vec::new();
    if point.shared {
        costs.push(String::from(
            "but it counts for every connection of the pod",
        ));
    }
    let killed = point.killed.iter().find(|killed| killed.share.happened > 0);
    if let Some(killed) = killed {
        costs.push(format!(
            "{} % loss for ten minutes ended the healthy connection in {} of {} runs",
            killed.percent, killed.share.happened, killed.share.runs
        ));
    }
    match costs.as_slice() {
        [] => String::new(),
        some => format!(", {}", some.join(", and ")),
    }
}
