//! A thousand cases whose names are meant to do harm, in every format: what comes out is valid, is read back as it was meant, and
//! steers nobody's terminal.

use std::sync::OnceLock;

use halfopen::verdict::{CaseResult, Verdict};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

use super::formats::{assert_ctrf, assert_junit, assert_trace, with_history, written};
use super::stories;

const CASES: usize = 1_000;

fn hostile(n: usize) -> String {
    let long = "long-".repeat(60);
    let names = [
        "<script>alert(1)</script>",
        "</details></summary><b>",
        "a|b`c``d|",
        "]]>",
        "\u{1b}[2J\u{0}\u{7}\u{9b}1m",
        "\u{202e}txt.exe\u{2066}",
        &long,
        "&amp; \"'%s{}${HOME}",
        "@team **b** _i_ ~~s~~ [x](http://x)",
        "line\nbreak\r\n| x |\n# heading\n```",
        "\u{fffe}\u{ffff}\u{feff}",
        "- 1. > ![x](y)",
        "--><!--",
    ];
    format!("{}{n}", names[n % names.len()])
}

/// Cases of all verdicts, everything in them named so that it does harm.
fn results() -> &'static [CaseResult] {
    static RESULTS: OnceLock<Vec<CaseResult>> = OnceLock::new();
    RESULTS.get_or_init(|| {
        let failed = with_history(&stories::everything_expected().end());
        let passed = with_history(&stories::a1_expected().end());
        (0..CASES)
            .map(|n| named(if n % 3 == 0 { &passed } else { &failed }, n))
            .collect()
    })
}

fn named(result: &CaseResult, n: usize) -> CaseResult {
    let mut case = result.clone();
    let name = hostile(n);
    case.scenario.clone_from(&name);
    case.case.clone_from(&name);
    case.file = Some(format!("{}.yaml", hostile(n % 50)));
    if n % 10 == 1 {
        case.verdict = Verdict::Error;
        case.judged = false;
        let text = format!("it broke: {name}");
        case.reason = Some(halfopen::verdict::result::Note {
            text,
            file: None,
            line: None,
            column: None,
        });
    }
    for fault in &mut case.faults {
        fault.target.clone_from(&name);
    }
    for client in &mut case.clients {
        client.evidence = client.evidence.as_ref().map(|_| name.clone());
        client.name += &name;
    }
    if let Some(history) = &mut case.history {
        for client in &mut history.clients {
            client.name += &name;
        }
    }
    for expectation in &mut case.expectations {
        expectation.client += &name;
        expectation.text += &name;
        expectation.actual += &name;
        expectation.source += &name;
        expectation.file.clone_from(&name);
    }
    for warning in &mut case.warnings {
        warning.text += &name;
    }
    case
}

/// What no report for people may have in it.
fn assert_steers_nobody(text: &str) {
    let steers = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let found = text.char_indices().find(|(_, c)| steers(*c));
    if let Some((at, found)) = found {
        let from = (0..=at.saturating_sub(60))
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        panic!("{found:?} in {:?}", &text[from..at]);
    }
}

#[test]
fn json() {
    let mut json: Value = serde_json::from_str(&written("json", results())).expect("JSON");
    let read: Vec<CaseResult> = serde_json::from_value(json["cases"].take()).expect("results");
    let names = |all: &[CaseResult]| all.iter().map(|case| case.case.clone()).collect::<Vec<_>>();
    assert_eq!(names(&read), names(results()));
}

#[test]
fn junit() {
    let xml = written("junit", results());
    assert_steers_nobody(&xml);
    let tests = assert_junit(&xml);
    let expected: usize = results()
        .iter()
        .map(|case| case.expectations.len() + 1)
        .sum();
    assert_eq!(tests.len(), expected);
    assert_eq!(xml.matches("<testsuite ").count(), 50);
}

#[test]
fn ctrf() {
    let json = written("ctrf", results());
    assert_steers_nobody(&json);
    let report = assert_ctrf(&json);
    let expected: usize = results()
        .iter()
        .map(|case| case.expectations.len() + 1)
        .sum();
    assert_eq!(report["results"]["summary"]["tests"], expected);
}

#[test]
fn trace() {
    let json = written("trace", results());
    assert_steers_nobody(&json);
    let events = assert_trace(&json);
    let mut processes = events
        .iter()
        .filter(|event| event["name"] == "process_name");
    assert_eq!(processes.clone().count(), CASES);
    let first = processes.next().expect("a process")["args"]["name"].as_str();
    assert_eq!(
        first,
        Some("<script>alert(1)</script>0 / <script>alert(1)</script>0: pass")
    );
}

#[test]
fn table() {
    let table = written("table", results());
    assert_steers_nobody(&table);
    let count = |verdict: &str| {
        table
            .lines()
            .filter(|line| line.starts_with(verdict))
            .count()
    };
    let of = |verdict| {
        results()
            .iter()
            .filter(|case| case.verdict == verdict)
            .count()
    };
    assert_eq!(count("pass: "), of(Verdict::Pass));
    assert_eq!(count("fail: "), of(Verdict::Fail));
    assert_eq!(count("error: "), of(Verdict::Error));
}

/// GitHub takes no longer comment.
#[test]
fn markdown_stays_short_and_says_what_it_left_out() {
    let page = written("markdown", results());
    assert!(
        page.len() <= 60_000 && page.len() > 50_000,
        "{} bytes",
        page.len()
    );
    let listed = page
        .lines()
        .filter(|line| line.starts_with("- **fail** ") || line.starts_with("- **error** "));
    let bad = results()
        .iter()
        .filter(|case| matches!(case.verdict, Verdict::Fail | Verdict::Error))
        .count();
    let left_out = format!(
        "- … and {} more cases that did not pass; ",
        bad - listed.count()
    );
    assert!(page.contains(&left_out), "{page}");
    let shown = page.matches("<details>").count();
    let left_out = format!("\n{} more cases have no room here; ", CASES - shown);
    assert!(page.contains(&left_out), "{page}");
    assert_markdown(&page);
}

#[test]
fn markdown_of_each_name_alone() {
    for n in 0..26 {
        let page = written("markdown", &[named(&results()[n], n)]);
        assert_markdown(&page);
        assert_eq!(page.matches("<details>").count(), 1, "{page}");
    }
}

/// Nothing of a name is Markdown or HTML: the only HTML is ours, and every row of a table has all its cells.
fn assert_markdown(page: &str) {
    assert_steers_nobody(page);
    let (mut opened, mut closed) = (0, 0);
    let (mut columns, mut cells) = (0, 0);
    for event in Parser::new_ext(page, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => {
                let html = html.trim();
                let summary = html
                    .strip_prefix("<details><summary>")
                    .and_then(|html| html.strip_suffix("</summary>"));
                let summary = summary.map(|text| text.replace("<!-- -->", ""));
                let known = ["</details>", "<!-- -->"].contains(&html)
                    || summary.is_some_and(|text| !text.contains(['<', '>']));
                assert!(known, "{html:?} in {page}");
                opened += usize::from(html.starts_with("<details>"));
                closed += usize::from(html == "</details>");
            }
            Event::Start(Tag::Table(alignments)) => columns = alignments.len(),
            Event::Start(Tag::TableRow | Tag::TableHead) => cells = 0,
            Event::Start(Tag::TableCell) => cells += 1,
            Event::End(TagEnd::TableRow | TagEnd::TableHead) => {
                assert_eq!(cells, columns, "{page}")
            }
            Event::Start(
                Tag::Link { .. }
                | Tag::Image { .. }
                | Tag::Strikethrough
                | Tag::Emphasis
                | Tag::BlockQuote(_),
            ) => {
                panic!("{event:?} in {page}")
            }
            _ => {}
        }
    }
    assert!(
        opened > 0 && opened == closed,
        "{opened} opened, {closed} closed: {page}"
    );
}
