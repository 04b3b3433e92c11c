//! What the terminal can show, if there is one.

use std::io::IsTerminal;

use console::Term;

/// Columns of what is not a terminal.
pub(super) use crate::report::COLUMNS;

/// The narrowest that anything is laid out for.
const NARROWEST: usize = 40;

/// Columns of standard output, if that is a terminal.
pub(super) fn width_of_stdout() -> Option<usize> {
    width(&Term::stdout())
}

/// Columns of standard error, if that is a terminal.
pub(super) fn width_of_stderr() -> Option<usize> {
    width(&Term::stderr())
}

fn width(term: &Term) -> Option<usize> {
    if !term.is_term() {
        return None;
    }
    // One that does not say how wide it is has no columns.
    let told = term.size_checked().map(|(_, columns)| usize::from(columns));
    Some(
        told.filter(|columns| *columns > 0)
            .unwrap_or(COLUMNS)
            .max(NARROWEST),
    )
}

/// Whether `out` is a terminal that can do more than print a line after the other.
pub(super) fn can_move(out: &impl IsTerminal) -> bool {
    out.is_terminal() && !is_dumb()
}

/// Whether `out` is a terminal with colours, and the user wants them (<https://no-color.org>).
pub(super) fn has_colours(out: &impl IsTerminal) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    can_move(out) && !unwanted
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Lines that fit: what is too long goes on below, further in than it began. `None` leaves all as it is, a line a line, for
/// programs that read lines.
pub(super) fn folded(text: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) => crate::report::folded(text, columns),
        None => text.to_owned(),
    }
}
