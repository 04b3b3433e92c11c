//! Text of files and programs, made fit for a page: what steers is escaped as on a terminal, and maud escapes the markup.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::time::Duration;

use maud::{Markup, html};

use crate::plan::units::measured;
use crate::printable::{printable, printable_lines};
use crate::verdict::{CaseResult, Verdict};

/// Characters of a name that a link keeps.
const ID_LENGTH: usize = 120;

/// A text on one line, in its own direction whatever stands beside it.
pub(super) fn line(text: &str) -> Markup {
    html! { bdi { (printable(text)) } }
}

/// A text of several lines.
pub(super) fn lines(text: &str) -> String {
    printable_lines(text).into_owned()
}

/// A text for an attribute.
pub(super) fn plain(text: &str) -> String {
    printable(text).into_owned()
}

/// A time, or that it never came.
pub(super) fn time(time: Option<Duration>) -> String {
    time.map_or_else(|| String::from("never"), measured)
}

/// A time, or a dash.
pub(super) fn time_or_dash(time: Option<Duration>) -> String {
    time.map_or_else(|| String::from("–"), measured)
}

/// `1 request`, `2 requests`.
pub(super) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    }
}

/// A case's name, with its scenario's.
pub(super) fn name(result: &CaseResult) -> String {
    format!("{} / {}", result.scenario, result.case)
}

/// A verdict as a word with a sign: it is never told by its colour alone.
pub(super) fn verdict(verdict: Verdict) -> Markup {
    let sign = match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Error => "!",
        Verdict::Skipped => "–",
        Verdict::Measured => "•",
    };
    html! {
        span class={ "verdict " (verdict) } { span aria-hidden="true" { (sign) } " " (verdict) }
    }
}

/// What links to cases end with: a name each, that stays the same from one run of the same cases to the next.
pub(super) struct Names(Vec<String>);

impl Names {
    /// Of some cases.
    pub(super) fn of(results: &[&CaseResult]) -> Self {
        let mut taken = HashSet::new();
        let each = results.iter().map(|result| {
            let own = slug(&name(result));
            let mut unique = own.clone();
            let mut number = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{own}-{number}");
                number += 1;
            }
            unique
        });
        Self(each.collect())
    }

    /// All of them, in the cases' order.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Letters and digits of a name, and hyphens for all else.
fn slug(name: &str) -> String {
    let mut slug = String::from("case");
    for character in name.chars() {
        if slug.len() >= ID_LENGTH {
            break;
        }
        if character.is_ascii_alphanumeric() {
            if slug == "case" {
                slug.push('-');
            }
            slug.push(character.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The way from a folder to a file, for a link; `None` if one of them can't be found.
pub(super) fn way(folder: Option<&Path>, file: &Path) -> Option<String> {
    let (from, to) = (folder?.canonicalize().ok()?, file.canonicalize().ok()?);
    let common = from.components().zip(to.components());
    let common = common.take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| String::from(".."));
    let down = to.components().skip(common).map(|part| match part {
        Component::Normal(name) => escaped(name.as_encoded_bytes()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            String::from(".")
        }
    });
    let way = up.chain(down).collect::<Vec<_>>().join("/");
    // A name with a colon in it must not be taken for another protocol.
    Some(format!("./{way}"))
}

/// A file's name as a part of a URL (RFC 3986, 2.1).
fn escaped(name: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(*byte));
            }
            other => escaped += &format!("%{other:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_s_name_is_made_of_letters_and_digits_alone() {
        let long = "x".repeat(300);
        let slugs = ["a1 / tcp_retries2=5", "<script>", "节点", "\u{202e}", &long].map(slug);
        assert_eq!(
            slugs[..4],
            ["case-a1-tcp-retries2-5", "case-script", "case", "case"]
        );
        assert_eq!(slugs[4].len(), ID_LENGTH);
    }

    #[test]
    fn a_file_is_named_by_its_way_from_the_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pages, records) = (folder.path().join("pages"), folder.path().join("a b"));
        for folder in [&pages, &records] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let record = records.join("x:1%.ndjson");
        std::fs::write(&record, "").expect("written");
        let told = way(Some(&pages), &record);
        assert_eq!(told.as_deref(), Some("./../a%20b/x%3A1%25.ndjson"));
        assert_eq!(way(None, &record), None);
        assert_eq!(way(Some(&pages), &records.join("none")), None);
    }
}
