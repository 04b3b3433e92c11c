//! The picture of a tuning: recovery against the silence that is survived, on logarithmic axes, a panel a client.

use std::fmt::Write as _;
use std::time::Duration;

use crate::plan::units::exact;
use crate::tune::{By, ClientTuning, Point, Tuning};

const WIDTH: f64 = 1080.0;
const PANEL: f64 = 620.0;
/// Around the axes: left, right, top, bottom.
const MARGINS: [f64; 4] = [70.0, 310.0, 104.0, 56.0];
/// The longest time on an axis, in seconds; what never recovers stands at the right edge.
const MOST: f64 = 1200.0;
/// Where lines of the grid stand, in seconds.
pub(in crate::report) const TICKS: [f64; 11] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1200.0,
];

/// The least time on each axis, in seconds: as far as there is anything to show.
#[derive(Clone, Copy)]
pub(in crate::report) struct Axes {
    recovery: f64,
    survives: f64,
}

impl Axes {
    pub(in crate::report) fn of(tuning: &Tuning, client: &ClientTuning) -> Self {
        let least = |all: &mut dyn Iterator<Item = f64>| {
            let least = all.fold(MOST, f64::min);
            let below = TICKS.iter().rev().find(|tick| **tick < least);
            below.copied().unwrap_or(TICKS[0])
        };
        let recoveries = client.points.iter().filter_map(|point| point.compared);
        let recoveries = recoveries.chain([tuning.recover_within]);
        let survived = client.points.iter().map(|point| point.survives);
        let survived = survived.chain(tuning.survive_blip);
        Self {
            recovery: least(&mut recoveries.map(|time| time.as_secs_f64())),
            survives: least(&mut survived.map(|time| time.as_secs_f64())),
        }
    }

    /// Where a recovery stands on a picture of any width, from 0 to 1; what never comes stands at the right edge.
    pub(in crate::report) fn recovery(self, time: Option<Duration>) -> f64 {
        // Some room is left before the edge.
        time.map_or(0.985, |time| {
            0.93 * along(self.recovery, time.as_secs_f64())
        })
    }

    /// Where a silence that is survived stands, from 0 to 1.
    pub(in crate::report) fn survived(self, time: Duration) -> f64 {
        0.94 * along(self.survives, time.as_secs_f64())
    }

    /// Where a recovery stands; `None` = never.
    fn across(self, seconds: Option<f64>) -> f64 {
        let [left, right, _, _] = MARGINS;
        let width = WIDTH - right - left - 60.0;
        match seconds {
            Some(seconds) => left + width * along(self.recovery, seconds),
            None => WIDTH - right - 12.0,
        }
    }

    fn down(self, seconds: f64) -> f64 {
        let [_, _, top, bottom] = MARGINS;
        let height = PANEL - bottom - top;
        PANEL - bottom - height * along(self.survives, seconds)
    }

    fn place(self, point: &Point) -> (f64, f64) {
        let recovery = point.compared.map(|time| time.as_secs_f64());
        (
            self.across(recovery),
            self.down(point.survives.as_secs_f64()),
        )
    }
}

/// From 0 to 1, on a logarithmic axis that begins with `least`.
fn along(least: f64, seconds: f64) -> f64 {
    (seconds.clamp(least, MOST) / least).ln() / (MOST / least).ln()
}

/// The picture.
pub(crate) fn svg(tuning: &Tuning) -> String {
    let height = PANEL * tuning.clients.len().max(1) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, client) in tuning.clients.iter().enumerate() {
        let _ = writeln!(
            out,
            "<g transform=\"translate(0 {})\">",
            PANEL * number as f64
        );
        panel(&mut out, tuning, client);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, tuning: &Tuning, client: &ClientTuning) {
    let [left, right, top, bottom] = MARGINS;
    let (x1, y0) = (WIDTH - right, PANEL - bottom);
    let axes = Axes::of(tuning, client);
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"24\" font-size=\"15\">{}</text>",
        escaped(&format!("{}, {}", tuning.scenario, client.client))
    );
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"42\" fill=\"#555\">{}</text>",
        escaped(&format!(
            "{} settings on Linux {}; blue: on the front; filled: run; hollow: by the timeout model alone",
            client.points.len(),
            tuning.kernel.as_deref().unwrap_or("?")
        ))
    );
    for tick in TICKS {
        let (x, y) = (axes.across(Some(tick)), axes.down(tick));
        let label = label(tick);
        if tick >= axes.recovery {
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{y0}\" stroke=\"#eee\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                y0 + 16.0,
            );
        }
        if tick >= axes.survives {
            let _ = writeln!(
                out,
                "<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{x1}\" y2=\"{y:.1}\" stroke=\"#eee\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                y + 4.0,
            );
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">recovers from a loss of power, worst of its phases and of chance</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">never</text>\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">longest silence survived</text>",
        (left + x1) / 2.0,
        y0 + 36.0,
        axes.across(None),
        y0 + 16.0,
        (top + y0) / 2.0,
    );
    asked(out, tuning, axes, y0);
    // What is not on the front lies below, greyed and not hidden.
    let (on, off): (Vec<&Point>, Vec<&Point>) = client.points.iter().partition(|p| p.on_front);
    for point in off {
        dot(out, point, axes, "#bbb");
    }
    for point in &on {
        dot(out, point, axes, "#0a58ca");
    }
    labels(out, client, axes, x1);
    for (number, line) in wrapped(&client.sentence, 150).iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{left}\" y=\"{:.1}\" font-size=\"12\">{}</text>",
            62.0 + 15.0 * number as f64,
            escaped(line)
        );
    }
}

/// What is asked for, as a field.
fn asked(out: &mut String, tuning: &Tuning, axes: Axes, y0: f64) {
    let [left, _, top, _] = MARGINS;
    let x = axes.across(Some(tuning.recover_within.as_secs_f64()));
    let y = tuning
        .survive_blip
        .map_or(y0, |blip| axes.down(blip.as_secs_f64()));
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#2a9d4a\" opacity=\"0.08\"/>",
        x - left,
        y - top
    );
}

fn dot(out: &mut String, point: &Point, axes: Axes, colour: &str) {
    let fill = match point.by {
        By::Model => "none",
        By::Run | By::SameAs(_) => colour,
    };
    let (x, y) = axes.place(point);
    let recovery = point
        .recovery_worst
        .map_or_else(|| String::from("never"), seconds);
    let _ = writeln!(
        out,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\"><title>{}</title></circle>",
        escaped(&format!(
            "{}: recovers {recovery}, survives {}",
            point.setting,
            seconds(point.survives)
        ))
    );
}

/// Names beside the axes, one below the other where they would meet.
fn labels(out: &mut String, client: &ClientTuning, axes: Axes, x1: f64) {
    let named = client.points.iter().enumerate().filter(|(at, point)| {
        point.on_front
            || point.source.is_some()
            || point.set.is_empty()
            || client.answers.first() == Some(at)
    });
    let mut named: Vec<(f64, f64, &Point)> = named
        .map(|(_, point)| {
            let (x, y) = axes.place(point);
            (x, y, point)
        })
        .collect();
    named.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let mut next = MARGINS[2] - 30.0;
    for (x, y, point) in named {
        let at = y.max(next);
        next = at + 12.0;
        let colour = if point.on_front { "#0a58ca" } else { "#888" };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"0.4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"{colour}\">{}</text>",
            x1 + 8.0,
            at,
            x1 + 10.0,
            at + 3.0,
            escaped(&shortened(&point.setting))
        );
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 52;
    match text.chars().count() > LONGEST {
        true => format!("{}…", text.chars().take(LONGEST - 1).collect::<String>()),
        false => text.to_owned(),
    }
}

/// A time of an axis.
pub(in crate::report) fn label(seconds: f64) -> String {
    match seconds < 1.0 {
        true => format!("{:.0} ms", seconds * 1000.0),
        false => format!("{seconds:.0} s"),
    }
}

fn seconds(time: Duration) -> String {
    exact(Duration::from_millis(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

/// Lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let long = lines
            .last()
            .is_some_and(|line| line.chars().count() + word.chars().count() > width);
        if long {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
