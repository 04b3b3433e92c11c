//! What a page says, and that it is right HTML.

use std::cell::RefCell;

use html5ever::tendril::TendrilSink as _;
use html5ever::{ParseOpts, parse_document, parse_fragment};
use markup5ever_rcdom::RcDom;

use super::{HOSTILE, hostile, many, matrix, page, repeated, two};

/// What a parser of the standard has against a page or a part of it.
fn wrong(dom: &RcDom) -> Vec<String> {
    RefCell::borrow(&dom.errors)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn exact() -> ParseOpts {
    let mut options = ParseOpts::default();
    options.tokenizer.exact_errors = true;
    options.tree_builder.exact_errors = true;
    options
}

/// What waits in the page until its case is opened.
fn bodies(page: &str) -> Vec<&str> {
    let all = page.split("<script type=\"text/html\" id=\"body-").skip(1);
    all.map(|text| {
        let begin = text.find('>').expect("a tag") + 1;
        &text[begin..text.find("</script>").expect("its end")]
    })
    .collect()
}

/// A page without its style and script, its parts on lines of their own.
fn told(page: &str) -> String {
    let main = page.find("<main").expect("it");
    let until = page.rfind("<script>").expect("it");
    let text = page[main..until].replace('<', "\n<");
    // Ends of elements on lines of their own tell nothing.
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !(line.is_empty() || line.starts_with("</") && line.ends_with('>')));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn of_a_case_that_failed() {
    insta::assert_snapshot!(told(&page(&two()[1..])));
}

#[test]
fn of_a_matrix() {
    let page = page(&matrix());
    let heat = page.find("<section class=\"heat\"").expect("a heat map");
    let end = page[heat..].find("</section>").expect("its end");
    insta::assert_snapshot!(page[heat..heat + end].replace('<', "\n<"));
}

#[test]
fn of_repetitions() {
    let page = page(&repeated());
    let body = bodies(&page);
    assert_eq!(body.len(), 1, "what passed is told together");
    insta::assert_snapshot!(body[0].replace('<', "\n<"));
}

#[test]
fn of_a_run_of_nothing() {
    let page = page(&[]);
    assert!(page.contains("No case was run"), "{page}");
}

#[test]
fn every_page_is_right_html() {
    for results in [vec![], two(), hostile(), matrix(), repeated(), many(20)] {
        let page = page(&results);
        let dom = parse_document(RcDom::default(), exact()).one(page.as_str());
        assert_eq!(wrong(&dom), Vec::<String>::new());
        for body in bodies(&page) {
            let name =
                html5ever::QualName::new(None, html5ever::ns!(html), html5ever::local_name!("td"));
            let dom = parse_fragment(RcDom::default(), exact(), name, vec![], false).one(body);
            assert_eq!(wrong(&dom), Vec::<String>::new(), "{body}");
        }
    }
}

#[test]
fn what_is_hostile_is_text() {
    let page = page(&hostile());
    for raw in ["<img", "<b>bold", "\u{202e}", "\u{1b}", "\0", "<!-- <!["] {
        assert!(!page.contains(raw), "{raw:?}");
    }
    // It is read as it was written.
    assert!(
        page.contains("&lt;img src=x onerror=") && page.contains(r"abc\u{202e}fed\u{1b}[2J\u{0}")
    );
    assert!(page.contains(HOSTILE[3]) && page.contains(&"x".repeat(300)));
    assert_eq!(
        page.matches("<script").count(),
        page.matches("</script>").count()
    );
}

#[test]
fn a_thousand_cases_are_a_file_of_some_megabytes() {
    let page = page(&many(1000));
    let mib = page.len() >> 20;
    assert!(mib < 40, "{mib} MiB");
    println!("1,000 cases: {} KiB", page.len() >> 10);
}
