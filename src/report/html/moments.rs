//! The moments that a client's timeline is told by: a number each on the picture, and a line each below it.

use std::time::Duration;

use maud::{Markup, html};

use super::scale::Scale;
use super::text::line;
use crate::plan::units::measured;
use crate::result::{CaseResult, ClientResult, word};

/// Moments that are told; of more, those of endpoints are left out.
const TOLD: usize = 14;
/// Numbers nearer than this, in percent of the width, stand one above the other: a phone's track is 280 pixels wide.
const APART: f64 = 7.0;

/// Something that happened.
pub(super) struct Moment {
    /// When, from the case's start.
    pub(super) at: Duration,
    /// What kind: a class of the style sheet.
    pub(super) kind: Kind,
    text: String,
}

/// What kind of moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fault,
    Failure,
    Endpoint,
    Detection,
    Recovery,
    Other,
}

impl Kind {
    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Failure => "failure",
            Self::Endpoint => "endpoint",
            Self::Detection => "detection",
            Self::Recovery => "recovery",
            Self::Other => "other",
        }
    }
}

/// The moments of a client, in order of time.
pub(super) fn of(client: &ClientResult, result: &CaseResult) -> Vec<Moment> {
    let mut all = Vec::new();
    let mut add = |at: Option<Duration>, kind: Kind, text: String| {
        all.extend(at.map(|at| Moment { at, kind, text }));
    };
    if let Some(at) = client.last_good_at {
        add(Some(at), Kind::Other, String::from("last good response"));
    }
    for fault in &result.faults {
        let detail = fault.detail.iter().map(|detail| format!(", {detail}"));
        let detail = detail.collect::<String>();
        add(
            fault.at,
            Kind::Fault,
            format!("{} of {}{detail}", fault.kind, fault.target),
        );
        let over = format!("{} of {} is over", fault.kind, fault.target);
        add(fault.ends_at, Kind::Fault, over);
    }
    if let Some(failure) = client.first_failure {
        let text = match failure.sent_at {
            Some(sent) => format!(
                "the first request fails, {} after it was sent",
                measured(failure.failed_at.saturating_sub(sent))
            ),
            None => String::from("the first request fails: it had no connection"),
        };
        add(Some(failure.failed_at), Kind::Failure, text);
    }
    let after = |after: Option<Duration>| Some(client.fault_at? + after?);
    let cause = client.cause.map(|cause| format!(": {}", word(&cause)));
    add(
        after(client.detected_after),
        Kind::Detection,
        format!("gives up the dead connection{}", cause.unwrap_or_default()),
    );
    if client.unexplained.is_some() {
        let text = match client.first_until() {
            None => String::from("well again, and stays so"),
            Some(_) => String::from("well again, until another fault strikes"),
        };
        add(after(client.recovered_after), Kind::Recovery, text);
    }
    add(client.gone_at, Kind::Fault, String::from("it is gone"));
    let ended = client.program.as_ref();
    if let Some(program) = ended {
        let text = format!("its program {}", program.how());
        add(program.ended_at, Kind::Failure, text);
    }
    let endpoints = result.history.iter().flat_map(|h| &h.endpoints);
    let room = TOLD.saturating_sub(all.len());
    all.extend(endpoints.take(room).map(|moment| Moment {
        at: moment.at,
        kind: Kind::Endpoint,
        text: moment.text.clone(),
    }));
    all.sort_by_key(|moment| moment.at);
    all
}

/// Where each number stands: its place in percent, and how many stand below it.
fn places(all: &[Moment], scale: Scale) -> Vec<(f64, usize)> {
    let mut taken: Vec<f64> = Vec::new();
    let each = all.iter().map(|moment| {
        let at = scale.at(moment.at) / super::scale::WIDTH * 100.0;
        let free = taken.iter().position(|last| at - last >= APART);
        let level = free.unwrap_or(taken.len());
        match taken.get_mut(level) {
            Some(last) => *last = at,
            None => taken.push(at),
        }
        (at, level)
    });
    each.collect()
}

/// The numbers over the picture.
pub(super) fn numbers(all: &[Moment], scale: Scale) -> Markup {
    const ROW: usize = 18;
    let places = places(all, scale);
    let levels = places.iter().map(|(_, level)| level + 1).max().unwrap_or(1);
    html! {
        svg class="numbers" aria-hidden="true" style={ "--h:" (levels * ROW) "px" } {
            @for (number, (moment, (at, level))) in all.iter().zip(&places).enumerate() {
                @let y = (levels - 1 - level) * ROW + ROW / 2;
                // At the edges half of a circle would be cut off.
                @let x = format!("{:.2}%", at.clamp(1.0, 99.0));
                g class=(moment.kind.class()) {
                    line x1=(x) x2=(x) y1=(y) y2="100%" {}
                    circle cx=(x) cy=(y) r="8" {}
                    text x=(x) y=(y + 4) text-anchor="middle" { (number + 1) }
                }
            }
        }
    }
}

/// The same in words.
pub(super) fn list(all: &[Moment], zero: Option<Duration>) -> Markup {
    html! {
        ol class="moments" {
            @for moment in all {
                li class=(moment.kind.class()) {
                    span class="at" { (since(moment.at, zero)) }
                    span { (line(&moment.text)) }
                }
            }
        }
    }
}

/// A time from the fault, or from the case's start where there is none.
pub(super) fn since(at: Duration, zero: Option<Duration>) -> String {
    match zero {
        None => measured(at),
        Some(zero) if at >= zero => format!("+{}", measured(at - zero)),
        Some(zero) => format!("−{}", measured(zero - at)),
    }
}
