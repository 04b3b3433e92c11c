//! A rolling upgrade: nodes that lose their power and get it back, one after the other.

use std::time::Duration;

use super::fault::Found;
use crate::fault::power_loss::PowerLossSpec;
use crate::fault::{FaultKindSpec, Kind as _};
use crate::plan::{Fault, Trigger};
use crate::scenario::cx::Cx;
use crate::scenario::model::{FaultSpec, RollingSpec, Spanned};
use crate::yaml::{Problem, given};

/// A loss of power for each node.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    place: &Spanned<FaultSpec>,
    spec: &FaultSpec,
    field: &Spanned<RollingSpec>,
) -> Option<Vec<Found>> {
    only_at(cx, place, spec);
    let rolling = field.get()?;
    let nodes = rolling.nodes.get()?;
    if nodes.len() < 2 {
        let problem = Problem::new(
            rolling.nodes.span,
            "a rolling upgrade needs two nodes or more",
        );
        cx.push(problem.help("for one node write `fault: { power_loss: { node: … } }` with `for`"));
    }
    for (place, node) in nodes.iter().enumerate() {
        let before = nodes[..place].iter().find(|n| n.get() == node.get());
        if let (Some(word), Some(before)) = (node.get(), before) {
            let problem = Problem::new(node.span, format!("`{word}` is named twice"));
            cx.push(
                problem
                    .also(before.span, "first here")
                    .help("leave one out"),
            );
        }
    }
    let down = rolling.down.get()?.0;
    if down.is_zero() {
        let problem = Problem::new(rolling.down.span, "`down` must be greater than zero");
        cx.push(problem.help("write e.g. `60s`"));
    }
    let pause = given(&rolling.pause).map_or(Duration::ZERO, |pause| pause.0);
    let mut at = given(&spec.at)?.0;
    let mut all = Vec::new();
    for node in nodes {
        all.extend(one(cx, place, spec, node, (at, down)));
        at += down + pause;
    }
    let end = at - pause;
    if given(&cx.scenario.duration).is_some_and(|duration| end >= duration.0) {
        let message = format!(
            "the case ends before the last node has its power back, at {} s",
            end.as_secs_f64()
        );
        let problem = Problem::new(field.span, message);
        cx.push(problem.help("lengthen `duration`, or shorten `down` and `pause`"));
    }
    (all.len() == nodes.len()).then_some(all)
}

/// It has its own times.
fn only_at(cx: &mut Cx<'_>, place: &Spanned<FaultSpec>, spec: &FaultSpec) {
    if spec.at.is_none() && spec.when.is_none() {
        let problem = Problem::new(
            place.span,
            "this rolling upgrade does not say when it begins",
        );
        cx.push(problem.help("add `at: 10s`"));
    }
    let others = [
        ("when", spec.when.as_ref().map(|field| field.span)),
        ("for", spec.lasts.as_ref().map(|field| field.span)),
        ("jitter", spec.jitter.as_ref().map(|field| field.span)),
    ];
    for (name, span) in others {
        let Some(span) = span else { continue };
        let message = format!("a rolling upgrade has no `{name}`");
        let help = "it begins `at` a time; `down` and `pause` say the rest";
        cx.push(Problem::new(span, message).help(help));
    }
}

/// One node's turn.
fn one(
    cx: &mut Cx<'_>,
    place: &Spanned<FaultSpec>,
    spec: &FaultSpec,
    node: &Spanned<String>,
    (at, down): (Duration, Duration),
) -> Option<Found> {
    let loss = PowerLossSpec {
        node: node.clone(),
        neighbour: None,
    };
    let resolved = loss.resolve(node.span, cx)?;
    let named = given(&spec.name);
    Some(Found {
        fault: Fault {
            name: named.map(|name| format!("{name}-{}", resolved.target)),
            kind: FaultKindSpec::PowerLoss(loss).name().to_owned(),
            target: resolved.target,
            detail: resolved.detail,
            trigger: Trigger::At(at),
            effects: resolved.effects,
            lasts: Some(down),
            location: cx.locate(node.span),
        },
        whole: place.span,
        struck: resolved.span,
        earliest: at,
    })
}
