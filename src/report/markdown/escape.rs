//! Text that is shown as it is, whatever it has in it.

use crate::printable::{printable, printable_lines};

/// Keeps a name from being read as Markdown, as HTML, or as somebody's name who would be told.
pub(in crate::report) fn escape(text: &str) -> String {
    let text = printable(&text.replace('\n', " ")).into_owned();
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        match character {
            '|' | '*' | '<' | '>' | '`' | '[' | ']' | '\\' | '~' | '$' | '&' => escaped.push('\\'),
            // Between letters it is one itself.
            '_' if !(in_word(before) && in_word(rest.peek().copied())) => escaped.push('\\'),
            _ => {}
        }
        escaped.push(character);
        if character == '@' {
            escaped.push_str("<!-- -->");
        }
        before = Some(character);
    }
    escaped
}

/// The same where HTML stands, which Markdown does not look into.
pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(&text.replace('\n', " ")).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' => escaped.push_str("&#64;<!-- -->"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Lines as they are, between fences longer than any run of backticks inside them.
pub(super) fn fenced(lines: &str) -> String {
    let fence = "`".repeat(longest_run(lines) + 1);
    format!("{fence}text\n{}{fence}\n\n", printable_lines(lines))
}

fn longest_run(text: &str) -> usize {
    let longest = text.split(|c| c != '`').map(str::len).max();
    longest.unwrap_or(0).max(2)
}

/// The beginning of a text that is longer than so many characters.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_break_the_table() {
        assert_eq!(escape("\u{1b}[2J"), "\\\\u{1b}\\[2J");
        assert_eq!(escape("a|b*\n<script>"), "a\\|b\\* \\<script\\>");
        assert_eq!(
            escape("tcp_retries2 _a_ ~b~ &lt;"),
            "tcp_retries2 \\_a\\_ \\~b\\~ \\&lt;"
        );
    }

    #[test]
    fn nobody_is_told_by_a_name() {
        assert_eq!(escape("@all"), "@<!-- -->all");
        assert_eq!(html("@all </summary>"), "&#64;<!-- -->all &lt;/summary&gt;");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(longest_run("a"), 2);
        assert_eq!(longest_run("a ````b"), 4);
    }
}
