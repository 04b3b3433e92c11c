//! The page of a run: what it says, that it is right HTML, and what a browser makes of it.

mod in_browser;
mod markup;

use halfopen::explain;
use halfopen::plan::{MatrixValue, Repetition};
use halfopen::record::Event;
use halfopen::report::formats;
use halfopen::verdict::{CaseResult, Verdict, judge};

use crate::verdict::stories;

/// A result with its history, as a run has it for a page.
fn told(record: &[Event]) -> CaseResult {
    let result = judge(record);
    let history = explain::history(record, &result).map(Box::new);
    CaseResult { history, ..result }
}

/// One case that passes and one that fails in many ways.
fn two() -> Vec<CaseResult> {
    [
        stories::a1_expected().end(),
        stories::everything_expected().end(),
    ]
    .iter()
    .map(|record| told(record))
    .collect()
}

/// As many cases as are asked for, of four kinds, with names and times of their own.
fn many(count: usize) -> Vec<CaseResult> {
    let kinds = two();
    let case = |number: usize| {
        let mut result = kinds[usize::from(number % 10 == 3)].clone();
        result.case = format!("case-{number}");
        for client in &mut result.clients {
            let later = std::time::Duration::from_millis((number as u64 * 7919) % 1000);
            client.recovered_after = client.recovered_after.map(|after| after + later);
        }
        result
    };
    (0..count).map(case).collect()
}

/// Names that would steer a page, a terminal or a reader.
const HOSTILE: [&str; 4] = [
    "</script><script>document.title='stolen'</script><img src=x onerror=\"document.title='stolen'\">",
    "abc\u{202e}fed\u{1b}[2J\u{0}",
    "'\"><b>bold</b> &amp; <!-- <![CDATA[ javascript:alert(1)",
    "עברית-节点",
];

/// A case whose every word is hostile, and one whose name has 300 characters.
fn hostile() -> Vec<CaseResult> {
    let mut results = two();
    let all = HOSTILE.join(" ");
    for (number, result) in results.iter_mut().enumerate() {
        result.scenario = if number == 0 {
            all.clone()
        } else {
            "x".repeat(300)
        };
        result.case = all.clone();
        result.description = Some(all.clone());
        for client in &mut result.clients {
            client.evidence = Some(all.clone());
            for connection in &mut client.connections {
                connection.evidence = all.clone();
                connection.endpoint = Some(all.clone());
            }
        }
        for expectation in &mut result.expectations {
            expectation.text = all.clone();
            expectation.source = format!("\u{202e}{all}");
        }
        if let Some(history) = &mut result.history {
            history.story = all.clone();
            for moment in &mut history.endpoints {
                moment.text = all.clone();
            }
        }
        result.faults[0].target = all.clone();
    }
    results
}

/// Six cases of a matrix of two keys, of which one fails.
fn matrix() -> Vec<CaseResult> {
    let kinds = two();
    let value = |key: &str, value: &str| MatrixValue {
        path: format!("clients.standby.{key}"),
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let mut all = Vec::new();
    for retries in ["5", "8", "15"] {
        for profile in ["java", "go-http2"] {
            let mut result = kinds[0].clone();
            let failed = retries == "15" && profile == "java";
            result.verdict = if failed { Verdict::Fail } else { Verdict::Pass };
            result.case = format!("tcp_retries2={retries},profile={profile}");
            result.matrix = vec![value("tcp_retries2", retries), value("profile", profile)];
            let seconds = retries.parse::<u64>().expect("a number");
            let after = std::time::Duration::from_secs(1 << seconds);
            result.clients[0].recovered_after = (!failed).then_some(after);
            all.push(result);
        }
    }
    all
}

/// A case that was repeated, with all that was measured of it.
fn repeated() -> Vec<CaseResult> {
    let record = stories::a1_expected().end();
    let mut cases = Vec::new();
    let mut results = Vec::new();
    for number in 1..=20 {
        let mut case = record
            .iter()
            .find_map(|event| match &event.what {
                halfopen::record::Observation::CaseStarted { case, .. } => Some(case.clone()),
                _ => None,
            })
            .expect("a case");
        let repetition = Repetition {
            case: case.name.clone(),
            number,
            of: 20,
        };
        case.repetition = Some(repetition.clone());
        let mut result = judge(&record);
        result.repetition = Some(repetition);
        result.case = format!("{}, run {number}", case.name);
        for client in &mut result.clients {
            let later = std::time::Duration::from_millis(u64::from(number) * 700);
            client.recovered_after = client.recovered_after.map(|after| after + later);
        }
        cases.push(*case);
        results.push(result);
    }
    halfopen::verdict::fold(&cases, results)
}

/// The page of some results.
fn page(results: &[CaseResult]) -> String {
    let format = formats().iter().find(|f| f.name == "html");
    let mut out = Vec::new();
    let report = (format.expect("the format").new)();
    report.write(results, &mut out).expect("written");
    String::from_utf8(out).expect("UTF-8")
}
