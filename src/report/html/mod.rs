//! A page for people: one file that asks for nothing from elsewhere, with pictures that are drawn from the results.
//!
//! What a case has to show lies in the page as text and becomes part of it when the case is opened, so that a thousand cases
//! cost no more than their rows.

mod case;
mod client;
mod comparison;
mod connections;
mod distribution;
mod expectations;
mod heat_map;
mod moments;
mod outages;
mod page;
mod prediction;
mod scale;
mod sentence;
mod summary;
mod table;
mod text;
mod timeline;
mod tuning;
mod waterfall;
mod witnesses;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::{Report, shown};
use crate::verdict::CaseResult;
use text::Names;

pub(super) use comparison::comparison;
pub(super) use tuning::tuning;

/// The page.
#[derive(Default)]
pub(super) struct Html {
    /// The folder that it will lie in; `None` if nobody knows.
    folder: Option<PathBuf>,
}

impl Report for Html {
    fn write(&self, results: &[CaseResult], out: &mut dyn Write) -> io::Result<()> {
        let page = page(results, self.folder.as_deref());
        out.write_all(page.into_string().as_bytes())
    }

    fn shows_history(&self) -> bool {
        true
    }

    fn lies_in(&mut self, folder: &Path) {
        self.folder = Some(folder.to_path_buf());
    }
}

/// A case as the page has it.
#[derive(Clone, Copy)]
struct Shown<'a> {
    result: &'a CaseResult,
    /// What a link to it ends with.
    id: &'a str,
}

fn page(results: &[CaseResult], folder: Option<&Path>) -> Markup {
    let shown = shown(results);
    let names = Names::of(&shown);
    let cases: Vec<Shown> = shown
        .iter()
        .zip(names.all())
        .map(|(result, id)| Shown { result, id })
        .collect();
    let title = summary::headline(results);
    let content = html! {
        (summary::summary(results, &cases))
        (heat_map::heat_maps(&cases))
        (table::table(&cases))
    };
    let bodies = html! {
        @for shown in &cases {
            (page::later(shown.id, case::case(*shown, results, folder)))
        }
    };
    page::page(&title, content, bodies)
}
