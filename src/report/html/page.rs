//! What every page has: its head, the switch between light and dark, and what is opened later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ring::digest::{SHA256, digest};

use super::text::plain;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// A whole page. It can ask for nothing, and runs no script but its own: whatever a name in it says.
pub(super) fn page(title: &str, content: Markup, bodies: Markup) -> Markup {
    let hash = STANDARD.encode(digest(&SHA256, SCRIPT.as_bytes()));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="generator" content={ "halfopen " (env!("CARGO_PKG_VERSION")) };
                title { "halfopen: " (plain(title)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#main" { "To the content" }
                header class="bar" {
                    span class="brand" { "halfopen" }
                    button type="button" id="theme" hidden { "Colours: as the system" }
                }
                main id="main" tabindex="-1" { (content) }
                footer {
                    "halfopen " (env!("CARGO_PKG_VERSION"))
                    ". Times are measured unless they are said to be predicted or the model's."
                }
                noscript {
                    p class="note" { "Without JavaScript the cases can't be sorted or opened." }
                }
                (bodies)
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Content that becomes part of the page when what has this id is opened. In it every `<` of a text is escaped, so that
/// nothing can end the element that it waits in.
pub(super) fn later(id: &str, content: Markup) -> Markup {
    html! {
        script type="text/html" id={ "body-" (id) } { (content) }
    }
}

/// A table's head: a button a column, which sorts by it.
pub(super) fn sortable(columns: &[Column]) -> Markup {
    html! {
        thead {
            tr role="row" {
                @for column in columns {
                    th scope="col" role="columnheader" class=[column.class] aria-sort="none" {
                        button type="button" data-sort=(if column.numbers { "number" } else { "text" }) {
                            (column.title)
                        }
                    }
                }
            }
        }
    }
}

/// A column that can be sorted by.
pub(super) struct Column {
    /// Its title.
    pub(super) title: &'static str,
    /// It has numbers.
    pub(super) numbers: bool,
    /// Its class.
    pub(super) class: Option<&'static str>,
}

impl Column {
    /// Of words.
    pub(super) const fn words(title: &'static str, class: &'static str) -> Self {
        Self {
            title,
            numbers: false,
            class: Some(class),
        }
    }

    /// Of numbers.
    pub(super) const fn numbers(title: &'static str) -> Self {
        Self {
            title,
            numbers: true,
            class: Some("n"),
        }
    }
}

/// A field that filters a table's rows by their text.
pub(super) fn search(what: &str) -> Markup {
    html! {
        label class="search" {
            span { "Filter" }
            input type="search" id="filter" placeholder=(what) autocomplete="off" aria-keyshortcuts="/";
        }
    }
}
