//! What an `expect_when` waits for: keys of the matrix, and values that they have.

use crate::scenario::cx::Cx;
use crate::scenario::model::{ExpectWhenSpec, OneOrList, Spanned, Text};
use crate::yaml::{Problem, given, list};

/// Looks at the conditions of every `expect_when`.
pub(super) fn check(cx: &mut Cx<'_>) {
    let conditional = given(&cx.scenario.expect_when);
    for entry in conditional.into_iter().flatten().filter_map(Spanned::get) {
        condition(cx, entry);
    }
}

/// Its keys and values must be the matrix's.
fn condition(cx: &mut Cx<'_>, entry: &ExpectWhenSpec) {
    let Some(condition) = entry.matrix.get() else {
        return;
    };
    if condition.0.is_empty() {
        let message = "no matrix key here, so this would hold in every case";
        let help = "write it under `expect`, or name a key of the matrix";
        cx.push(Problem::new(entry.matrix.span, message).help(help));
    }
    for (name, values) in &condition.0 {
        let Some(key) = name.get() else { continue };
        let Some(axis) = cx.axes.iter().find(|axis| axis.is_called(key)) else {
            let problem = Problem::new(name.span, format!("the matrix has no key `{key}`"));
            let problem = problem.help("the scenario has no `matrix`");
            cx.push(problem.suggest(key, cx.axes.iter().map(|axis| &*axis.path)));
            continue;
        };
        let labels = (0..axis.values.len()).map(|i| axis.value_label(i));
        let known: Vec<String> = labels.collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for value in values
            .get()
            .into_iter()
            .flat_map(|OneOrList(values)| values)
        {
            let Some(Text(word)) = value.get() else {
                continue;
            };
            if !known.contains(&word.as_str()) {
                let message = format!("`{word}` is not a value of matrix key `{}`", axis.path);
                let problem = Problem::new(value.span, message);
                let problem = problem.also(axis.span, "its values stand here");
                cx.push(problem.help(format!("its values are {}", list(&known))));
            }
        }
    }
}
