//! What was expected beside a value: whether it holds, and both in people's units.

use std::time::Duration;

use super::Value;
use crate::plan::units::{exact, measured, percent, rounded};
use crate::plan::{CountWindow, Expected, TimeWindow, word};
use crate::result::Verdict;

/// What is wanted, in people's units.
#[must_use]
pub fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Time(window) => window.to_string(),
        Expected::Count(window) => expected_count(*window),
        Expected::Share(window) => window.to_string(),
        Expected::Causes(causes) => {
            let words: Vec<_> = causes.iter().map(word).collect();
            words.join(" or ")
        }
        Expected::Fact(fact) => fact.to_string(),
    }
}

/// What a window of a count wants.
#[must_use]
pub fn expected_count(CountWindow { min, max }: CountWindow) -> String {
    match max {
        Some(max) if min == max => min.to_string(),
        Some(max) if min == 0 => format!("at most {max}"),
        Some(max) => format!("{min} to {max}"),
        None => format!("at least {min}"),
    }
}

/// Whether a value is as expected, and the value in words. The case lasted for `lasted` after the fault.
#[must_use]
pub fn compare(expected: &Expected, value: &Value, lasted: Duration) -> (Verdict, String) {
    match (expected, value) {
        (Expected::Time(window), Value::After(after)) => time(*window, *after, lasted),
        (Expected::Time(window), Value::Lasts(length)) => time(*window, Some(*length), lasted),
        (Expected::Count(window), Value::Count(number)) => count(*window, *number),
        (Expected::Share(window), Value::Share(share)) => {
            (pass_if(*share >= window.at_least), percent(*share))
        }
        (Expected::Causes(causes), Value::Cause(cause, evidence)) => {
            let text = format!("{} ({evidence})", word(cause));
            (pass_if(causes.contains(cause)), text)
        }
        (Expected::Fact(wanted), Value::Fact(fact, evidence)) => {
            (pass_if(wanted == fact), format!("{fact} ({evidence})"))
        }
        (_, Value::Not(why)) => (Verdict::Fail, (*why).to_owned()),
        (_, Value::Unknown(why)) => (Verdict::Error, (*why).to_owned()),
        (
            _,
            Value::After(_)
            | Value::Lasts(_)
            | Value::Count(_)
            | Value::Share(_)
            | Value::Cause(..)
            | Value::Fact(..),
        ) => {
            let text = "what is expected of it is of another kind";
            (Verdict::Error, text.to_owned())
        }
    }
}

fn time(window: TimeWindow, actual: Option<Duration>, lasted: Duration) -> (Verdict, String) {
    let holds = holds(window, actual);
    let text = match actual {
        None => format!(
            "never within the {} that the case lasted after the fault",
            measured(lasted)
        ),
        // A value that rounds into the window, or out of it, is shown with all its digits.
        Some(time) if self::holds(window, Some(rounded(time))) != holds => exact(time),
        Some(time) => measured(time),
    };
    (pass_if(holds), text)
}

/// Whether a time lies in a window; `None` = never.
#[must_use]
pub fn holds(window: TimeWindow, actual: Option<Duration>) -> bool {
    match (window, actual) {
        (TimeWindow::Never, actual) => actual.is_none(),
        (_, None) => false,
        (TimeWindow::Between(min, max), Some(time)) => (min..=max).contains(&time),
        (TimeWindow::Within(max), Some(time)) => time <= max,
        (TimeWindow::AtLeast(min), Some(time)) => time >= min,
    }
}

/// By how much a value missed what was expected, in people's units; `None` if it did not, or not by an amount.
#[must_use]
pub fn missed(expected: &Expected, value: &Value) -> Option<String> {
    match (expected, value) {
        (Expected::Time(window), Value::After(Some(time))) => missed_time(*window, *time),
        (Expected::Time(window), Value::Lasts(length)) => {
            outside(*window, *length, ["too short", "too long"])
        }
        (Expected::Count(window), Value::Count(number)) => {
            missed_count(*window, u64::from(*number))
        }
        (Expected::Share(window), Value::Share(share)) => {
            let less = window.at_least - share;
            (less > 0.0).then(|| format!("{:.2} points too little", less * 100.0))
        }
        (
            Expected::Time(_)
            | Expected::Count(_)
            | Expected::Share(_)
            | Expected::Causes(_)
            | Expected::Fact(_),
            _,
        ) => None,
    }
}

/// By how much a time lies outside a window.
#[must_use]
pub fn missed_time(window: TimeWindow, time: Duration) -> Option<String> {
    outside(window, time, ["too early", "too late"])
}

fn outside(window: TimeWindow, time: Duration, [below, above]: [&str; 2]) -> Option<String> {
    // What rounds to nothing is shown with all its digits.
    let told = |by: Duration| match rounded(by) {
        Duration::ZERO => exact(by),
        _ => measured(by),
    };
    let later = |max: Duration| (time > max).then(|| format!("{} {above}", told(time - max)));
    let sooner = |min: Duration| (time < min).then(|| format!("{} {below}", told(min - time)));
    match window {
        TimeWindow::Never => None,
        TimeWindow::Between(min, max) => later(max).or_else(|| sooner(min)),
        TimeWindow::Within(max) => later(max),
        TimeWindow::AtLeast(min) => sooner(min),
    }
}

/// By how much a count lies outside a window.
#[must_use]
pub fn missed_count(CountWindow { min, max }: CountWindow, number: u64) -> Option<String> {
    let (min, max) = (u64::from(min), max.map(u64::from));
    match max {
        Some(max) if number > max => Some(format!("{} too many", number - max)),
        _ if number < min => Some(format!("{} too few", min - number)),
        _ => None,
    }
}

/// Whether a count lies in a window, and the count in words.
#[must_use]
pub fn count(window: CountWindow, actual: u32) -> (Verdict, String) {
    let holds = actual >= window.min && window.max.is_none_or(|max| actual <= max);
    (pass_if(holds), actual.to_string())
}

/// The verdict on what holds, or does not.
#[must_use]
pub fn pass_if(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Fail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn told(window: TimeWindow, actual: Option<f64>) -> (Verdict, String) {
        time(window, actual.map(seconds), seconds(950.0))
    }

    #[test]
    fn both_bounds_belong_to_a_window() {
        let window = TimeWindow::Between(seconds(924.0), seconds(1050.0));
        assert_eq!(told(window, Some(924.0)).0, Verdict::Pass);
        assert_eq!(told(window, Some(1050.0)).0, Verdict::Pass);
        assert_eq!(told(window, Some(923.0)).0, Verdict::Fail);
        assert_eq!(told(window, None).0, Verdict::Fail);
    }

    #[test]
    fn never_is_within_the_case() {
        let (verdict, actual) = told(TimeWindow::Within(seconds(40.0)), None);
        assert_eq!(verdict, Verdict::Fail);
        assert_eq!(
            actual,
            "never within the 950.0 s that the case lasted after the fault"
        );
        assert_eq!(told(TimeWindow::Never, None).0, Verdict::Pass);
        assert_eq!(
            told(TimeWindow::Never, Some(939.3)),
            (Verdict::Fail, "939.3 s".to_owned())
        );
        assert_eq!(
            told(TimeWindow::AtLeast(seconds(1.0)), None).0,
            Verdict::Fail
        );
    }

    #[test]
    fn a_value_just_outside_is_not_rounded_into_the_window() {
        let (verdict, actual) = told(TimeWindow::Within(seconds(40.0)), Some(40.012));
        assert_eq!(verdict, Verdict::Fail);
        assert_eq!(actual, "40.012 s");
    }

    #[test]
    fn a_value_says_by_how_much_it_missed() {
        let time = |window, after| missed(&Expected::Time(window), &Value::After(after));
        let within = TimeWindow::Within(seconds(40.0));
        let between = TimeWindow::Between(seconds(40.0), seconds(50.0));
        let told = [
            time(within, Some(seconds(41.5))),
            time(between, Some(seconds(39.9))),
            time(between, Some(seconds(50.0))),
            time(within, None),
            time(TimeWindow::Never, Some(seconds(1.0))),
        ];
        let told = told.map(Option::unwrap_or_default);
        assert_eq!(told, ["1.5 s too late", "100 ms too early", "", "", ""]);
        let length = missed(&Expected::Time(within), &Value::Lasts(seconds(40.00001)));
        assert_eq!(length.as_deref(), Some("0.01 ms too long"));
        let count = |number| {
            missed_count(
                CountWindow {
                    min: 2,
                    max: Some(4),
                },
                number,
            )
        };
        let told = [1, 2, 4, 7].map(|number| count(number).unwrap_or_default());
        assert_eq!(told, ["1 too few", "", "", "3 too many"]);
    }

    #[test]
    fn a_count_says_what_it_wants() {
        let texts = [(0, Some(0)), (0, Some(3)), (2, Some(4)), (2, None)]
            .map(|(min, max)| expected(&Expected::Count(CountWindow { min, max })));
        assert_eq!(texts, ["0", "at most 3", "2 to 4", "at least 2"]);
    }
}
