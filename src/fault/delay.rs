//! `delay`: packets take longer.

use std::time::Duration;

use super::path::on_a_path;
use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::plan::units::exact;
use crate::yaml::diagnostic::Problem;
use crate::yaml::source::Span;
use crate::yaml::value::{Spanned, Time};

on_a_path! {
    /// Packets take longer.
    DelaySpec {
        /// By how much.
        delay: Spanned<Time>,
        /// At random this much more or less (default none). Packets may overtake each other.
        jitter: Option<Spanned<Time>>,
    }
}

impl Kind for DelaySpec {
    const ABOUT: &'static str = "Packets take longer (netem).";

    fn resolve(&self, span: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let path = self.path().resolve(span, cx);
        let times = self.times(cx);
        let ((path, span), (delay, jitter)) = (path?, times?);
        Some(Resolved {
            target: path.to_string(),
            detail: Some(match jitter.is_zero() {
                true => exact(delay),
                false => format!("{} ± {}", exact(delay), exact(jitter)),
            }),
            effects: vec![Effect::Delay {
                path,
                delay,
                jitter,
            }],
            span,
        })
    }
}

impl DelaySpec {
    /// The delay and its jitter.
    fn times(&self, cx: &mut dyn Context) -> Option<(Duration, Duration)> {
        let Time(delay) = *self.delay.get()?;
        if delay.is_zero() {
            let problem = Problem::new(self.delay.span, "`delay` must be greater than zero");
            cx.push(problem);
            return None;
        }
        let Some(jitter) = &self.jitter else {
            return Some((delay, Duration::ZERO));
        };
        let Time(most) = *jitter.get()?;
        if most > delay {
            let problem = Problem::new(jitter.span, "`jitter` must not be greater than `delay`");
            let problem = problem.also(self.delay.span, "the delay");
            cx.push(problem.help("a packet can't arrive before it is sent"));
            return None;
        }
        Some((delay, most))
    }
}
