//! Windows of times and counts.

use crate::plan::{CountWindow, TimeWindow};
use crate::scenario::cx::Cx;
use crate::scenario::model::{Bounds, CountWindowSpec, TimeWindowSpec};
use crate::yaml::{Problem, Span};

/// A window of time.
pub(crate) fn time(cx: &mut Cx<'_>, span: Span, spec: &TimeWindowSpec) -> Option<TimeWindow> {
    Some(match spec {
        TimeWindowSpec::Never => TimeWindow::Never,
        TimeWindowSpec::Within(time) => TimeWindow::Within(time.0),
        TimeWindowSpec::AtLeast(time) => TimeWindow::AtLeast(time.0),
        TimeWindowSpec::Between(bounds) => {
            let example = "[924s, 1050s]";
            let (min, max) = between(cx, span, bounds, example, |t| format!("{:?}", t.0))?;
            TimeWindow::Between(min.0, max.0)
        }
    })
}

/// A window of a count, and how people write it.
pub(crate) fn count(
    cx: &mut Cx<'_>,
    span: Span,
    spec: &CountWindowSpec,
) -> Option<(CountWindow, String)> {
    let window = |min, max| CountWindow { min, max };
    Some(match spec {
        CountWindowSpec::AtMost(n) => (window(0, Some(*n)), format!("at most {n}")),
        CountWindowSpec::AtLeast(n) => (window(*n, None), format!("at least {n}")),
        CountWindowSpec::Exactly(n) => (window(*n, Some(*n)), format!("exactly {n}")),
        CountWindowSpec::Between(bounds) => {
            let (min, max) = between(cx, span, bounds, "[1, 3]", u32::to_string)?;
            (window(min, Some(max)), format!("between {min} and {max}"))
        }
    })
}

/// Two bounds, the lower one first.
fn between<T: PartialOrd + Copy>(
    cx: &mut Cx<'_>,
    span: Span,
    Bounds(bounds): &Bounds<T>,
    example: &str,
    write: impl Fn(&T) -> String,
) -> Option<(T, T)> {
    let [min, max] = &bounds[..] else {
        let message = format!("`between` takes two bounds, found {}", bounds.len());
        let help = format!("write e.g. `between: {example}`");
        cx.push(Problem::new(span, message).help(help));
        return None;
    };
    let (min, max) = (*min.get()?, *max.get()?);
    if min > max {
        let message = "this window is empty: its lower bound is above its upper bound";
        let help = format!("write `between: [{}, {}]`", write(&max), write(&min));
        cx.push(Problem::new(span, message).help(help));
    }
    Some((min, max))
}
