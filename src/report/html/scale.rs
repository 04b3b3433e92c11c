//! Where a time stands on a track, and tracks themselves: pictures that are stretched to the width there is, so that lines
//! keep their width and words beside them their size.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

/// The width of every track, in its own units.
pub(super) const WIDTH: f64 = 1000.0;
/// What is shorter is drawn so long, or nobody would see it.
const LEAST: f64 = 3.0;
/// Labels of an axis, at most: as many as a phone has room for.
const LABELS: f64 = 5.0;

/// A stretch of time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// Its beginning.
    pub(super) from: f64,
    /// Its end.
    pub(super) to: f64,
}

impl Scale {
    /// From a time to a later one.
    pub(super) fn new(from: Duration, to: Duration) -> Self {
        let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
        let to = if to > from { to } else { from + 0.001 };
        Self { from, to }
    }

    /// Where a time stands, within the track.
    pub(super) fn at(self, time: Duration) -> f64 {
        self.seconds(time.as_secs_f64())
    }

    fn seconds(self, seconds: f64) -> f64 {
        let share = (seconds - self.from) / (self.to - self.from);
        // Tenths of a unit are less than a pixel.
        (share.clamp(0.0, 1.0) * WIDTH * 10.0).round() / 10.0
    }

    /// Whether any of a stretch can be seen.
    pub(super) fn shows(self, from: Duration, to: Duration) -> bool {
        to.as_secs_f64() >= self.from && from.as_secs_f64() <= self.to
    }

    /// Round times within it, counted from `zero`, with their places in percent.
    pub(super) fn labels(self, zero: f64) -> Vec<(f64, String)> {
        let step = round_step((self.to - self.from) / LABELS);
        let mut labels = Vec::new();
        let first = ((self.from - zero) / step).ceil();
        for number in 0..=20 {
            let offset = (first + f64::from(number)) * step;
            let at = zero + offset;
            if at > self.to {
                break;
            }
            labels.push((self.seconds(at) / WIDTH * 100.0, seconds(offset, step)));
        }
        labels
    }
}

/// The round step (1, 2 or 5 of a power of ten; of minutes and more, minutes) that is no shorter than this.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// A time in seconds, with as many digits as the step has.
fn seconds(time: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 6.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 6"
    )]
    let digits = digits as usize;
    let sign = if time > step / 2.0 { "+" } else { "" };
    let time = if time.abs() < step / 2.0 { 0.0 } else { time };
    format!("{sign}{time:.digits$} s").replace('-', "−")
}

/// Rectangles of one kind, as one path: a page of a thousand cases has few elements.
#[derive(Default)]
pub(super) struct Marks(String);

impl Marks {
    /// A bar between two times.
    pub(super) fn bar(
        &mut self,
        scale: Scale,
        from: Duration,
        to: Duration,
        top: f64,
        height: f64,
    ) {
        if !scale.shows(from, to) {
            return;
        }
        let (x, end) = (scale.at(from), scale.at(to));
        let width = (end - x).max(LEAST);
        let x = x.min(WIDTH - width);
        let _ = write!(self.0, "M{x:.1} {top}h{width:.1}v{height}h-{width:.1}z");
    }

    /// A mark at a time, unless there is one at its place already.
    pub(super) fn tick(&mut self, scale: Scale, at: Duration, top: f64, height: f64) {
        if !scale.shows(at, at) {
            return;
        }
        let mark = format!("M{:.1} {top}v{height}", scale.at(at));
        if !self.0.ends_with(&mark) {
            self.0.push_str(&mark);
        }
    }

    /// The path; nothing if there is none.
    pub(super) fn path(&self, class: &str) -> Markup {
        html! { @if !self.0.is_empty() { path class=(class) d=(self.0) {} } }
    }
}

/// A track of a height, told by a sentence to who can't see it.
pub(super) fn track(height: f64, told: &str, content: Markup) -> Markup {
    html! {
        svg class="track" viewBox={ "0 0 " (WIDTH) " " (height) } preserveAspectRatio="none" role="img"
            style={ "--h:" (height) "px" } {
            title { (told) }
            (content)
        }
    }
}

/// An axis whose zero is a time, with round times.
pub(super) fn axis(scale: Scale, zero: f64) -> Markup {
    html! {
        svg class="axis" aria-hidden="true" {
            @for (place, label) in scale.labels(zero) {
                line x1={ (format!("{place:.2}")) "%" } x2={ (format!("{place:.2}")) "%" } y1="0" y2="4" {}
                text x={ (format!("{place:.2}")) "%" } y="15" text-anchor=(anchor(place)) { (label) }
            }
        }
    }
}

/// Words at the edges stay within.
pub(super) fn anchor(place: f64) -> &'static str {
    match place {
        ..6.0 => "start",
        94.0.. => "end",
        _ => "middle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: u64, to: u64, zero: f64) -> Vec<String> {
        let scale = Scale::new(Duration::from_millis(from), Duration::from_millis(to));
        scale
            .labels(zero)
            .into_iter()
            .map(|(_, label)| label)
            .collect()
    }

    #[test]
    fn an_axis_counts_from_its_zero_in_round_steps() {
        assert_eq!(
            labels(0, 1_000_000, 10.0),
            ["0 s", "+200 s", "+400 s", "+600 s", "+800 s"]
        );
        assert_eq!(
            labels(2_000, 4_000, 3.0),
            ["−1.0 s", "−0.5 s", "0.0 s", "+0.5 s", "+1.0 s"]
        );
        assert!(labels(5, 5, 0.0).len() < 10);
    }

    #[test]
    fn what_is_outside_is_not_drawn_and_what_is_short_is_seen() {
        let second = Duration::from_secs;
        let scale = Scale::new(second(10), second(20));
        let mut marks = Marks::default();
        marks.bar(scale, second(1), second(2), 0.0, 5.0);
        marks.tick(scale, second(30), 0.0, 5.0);
        assert_eq!(marks.0, "");
        marks.bar(scale, second(20), second(20), 0.0, 5.0);
        assert_eq!(marks.0, "M997.0 0h3.0v5h-3.0z");
    }
}
