//! Repetitions of a case, taken together: how its times are distributed, and whether that is as expected.

use std::time::Duration;

use super::effects;
use crate::metric::window::{holds, missed_time, pass_if};
use crate::plan::units::{exact, measured};
use crate::plan::{Case, Cause, QuantileExpectation, Time};
use crate::result::{
    CaseResult, Checked, ClientResult, CounterResult, Distribution, ExpectationResult, Spread,
    Verdict, Wall, word, worst,
};

/// Adds after the repetitions of each case one result of them all. Other results stay as they are.
///
/// `cases` are those that `results` are of, in the same order.
#[must_use]
pub fn fold(cases: &[Case], results: Vec<CaseResult>) -> Vec<CaseResult> {
    let mut folded = Vec::with_capacity(results.len());
    let mut repetitions: Vec<CaseResult> = Vec::new();
    let mut of: Option<&Case> = None;
    for (case, result) in cases.iter().zip(results) {
        if of.is_some_and(|of| !together(of, case)) {
            folded.extend(of.and_then(|of| whole(of, &repetitions)));
            repetitions.clear();
        }
        of = case.repetition.as_ref().map(|_| case);
        if of.is_some() {
            repetitions.push(result.clone());
        }
        folded.push(result);
    }
    folded.extend(of.and_then(|of| whole(of, &repetitions)));
    folded
}

/// Whether two cases are repetitions of one, the later one after the earlier.
fn together(earlier: &Case, later: &Case) -> bool {
    let (Some(a), Some(b)) = (&earlier.repetition, &later.repetition) else {
        return false;
    };
    earlier.scenario == later.scenario && a.case == b.case && a.number < b.number
}

/// The result of all repetitions of a case.
fn whole(case: &Case, repetitions: &[CaseResult]) -> Option<CaseResult> {
    let judged: Vec<&CaseResult> = repetitions.iter().filter(|r| r.judged).collect();
    let distributions: Vec<_> = case
        .lab
        .clients
        .iter()
        .map(|client| distribution(case, &client.name, &judged))
        .collect();
    let mut expectations: Vec<_> = (0..case.expectations.len() + case.counters.len())
        .filter_map(|index| in_each(index, repetitions))
        .collect();
    expectations.extend(
        case.spread
            .iter()
            .map(|expectation| quantile(expectation, &distributions)),
    );
    let outcomes = repetitions.iter().map(|result| result.verdict);
    let verdict = worst(outcomes.chain(expectations.iter().map(|e| e.verdict)));
    let broken = repetitions.iter().find(|r| !r.judged);
    Some(CaseResult {
        case: case.repetition.as_ref()?.case.clone(),
        repetition: None,
        judged: broken.is_none(),
        reason: broken.and_then(|r| r.reason.clone()),
        verdict: verdict?,
        duration: repetitions.iter().map(|r| r.duration).sum(),
        wall: Wall::of_all(repetitions.iter().map(|r| r.wall)),
        faults: Vec::new(),
        clients: Vec::new(),
        expectations,
        distributions,
        history: None,
        ..repetitions.first()?.clone()
    })
}

fn distribution(case: &Case, client: &str, repetitions: &[&CaseResult]) -> Distribution {
    let of: Vec<&ClientResult> = repetitions
        .iter()
        .filter_map(|r| r.client(client))
        .collect();
    let spread = |time: fn(&ClientResult) -> Option<Duration>| {
        Spread::of(&of.iter().map(|c| time(c)).collect::<Vec<_>>())
    };
    let mut causes: Vec<(Option<Cause>, usize)> = Vec::new();
    for result in &of {
        match causes.iter_mut().find(|(cause, _)| *cause == result.cause) {
            Some((_, count)) => *count += 1,
            None => causes.push((result.cause, 1)),
        }
    }
    causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let alike = |a: &ClientResult, b: &ClientResult| {
        let times = |c: &ClientResult| {
            let waits = c.longest_without_response;
            let all = [c.fault_at, c.detected_after, c.recovered_after, waits];
            all.map(|time| time.map(|time| time.as_millis()))
        };
        a.cause == b.cause && times(a) == times(b)
    };
    // Where packets are lost by chance, that a thing never happened is found anew each time.
    let a_figure = of
        .iter()
        .any(|c| c.detected_after.or(c.recovered_after).is_some());
    let runs_alike = of.windows(2).all(|two| alike(two[0], two[1]));
    let mut effects = case.lab.faults.iter().flat_map(|fault| &fault.effects);
    let dice = effects.any(effects::throws_dice);
    let never_is_one_value = runs_alike && (a_figure || !dice);
    let spread = |time: fn(&ClientResult) -> Option<Duration>| {
        let spread = spread(time);
        let one_value = match (spread.happened, spread.min.zip(spread.max)) {
            (0, _) => never_is_one_value,
            (_, Some((min, max))) => min.as_millis() == max.as_millis(),
            (_, None) => false,
        };
        Spread {
            one_value: one_value && spread.count > 1,
            ..spread
        }
    };
    Distribution {
        client: client.to_owned(),
        detected: spread(|c| c.detected_after),
        recovered: spread(|c| c.recovered_after),
        without_response: of
            .iter()
            .any(|c| c.longest_without_response.is_some())
            .then(|| spread(|c| c.longest_without_response)),
        causes,
    }
}

/// An expectation on every repetition: in how many it held.
fn in_each(index: usize, repetitions: &[CaseResult]) -> Option<ExpectationResult> {
    let each: Vec<_> = repetitions
        .iter()
        .filter_map(|r| Some((r, r.expectations.get(index)?)))
        .collect();
    let held = each
        .iter()
        .filter(|(_, e)| e.verdict == Verdict::Pass)
        .count();
    let verdict = worst(each.iter().map(|(_, e)| e.verdict))?;
    let (first, shown) = each.iter().find(|(_, e)| e.verdict == verdict)?;
    let mut actual = format!("it held in {held} of {} repetitions", each.len());
    if verdict != Verdict::Pass {
        actual.push_str(&format!("; {}: {}", first.case, shown.actual));
    }
    let counter = shown.counter.clone().map(|counter| CounterResult {
        grown: None,
        ..counter
    });
    Some(ExpectationResult {
        actual,
        counter,
        ..(*shown).clone()
    })
}

fn quantile(
    expectation: &QuantileExpectation,
    distributions: &[Distribution],
) -> ExpectationResult {
    let own = distributions
        .iter()
        .find(|d| d.client == expectation.client);
    let spread = own.map(|distribution| match expectation.of {
        Time::Recovered => &distribution.recovered,
        Time::Detected => &distribution.detected,
    });
    let missed_by = spread
        .and_then(|spread| spread.quantile(expectation.quantile))
        .and_then(|time| missed_time(expectation.window, time));
    let (verdict, actual) = match spread {
        Some(spread) if spread.count > 0 => {
            let time = spread.quantile(expectation.quantile);
            let holds = holds(expectation.window, time);
            let time = time.map_or_else(
                || String::from("never"),
                |time| {
                    if holds { measured(time) } else { exact(time) }
                },
            );
            (
                pass_if(holds),
                match spread.one_value {
                    true => format!("{time}, one value ({} runs)", spread.count),
                    false => format!("{time}, in {} repetitions", spread.count),
                },
            )
        }
        _ => (Verdict::Error, "no repetition was judged".to_owned()),
    };
    let checked = Checked {
        verdict,
        expected: expectation.window.to_string(),
        actual,
        missed_by,
    };
    let QuantileExpectation {
        client,
        text,
        location,
        ..
    } = expectation;
    let metric = format!(
        "distribution.{}.{}",
        word(&expectation.of),
        expectation.quantile.name()
    );
    ExpectationResult::new(client, &metric, text, location, checked)
}
