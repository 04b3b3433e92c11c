//! What a browser makes of a page: opened, sorted, filtered, read by keyboard, on a phone and in the dark.

use std::fs;
use std::path::PathBuf;

use halfopen::verdict::CaseResult;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{hostile, many, matrix, page, repeated, two};
use crate::browser::Browser;

/// A page in a file.
struct Page {
    _folder: TempDir,
    file: PathBuf,
}

impl Page {
    fn of(results: &[CaseResult]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.html");
        fs::write(&file, page(results)).expect("written");
        Self {
            _folder: folder,
            file,
        }
    }
}

const ROWS: &str = "[...document.querySelectorAll('#rows > tbody > tr[data-order]')]";

#[track_caller]
fn without_errors(browser: &Browser) {
    assert!(browser.errors.is_empty(), "{:#?}", browser.errors);
}

#[test]
fn a_case_is_opened_by_its_link_by_keyboard_and_closed() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    let page = Page::of(&two());
    browser.open(&page.file, "");
    assert_eq!(
        browser.value("document.querySelectorAll('tr.body').length"),
        0
    );
    // Its content is not there before.
    assert_eq!(
        browser.value("document.querySelectorAll('.timeline').length"),
        0
    );
    browser.value("document.querySelector('tbody .open').focus()");
    browser.press("Enter", "\r");
    assert_eq!(
        browser.value("document.querySelectorAll('tr.body .timeline svg.track').length > 2"),
        true
    );
    assert_eq!(
        browser.value("document.activeElement.getAttribute('aria-expanded')"),
        "true"
    );
    let link = browser.value("location.hash");
    assert!(
        link.as_str().expect("a link").starts_with("#case-"),
        "{link}"
    );
    browser.press("Enter", "\r");
    assert_eq!(
        browser.value("document.querySelectorAll('tr.body').length"),
        0
    );
    // And by its link.
    let second = browser.value(&format!("{ROWS}[1].id"));
    browser.open(&page.file, &format!("#{}", second.as_str().expect("an id")));
    assert_eq!(
        browser.value("document.querySelector('tr.body').previousElementSibling.id"),
        second
    );
    // What it failed in is on the first screen, and leads there.
    assert_eq!(
        browser.value("document.querySelector('.told.fail a').hash.slice(1)"),
        second
    );
    without_errors(&browser);
}

#[test]
fn a_thousand_cases_are_sorted_and_filtered_while_nobody_waits() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    let page = Page::of(&many(1000));
    let loaded = std::time::Instant::now();
    browser.open(&page.file, "");
    let loaded = loaded.elapsed().as_millis();
    assert_eq!(browser.value(&format!("{ROWS}.length")), 1000);
    browser.value("document.querySelector('tbody .open').click()");
    let column = "document.querySelectorAll('#rows thead [data-sort]')[3]";
    let up = browser.costs(&format!("{column}.click()"));
    let keys = format!("{ROWS}.map(row => row.cells[3].dataset.key).filter(Boolean).map(Number)");
    let sorted = |browser: &mut Browser| {
        browser.value(&format!(
            "(k => k.every((key, at) => at === 0 || k[at - 1] <= key))({keys})"
        ))
    };
    assert_eq!(sorted(&mut browser), true);
    assert_eq!(
        browser.value("document.querySelectorAll('#rows thead th')[3].getAttribute('aria-sort')"),
        "ascending"
    );
    // What is open stays with its case.
    assert_eq!(browser.value("document.querySelector('tr.body').previousElementSibling.querySelector('.open').ariaExpanded"), "true");
    let down = browser.costs(&format!("{column}.click()"));
    assert_eq!(sorted(&mut browser), false);
    browser.value(&format!("{column}.click()"));
    assert_eq!(
        browser.value(&format!(
            "{ROWS}.every((row, at) => Number(row.dataset.order) === at)"
        )),
        true,
        "as it was"
    );
    let filter = "(f => { f.value = 'case-77'; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))";
    let filtered = browser.costs(filter);
    let visible = format!("{ROWS}.filter(row => row.offsetHeight > 0).length");
    // 77 and 770 to 779.
    assert_eq!(browser.value(&visible), 11);
    assert_eq!(
        browser.value("document.getElementById('shown').textContent"),
        "11 of 1000 shown"
    );
    browser.value("(f => { f.value = ''; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))");
    browser.value("document.querySelector('.count[data-verdict=fail]').click()");
    assert_eq!(browser.value(&visible), 100);
    println!(
        "1,000 cases: there after {loaded} ms, sorted in {up:.0} and {down:.0} ms, filtered in {filtered:.0} ms"
    );
    assert!(
        up < 2000.0 && down < 2000.0 && filtered < 2000.0,
        "{up} {down} {filtered}"
    );
    without_errors(&browser);
}

#[test]
fn a_phone_has_nothing_to_scroll_sideways() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    for results in [two(), hostile(), matrix(), repeated()] {
        let page = Page::of(&results);
        for width in [320, 390, 1280] {
            browser.screen(width, 800, false);
            browser.open(&page.file, "");
            browser.value("document.querySelectorAll('tbody .open').forEach(button => button.getAttribute('aria-expanded') === 'true' || button.click())");
            browser.value(
                "document.querySelectorAll('details').forEach(details => { details.open = true; })",
            );
            let too_wide = browser.value(
                "(w => [document.documentElement.scrollWidth > w, [...document.querySelectorAll('main *')].filter(e => \
                 e.getBoundingClientRect().right > w + 1 && !e.closest('.wide, .hidden, svg')).slice(0, 5).map(e => e.outerHTML.slice(0, 80))])\
                 (document.documentElement.clientWidth)",
            );
            assert_eq!(
                too_wide,
                json!([false, []]),
                "{width}: {}",
                results[0].scenario
            );
        }
    }
    without_errors(&browser);
}

#[test]
fn the_dark_is_the_system_s_or_the_switch_s() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    let page = Page::of(&two());
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    browser.screen(1000, 800, false);
    browser.open(&page.file, "");
    let light = browser.value(ground);
    browser.screen(1000, 800, true);
    browser.open(&page.file, "");
    let dark = browser.value(ground);
    assert_ne!(light, dark);
    // As the system, light, dark.
    browser.value("document.getElementById('theme').click()");
    assert_eq!(browser.value(ground), light);
    browser.value("document.getElementById('theme').click()");
    assert_eq!(browser.value(ground), dark);
    without_errors(&browser);
}

#[test]
fn what_is_hostile_does_nothing() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    let page = Page::of(&hostile());
    browser.open(&page.file, "");
    browser.value("document.querySelectorAll('tbody .open').forEach(button => button.click())");
    let title = browser.value("document.title");
    assert!(
        title
            .as_str()
            .is_some_and(|title| title.starts_with("halfopen: ")),
        "{title}"
    );
    assert_eq!(
        browser.value("document.querySelectorAll('main img, main b b').length"),
        0
    );
    without_errors(&browser);
}

#[test]
fn what_is_seen_is_also_said() {
    let Some(mut browser) = Browser::start_or_skip() else {
        return;
    };
    let page = Page::of(&[two(), matrix(), repeated()].concat());
    browser.open(&page.file, "");
    browser.value("document.querySelectorAll('tbody .open').forEach(button => button.click())");
    let unsaid = browser.value(
        "[...document.querySelectorAll('svg')].filter(svg => !svg.ariaHidden && !svg.querySelector('title')?.textContent && !svg.ariaLabel)\
         .concat([...document.querySelectorAll('th')].filter(th => !th.scope))\
         .concat([...document.querySelectorAll('button, a, select, input')].filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)))\
         .map(e => e.outerHTML.slice(0, 100))",
    );
    assert_eq!(unsaid, Value::Array(vec![]));
    let twice = browser.value("(ids => ids.filter((id, at) => ids.indexOf(id) !== at))([...document.querySelectorAll('[id]')].map(e => e.id))");
    assert_eq!(twice, Value::Array(vec![]));
    without_errors(&browser);
}
