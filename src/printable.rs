//! Text that came from a file or a program, made fit for a terminal: whatever could steer the terminal, or show the text
//! in another order than it is in, is written as an escape (`\u{1b}`).

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A text on one line: ends of lines and tabs are escaped as well.
#[must_use]
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) {
        Cow::Owned(text.chars().fold(String::new(), escaped))
    } else {
        Cow::Borrowed(text)
    }
}

/// A text of several lines: their ends, and tabs, stay as they are.
#[must_use]
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    let stays = |c: char| matches!(c, '\n' | '\t') || !steers(c);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // A line's end as Windows writes it.
        if stays(c) || (c == '\r' && rest.peek() == Some(&'\n')) {
            out.push(c);
        } else {
            out = escaped(out, c);
        }
    }
    Cow::Owned(out)
}

/// A path on one line. Bytes that are not UTF-8 are written as `\xff`.
#[must_use]
pub(crate) fn printable_path(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out += &printable(chunk.valid());
        for byte in chunk.invalid() {
            out += &format!("\\x{byte:02x}");
        }
    }
    out
}

/// Whether a terminal would do something else with a character than show it in its place.
pub(crate) fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Marks of direction, isolates and overrides.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // What is not seen at all: spaces without width, a byte order mark, notes between lines, tags.
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
            // What is no character, and nothing that XML may have in it.
            | '\u{fffe}' | '\u{ffff}'
        )
}

fn escaped(mut out: String, character: char) -> String {
    match character {
        '\n' | '\t' | '\r' => out.extend(character.escape_default()),
        c if steers(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
    out
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        let shown = [
            "\u{1b}[2J",
            "\u{9b}2J",
            "a\rb",
            "a\u{7f}b\0",
            "abc\u{202e}fed",
            "\u{2066}x",
            "\u{ffff}",
        ];
        let shown = shown.map(|text| printable(text).into_owned());
        let escaped = [
            r"\u{1b}[2J",
            r"\u{9b}2J",
            r"a\rb",
            r"a\u{7f}b\u{0}",
            r"abc\u{202e}fed",
            r"\u{2066}x",
            r"\u{ffff}",
        ];
        assert_eq!(shown, escaped);
    }

    #[test]
    fn words_of_every_language_stay() {
        for text in ["节点", "עברית", "naïve ▲ 👩‍💻", "a\\b 'c'"] {
            assert_eq!(printable(text), text);
            assert_eq!(printable_lines(text), text);
        }
    }

    #[test]
    fn only_several_lines_keep_their_ends() {
        assert_eq!(printable("a\n\tb\r\n"), r"a\n\tb\r\n");
        assert_eq!(printable_lines("a\n\tb\r\n"), "a\n\tb\r\n");
        assert_eq!(printable_lines("a\rb\n\u{1b}c"), "a\\rb\n\\u{1b}c");
    }

    #[test]
    fn a_path_of_any_bytes_is_told() {
        let path = Path::new(OsStr::from_bytes(b"a\xff\x1b.yaml"));
        assert_eq!(printable_path(path), r"a\xff\u{1b}.yaml");
    }
}
