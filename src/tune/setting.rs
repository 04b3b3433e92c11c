//! Settings: the scenario with other values of some knobs.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Deserialize;

use super::knob::Knob;
use super::vary::{self, Axis};
use crate::plan::{Case, Client};
use crate::scenario::{Put, Template};
use crate::yaml::Diagnostic;
use crate::yaml::tree::Node;

/// What is called so when nothing is changed.
pub(super) const AS_IT_IS: &str = "as it is";

/// The scenario with other values of some knobs.
pub(super) struct Setting {
    /// Its knobs and values, or what it is called.
    pub(super) name: String,
    /// Who recommends it.
    pub(super) source: Option<String>,
    pub(super) values: Vec<(Knob, Rc<Node>)>,
    /// What of a recommendation no client has a place for.
    pub(super) left_out: Vec<String>,
    pub(super) case: Case,
}

/// All settings to compare.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) all: Vec<Setting>,
    /// Those that can't be, each with why.
    pub(super) impossible: Vec<(String, String)>,
}

/// What is compared besides what is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The default ranges.
    pub(super) ranges: bool,
    /// What is recommended.
    pub(super) recommended: bool,
}

/// A recommendation, as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recommended {
    source: String,
    set: BTreeMap<String, String>,
}

/// As many combinations are tried at the most: their number is a product, and soon more than memory holds.
const MOST: usize = 20_000;

/// All combinations of what is varied, or of the default ranges; what is recommended; and the scenario as it is.
///
/// # Errors
/// What is wrong with what is varied.
pub(super) fn all(
    template: &Template,
    clients: &[&Client],
    vary: &[String],
    wanted: Wanted,
) -> Result<Settings, Vec<Diagnostic>> {
    let mut settings = Settings::default();
    settings.add(template, clients, AS_IT_IS.to_owned(), None, Vec::new());
    if wanted.ranges {
        for group in vary::defaults(clients) {
            for values in combinations(&group) {
                settings.add(template, clients, name(&values), None, values);
            }
        }
    }
    if wanted.recommended {
        for (name, Recommended { source, set }) in recommended() {
            settings.recommend(template, clients, name, source, set);
        }
    }
    if vary.is_empty() {
        return Ok(settings);
    }
    let (mut axes, mut wrong) = (Vec::new(), Vec::new());
    for text in vary {
        match vary::read(text) {
            Ok(axis) => axes.push(axis),
            Err(error) => wrong.push(*error),
        }
    }
    for axis in &axes {
        wrong.extend(check(template, clients, axis));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let reached = |client: &&&Client| axes.iter().any(|axis| axis.knob.reaches(client));
    if let Some(client) = clients.iter().find(|client| !reached(client)) {
        let varied: Vec<&str> = axes.iter().map(|axis| axis.knob.name()).collect();
        let message = format!(
            "nothing that is varied reaches client `{}`: {}",
            client.name,
            crate::yaml::list(&varied)
        );
        let help = "name the clients to tune with --client, or vary e.g. `tcp_retries2`";
        return Err(template.refuse("clients", message, help.to_owned()));
    }
    let number = |axes: &[Axis]| {
        let each = axes.iter().map(|axis| axis.values.len());
        each.fold(1_usize, usize::saturating_mul)
    };
    if let Some(last) = axes.last().filter(|_| number(&axes) > MOST) {
        return Err(vec![last.too_many(number(&axes), MOST)]);
    }
    for values in combinations(&axes) {
        settings.add(template, clients, name(&values), None, values);
    }
    Ok(settings)
}

/// What is wrong with a knob, or with one of its values alone.
fn check(template: &Template, clients: &[&Client], axis: &Axis) -> Vec<Diagnostic> {
    let reached = clients.iter().any(|client| axis.knob.reaches(client));
    // Of a path it is told first what of it is not there.
    if !reached && !matches!(axis.knob, Knob::Path(_)) {
        return vec![axis.reaches_nobody(clients)];
    }
    let wrong = |value: &Rc<Node>| {
        let one = [(axis.knob.clone(), Rc::clone(value))];
        let puts = match puts(&one, clients, Whom::All) {
            Ok(puts) => puts,
            Err(help) => {
                let message = format!("{} is no value of `{}`", value.describe(), axis.knob.name());
                return Some(axis.refuse(value, &message, Some(help)));
            }
        };
        let problem = template.with("", &puts).err()?.into_iter().next()?;
        Some(axis.refuse(value, &problem.message, problem.help))
    };
    let mut wrong: Vec<Diagnostic> = axis.values.iter().filter_map(wrong).collect();
    if !reached && wrong.is_empty() {
        wrong.push(axis.reaches_nobody(clients));
    }
    wrong
}

/// Whose places a knob is put in.
#[derive(Clone, Copy, PartialEq)]
enum Whom {
    /// Those of the clients that it reaches.
    Reached,
    /// A path's is looked at whoever it reaches.
    All,
}

impl Settings {
    fn add(
        &mut self,
        template: &Template,
        clients: &[&Client],
        name: String,
        source: Option<String>,
        values: Vec<(Knob, Rc<Node>)>,
    ) {
        let case = puts(&values, clients, Whom::Reached).and_then(|puts| {
            template.with(&name, &puts).map_err(|problems| {
                let first = problems.into_iter().next();
                first.map_or_else(String::new, |problem| problem.message)
            })
        });
        match case {
            Err(why) => self.impossible.push((name, why)),
            Ok(case) => self.all.push(Setting {
                name,
                source,
                values,
                left_out: Vec::new(),
                case,
            }),
        }
    }

    /// A recommendation: what of it the clients have a place for.
    fn recommend(
        &mut self,
        template: &Template,
        clients: &[&Client],
        name: String,
        source: String,
        set: BTreeMap<String, String>,
    ) {
        let (mut values, mut left_out) = (Vec::new(), Vec::new());
        for (key, value) in set {
            let text = format!("{key}={value}");
            match vary::read(&text) {
                Ok(axis) if clients.iter().any(|client| axis.knob.reaches(client)) => {
                    let value = axis.values.into_iter().next();
                    values.extend(value.map(|value| (axis.knob, value)));
                }
                Ok(_) | Err(_) => left_out.push(text),
            }
        }
        if values.is_empty() {
            let why = format!("no client has a place for {}", left_out.join(", "));
            self.impossible.push((name, why));
            return;
        }
        self.add(template, clients, name.clone(), Some(source), values);
        let added = self.all.last_mut().filter(|setting| setting.name == name);
        if let Some(added) = added {
            added.left_out = left_out;
        }
    }
}

fn puts(values: &[(Knob, Rc<Node>)], clients: &[&Client], whom: Whom) -> Result<Vec<Put>, String> {
    let mut puts: Vec<Put> = Vec::new();
    for (knob, value) in values {
        let any = whom == Whom::All && matches!(knob, Knob::Path(_));
        for client in clients.iter().filter(|client| any || knob.reaches(client)) {
            for put in knob.puts(value, client)? {
                // A place of the whole file, and a node's, is one for all.
                if puts.iter().all(|known| known.path != put.path) {
                    puts.push(put);
                }
            }
        }
    }
    Ok(puts)
}

fn combinations(axes: &[Axis]) -> Vec<Vec<(Knob, Rc<Node>)>> {
    axes.iter().fold(vec![Vec::new()], |all, axis| {
        let longer = |one: &Vec<(Knob, Rc<Node>)>| {
            let one = one.clone();
            let each = axis.values.iter().map(move |value| {
                let mut more = one.clone();
                more.push((axis.knob.clone(), Rc::clone(value)));
                more
            });
            each.collect::<Vec<_>>()
        };
        all.iter().flat_map(longer).collect()
    })
}

fn name(values: &[(Knob, Rc<Node>)]) -> String {
    let each = values
        .iter()
        .map(|(knob, value)| format!("{}={}", knob.name(), value.flow()));
    each.collect::<Vec<_>>().join(", ")
}

fn recommended() -> BTreeMap<String, Recommended> {
    // The file is part of the program, and a test reads it.
    serde_yaml::from_str(include_str!("named.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recommendation_can_be_read_and_has_a_source() {
        let all = recommended();
        assert!(all.len() > 20);
        for (name, Recommended { source, set }) in all {
            assert!(!source.is_empty(), "{name}");
            for (key, value) in set {
                let axis = vary::read(&format!("{key}={value}"));
                assert_eq!(axis.expect("it is right").values.len(), 1, "{name}: {key}");
            }
        }
    }
}
