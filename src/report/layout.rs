//! Tables and lines within a number of columns: a table too wide has its cells folded between words, and one that is too wide
//! even so is written as a list. Nothing is ever cut off.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table as Drawn, TableStyle,
    Width,
};
use textwrap::{Options, WordSplitter, WrapAlgorithm};
use unicode_width::UnicodeWidthStr as _;

use crate::printable::printable;

/// Columns where nobody knows how many there are.
pub(crate) const COLUMNS: usize = 80;

/// A line below the header, and no more.
const RULED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A space that is not folded at, while things are laid out: of Unicode's private use, so that no text has it.
const GLUE: char = '\u{e000}';

/// Columns between two of a folded table's.
const GAP: usize = 2;

/// Units that stay with their numbers.
const UNITS: [&str; 8] = ["s", "ms", "µs", "min", "h", "%", "B", "MiB"];

/// A table before it is known how wide it may be.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    whole: Vec<usize>,
    ruled: bool,
}

impl Sheet {
    /// With a line below its header, unless it is [`Sheet::plain`].
    pub(crate) fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            right: Vec::new(),
            whole: Vec::new(),
            ruled: true,
        }
    }

    /// Without that line.
    pub(crate) fn plain(mut self) -> Self {
        self.ruled = false;
        self
    }

    /// These columns hold numbers.
    pub(crate) fn right(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        self.right.extend(columns);
        self
    }

    /// The cells of these columns are not folded.
    pub(crate) fn whole(mut self, columns: impl IntoIterator<Item = usize>) -> Self {
        self.whole.extend(columns);
        self
    }

    /// Adds a row. What would steer a terminal is shown.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let shown = |cell: T| {
            let cell: String = cell.into();
            let lines: Vec<_> = cell
                .lines()
                .map(|line| printable(line).into_owned())
                .collect();
            lines.join("\n")
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// As it is, if that is narrow enough; else with cells folded; else as a list.
    pub(crate) fn within(&self, columns: usize) -> String {
        self.as_table(columns)
            .unwrap_or_else(|| self.listed(columns))
    }

    /// As it is or with cells folded, if it is narrow enough so.
    pub(crate) fn as_table(&self, columns: usize) -> Option<String> {
        self.as_it_is(columns).or_else(|| self.folded(columns))
    }

    /// As it is, if it is narrow enough so.
    pub(crate) fn as_it_is(&self, columns: usize) -> Option<String> {
        let whole = self.drawn(None);
        (width(&whole) <= columns).then_some(whole)
    }

    /// With cells folded between words, if it is narrow enough so.
    pub(crate) fn folded(&self, columns: usize) -> Option<String> {
        let narrow = self.narrowest();
        let needed = narrow.iter().sum::<usize>() + GAP * narrow.len().saturating_sub(1);
        let drawn = (needed <= columns).then(|| self.drawn(Some((columns, &narrow))))?;
        (width(&drawn) <= columns).then_some(drawn)
    }

    /// A cell with those spaces marked that it is not folded at.
    fn glued(&self, column: usize, cell: &str) -> String {
        match self.whole.contains(&column) {
            true => cell.replace(' ', &GLUE.to_string()),
            false => glued(cell),
        }
    }

    /// Each column's longest word.
    fn narrowest(&self) -> Vec<usize> {
        let longest = |column: usize, text: &str| {
            let glued = self.glued(column, text);
            glued
                .split([' ', '\n'])
                .map(|word| word.width())
                .max()
                .unwrap_or(0)
        };
        let of_column = |column: usize| {
            let rows = self.rows.iter().filter_map(|row| row.get(column));
            let cells = self.header.get(column).into_iter().chain(rows);
            cells.map(|cell| longest(column, cell)).max().unwrap_or(0)
        };
        (0..self.header.len()).map(of_column).collect()
    }

    fn drawn(&self, within: Option<(usize, &[usize])>) -> String {
        let mut table = Drawn::new();
        match self.ruled {
            true => table.load_style(RULED),
            false => table.load_style(comfy_table::presets::NOTHING),
        };
        let cells = |row: &[String]| {
            let cells = row.iter().enumerate();
            let cells = cells.map(|(column, cell)| self.glued(column, cell));
            cells.collect::<Vec<_>>()
        };
        match within {
            Some(_) => table.set_header(cells(&self.header)),
            None => table.set_header(self.header.clone()),
        };
        for row in &self.rows {
            match within {
                Some(_) => table.add_row(cells(row)),
                None => table.add_row(row.clone()),
            };
        }
        if let Some((columns, narrowest)) = within {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(u16::try_from(columns).unwrap_or(u16::MAX));
            for (index, (column, least)) in table.column_iter_mut().zip(narrowest).enumerate() {
                let gap = match (index + 1 == narrowest.len(), self.ruled) {
                    (true, _) => 0,
                    // The other column is the ruling's.
                    (false, true) => GAP - 1,
                    (false, false) => GAP,
                };
                column.set_padding((0, u16::try_from(gap).unwrap_or(1)));
                let least = least + gap;
                let least = Width::Fixed(u16::try_from(least).unwrap_or(u16::MAX));
                column.set_constraint(ColumnConstraint::LowerBoundary(least));
            }
        }
        for column in &self.right {
            if let Some(column) = table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        trimmed(&table).replace(GLUE, " ")
    }

    /// A paragraph a row: its first cell, and the others by name. Empty ones are left out.
    fn listed(&self, columns: usize) -> String {
        let name = |header: &String| header.replace('\n', " ").trim().to_owned();
        let mut text = String::new();
        for row in &self.rows {
            let one_line = |cell: &String| cell.replace('\n', ", ").replace("  ", " ");
            let mut cells = row.iter().map(one_line);
            let first = cells.next().unwrap_or_default();
            let named = self.header.iter().skip(1).map(name).zip(cells);
            let told =
                named.filter(|(_, cell)| !cell.trim().is_empty() && cell != "-" && cell != "–");
            let told: Vec<_> = told.map(|(name, cell)| format!("{name} {cell}")).collect();
            let line = format!("{}: {}", first.trim(), told.join("; "));
            text += &folded(line.trim_start_matches(": "), columns);
            text.push('\n');
        }
        text.trim_end().to_owned()
    }
}

/// Lines that fit: what is too long goes on below, further in than it began.
pub(crate) fn folded(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| one_folded(line, columns)).collect();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

fn one_folded(line: &str, columns: usize) -> String {
    if textwrap::core::display_width(line) <= columns {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start_matches(' ').len();
    // Deep within a narrow terminal there would be no room left.
    let further = " ".repeat((indent + 2).min(columns / 2));
    let options = Options::new(columns)
        .subsequent_indent(&further)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(&glued(line), options).replace(GLUE, " ")
}

/// A name on several lines, if it has hyphens to fold it at.
pub(super) fn at_hyphens(name: &str, columns: usize) -> String {
    let options = Options::new(columns)
        .word_splitter(WordSplitter::HyphenSplitter)
        .break_words(false)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(name, options)
}

/// The widest line's columns.
fn width(text: &str) -> usize {
    text.lines().map(|line| line.width()).max().unwrap_or(0)
}

/// A text whose numbers keep their units, and a window's "to".
fn glued(text: &str) -> String {
    let mut glued = String::with_capacity(text.len());
    let mut before = "";
    for part in text.split_inclusive([' ', '\n']) {
        let word = part.trim_end_matches([' ', '\n', ',', ';', ')', '/']);
        let stays = match before.ends_with(|c: char| c.is_ascii_digit()) {
            true => UNITS.contains(&word),
            false => word == "to" && UNITS.contains(&before),
        };
        if stays && glued.ends_with(' ') {
            glued.pop();
            glued.push(GLUE);
        }
        glued.push_str(part);
        before = word;
    }
    glued
}

/// A table's lines. Cells are padded to their column's width, the last one too.
fn trimmed(table: &Drawn) -> String {
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new(["client", "cause", "recovered", "predicted"]).right([2]);
        sheet.row([
            "standby",
            "retransmission_timeout",
            "944.5 s",
            "936.5 s to 1004.6 s",
        ]);
        sheet.row(["节点", "request_timeout", "6 s", "never"]);
        sheet
    }

    #[test]
    fn a_table_is_folded_and_then_a_list() {
        let [whole, folded, listed] = [80, 60, 40].map(|columns| {
            let text = sheet().within(columns);
            assert!(width(&text) <= columns, "{text}");
            text
        });
        assert_eq!(whole.lines().count(), 4, "{whole}");
        assert!(whole.contains("936.5 s to 1004.6 s"), "{whole}");
        // A window is folded after its "to", and no word is cut.
        assert_eq!(folded.lines().count(), 5, "{folded}");
        let first = folded.lines().nth(2).unwrap_or_default();
        assert!(
            first.starts_with("standby  retransmission_timeout"),
            "{folded}"
        );
        assert!(first.ends_with("944.5 s  936.5 s to"), "{folded}");
        assert_eq!(folded.lines().nth(3).map(str::trim), Some("1004.6 s"));
        assert_eq!(
            listed,
            "standby: cause retransmission_timeout;\n  recovered 944.5 s; predicted\n  936.5 s to 1004.6 s\n\
             节点: cause request_timeout; recovered\n  6 s; predicted never"
        );
    }

    #[test]
    fn a_line_goes_on_further_in() {
        let line = "  warning: what is said here takes more room than there is";
        let told = "  warning: what is said here takes more\n    room than there is";
        assert_eq!(folded(line, 40), told);
        assert_eq!(folded(line, 80), line);
    }

    #[test]
    fn colours_take_no_room() {
        let line = "\u{1b}[1;31mfail\u{1b}[0m: ten";
        assert_eq!(folded(line, 9), line);
    }

    proptest! {
        #[test]
        fn whatever_is_in_it_fits_and_is_all_there(
            rows in proptest::collection::vec(proptest::collection::vec("[a-z节 ]{0,30}", 3), 1..5),
            columns in 40_usize..120,
        ) {
            let mut sheet = Sheet::new(["a", "b", "c"]);
            rows.iter().for_each(|row| sheet.row(row.clone()));
            let text = sheet.within(columns);
            prop_assert!(width(&text) <= columns, "{}", text);
            let letters = |text: &str| {
                let mut all: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
                all.sort_unstable();
                all
            };
            for cell in rows.iter().flatten() {
                for letter in letters(cell) {
                    prop_assert!(text.contains(letter));
                }
            }
        }
    }
}
