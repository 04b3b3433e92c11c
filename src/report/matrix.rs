//! A matrix as one table: a row a combination, a column a client.

use super::figures::{Figures, has_figures};
use super::layout::Sheet;
use crate::printable::printable;
use crate::verdict::{CaseResult, Verdict};

/// Results of one scenario's matrix on one clock, in a row.
pub(super) fn groups<'a>(results: &[&'a CaseResult]) -> Vec<Vec<&'a CaseResult>> {
    let mut groups: Vec<Vec<&CaseResult>> = Vec::new();
    for result in results {
        let same = |group: &&mut Vec<&CaseResult>| {
            group.first().is_some_and(|first| {
                of_matrix(first)
                    && of_matrix(result)
                    && first.scenario == result.scenario
                    && (first.clock, &first.kernel) == (result.clock, &result.kernel)
            })
        };
        match groups.last_mut().filter(same) {
            Some(group) => group.push(result),
            None => groups.push(vec![result]),
        }
    }
    groups
}

/// Whether it is a case of a matrix whose clients' figures one line can hold.
fn of_matrix(result: &CaseResult) -> bool {
    !result.matrix.is_empty() && result.repetition.is_none() && result.distributions.is_empty()
}

/// A combination, or several that came to the same.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// By axis.
    values: Vec<Vec<String>>,
    verdict: Verdict,
    /// By client.
    cells: Vec<String>,
}

/// The table; rows of cases that failed or could not be run come last.
pub(super) fn table(group: &[&CaseResult], columns: usize) -> String {
    let mut clients: Vec<&str> = Vec::new();
    for client in group.iter().flat_map(|result| &result.clients) {
        if !clients.contains(&client.name.as_str()) {
            clients.push(&client.name);
        }
    }
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for one in group.iter().flat_map(|result| &result.kept) {
        let of = (one.server.as_str(), one.client.as_str());
        if !kept.contains(&of) {
            kept.push(of);
        }
    }
    let rows = group.iter().map(|result| Row {
        values: result
            .matrix
            .iter()
            .map(|one| vec![one.value.clone()])
            .collect(),
        verdict: result.verdict,
        cells: clients
            .iter()
            .map(|client| cell(result, client))
            .chain(kept.iter().map(|of| kept_by(result, *of)))
            .collect(),
    });
    let mut rows = folded(rows.collect());
    rows.sort_by_key(|row| match row.verdict {
        Verdict::Pass | Verdict::Measured => 0,
        Verdict::Skipped => 1,
        Verdict::Error => 2,
        Verdict::Fail => 3,
    });
    let keys = group.first().into_iter().flat_map(|first| &first.matrix);
    let keys: Vec<String> = keys.map(|one| printable(&one.key).into_owned()).collect();
    let mut header = keys.clone();
    header.push(String::from("case"));
    header.extend(clients.iter().map(|client| {
        format!(
            "{}\ndetected / recovered, cause, verdict",
            printable(client)
        )
    }));
    header.extend(kept.iter().map(|(server, client)| {
        let (server, client) = (printable(server), printable(client));
        format!("{server}\nkept {client}'s connections for")
    }));
    let mut sheet = Sheet::new(header).right(0..keys.len());
    for row in rows {
        let values = row
            .values
            .iter()
            .map(|all| printable(&all.join(", ")).into_owned());
        let mut cells: Vec<String> = values.collect();
        cells.push(row.verdict.to_string());
        cells.extend(row.cells.iter().map(|cell| printable(cell).into_owned()));
        sheet.row(cells);
    }
    sheet.within(columns)
}

/// For how long a server kept a client's connections.
fn kept_by(result: &CaseResult, (server, client): (&str, &str)) -> String {
    let mut all = result.kept.iter();
    let found = all.find(|kept| (kept.server.as_str(), kept.client.as_str()) == (server, client));
    found.map_or_else(|| String::from("–"), |kept| kept.outcome())
}

/// A client's figures in one line.
fn cell(result: &CaseResult, name: &str) -> String {
    let Some(client) = result.client(name).filter(|_| has_figures(result)) else {
        let reason = result.reason.as_ref().map(|note| note.text.as_str());
        return reason.unwrap_or("–").to_owned();
    };
    let of = Figures::of(client, result);
    let mut text = format!("{} / {}, {}", of.detected, of.recovered, of.cause);
    if of.verdict != "–" {
        text += &format!(", {}", of.verdict);
    }
    text
}

/// Rows that came to the same and differ in one axis are one, axis by axis.
fn folded(mut rows: Vec<Row>) -> Vec<Row> {
    let axes = rows.first().map_or(0, |row| row.values.len());
    for axis in (0..axes).rev() {
        let mut kept: Vec<Row> = Vec::new();
        for row in rows {
            let same = |known: &&mut Row| {
                let mut others = known.values.iter().zip(&row.values).enumerate();
                (known.verdict, &known.cells) == (row.verdict, &row.cells)
                    && others.all(|(at, (a, b))| at == axis || a == b)
            };
            match kept.iter_mut().find(same) {
                Some(known) => known.values[axis].extend(row.values[axis].clone()),
                None => kept.push(row),
            }
        }
        rows = kept;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [&str; 2], cell: &str) -> Row {
        Row {
            values: values.map(|value| vec![value.to_owned()]).into(),
            verdict: Verdict::Pass,
            cells: vec![cell.to_owned()],
        }
    }

    #[test]
    fn what_came_to_the_same_is_one_row() {
        let rows = vec![
            row(["5", "h1"], "a"),
            row(["5", "h2"], "a"),
            row(["8", "h1"], "a"),
            row(["8", "h2"], "a"),
            row(["15", "h1"], "a"),
            row(["15", "h2"], "b"),
        ];
        let values: Vec<Vec<String>> = folded(rows)
            .into_iter()
            .map(|row| row.values.iter().map(|all| all.join("+")).collect())
            .collect();
        assert_eq!(values, [["5+8", "h1+h2"], ["15", "h1"], ["15", "h2"]]);
    }
}
