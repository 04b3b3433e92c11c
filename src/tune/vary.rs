//! What is varied: `KEY=v1,v2,…` from the command line, as YAML with places, and the ranges that are tried without it.

use std::rc::Rc;
use std::sync::Arc;

use miette::NamedSource;

use super::knob::Knob;
use crate::plan::Client;
use crate::yaml::source::{Source, Span};
use crate::yaml::tree::{self, Node, Value};
use crate::yaml::{Diagnostic, Problem};

/// A knob and the values it shall take.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) knob: Knob,
    pub(super) values: Vec<Rc<Node>>,
    text: Text,
}

/// An option's text, for what is wrong with it.
#[derive(Debug, Clone)]
struct Text {
    source: Source,
    named: Arc<NamedSource<String>>,
}

impl Text {
    fn new(text: &str) -> Self {
        const NAME: &str = "--vary";
        Self {
            source: Source::new(NAME, text),
            named: Arc::new(NamedSource::new(NAME, text.to_owned())),
        }
    }

    fn refuse(&self, span: Span, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        // The list is read with a bracket more than the text has.
        let end = self.source.text().len();
        let span = Span {
            start: span.start.min(end),
            end: span.end.clamp(span.start.min(end), end),
        };
        let mut problem = Problem::new(span, message);
        problem.help = help;
        Diagnostic::new(&self.source, &self.named, &problem)
    }
}

/// Reads `KEY=v1,v2,…`.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn read(text: &str) -> Result<Axis, Box<Diagnostic>> {
    let all = Text::new(text);
    let refuse =
        |span: Span, message: &str, help: Option<String>| Box::new(all.refuse(span, message, help));
    let whole = Span {
        start: 0,
        end: text.len(),
    };
    let Some((key, values)) = text.split_once('=') else {
        let help = String::from("write KEY=VALUE,VALUE,…, e.g. `tcp_retries2=5,8,15`");
        return Err(refuse(whole, "this has no values", Some(help)));
    };
    let named = Span {
        start: 0,
        end: key.len(),
    };
    let knob = Knob::named(key.trim()).map_err(|(message, help)| refuse(named, &message, help))?;
    // As long as the option's text, so that places stay what they are.
    let list = format!("{}[{values}]", " ".repeat(key.len()));
    let mut problems = Vec::new();
    let root = tree::parse(&list, &mut problems);
    if let Some(problem) = problems.into_iter().next() {
        return Err(refuse(problem.span, &problem.message, problem.help));
    }
    let values = match root.as_deref().map(|node| &node.value) {
        Some(Value::List(values)) if !values.is_empty() => values.clone(),
        _ => {
            let message = format!("`{}` has no values: the range is empty", key.trim());
            let help = format!("write e.g. `{}`", example(&knob));
            return Err(refuse(whole, &message, Some(help)));
        }
    };
    for (number, value) in values.iter().enumerate() {
        if values[..number]
            .iter()
            .any(|other| other.flow() == value.flow())
        {
            let message = format!("{} is here twice", value.describe());
            return Err(refuse(value.span, &message, None));
        }
    }
    Ok(Axis {
        knob,
        values,
        text: all,
    })
}

impl Axis {
    /// That a value of it can't be, and why.
    pub(super) fn refuse(&self, value: &Node, message: &str, help: Option<String>) -> Diagnostic {
        self.text.refuse(value.span, message, help)
    }

    /// That its values, with those of what else is varied, come to too many combinations.
    pub(super) fn too_many(&self, number: usize, most: usize) -> Diagnostic {
        let message =
            format!("{number} combinations of what is varied, and {most} are tried at the most");
        let help = "give fewer values, or call `halfopen tune` once for each of what is varied";
        self.text
            .refuse(self.name_span(), &message, Some(help.to_owned()))
    }

    fn name_span(&self) -> Span {
        Span {
            start: 0,
            end: self.knob.name().len(),
        }
    }

    /// That no client has a place for it.
    pub(super) fn reaches_nobody(&self, clients: &[&Client]) -> Diagnostic {
        let names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
        let message = format!(
            "no client has a place for `{}`: {}",
            self.knob.name(),
            crate::yaml::list(&names)
        );
        let programs = clients.iter().any(|client| client.program().is_some());
        let help = match programs {
            true => {
                "a program's own settings are its arguments: vary `clients.NAME.workload.exec.command`, or a sysctl of its pod"
            }
            false => {
                "keepalive's sysctls need `keepalive: on`, and PINGs HTTP/2; `tcp_retries2` and `user_timeout` reach every client"
            }
        };
        self.text
            .refuse(self.name_span(), message, Some(help.to_owned()))
    }
}

fn example(knob: &Knob) -> &'static str {
    match knob {
        Knob::KeepaliveSysctls => "tcp_keepalive=30/60x9,60/10x3",
        Knob::Transport("keepalive") => "keepalive=30/60x9,off",
        Knob::Transport("ping") => "ping=30s+15s,off",
        Knob::Transport(_) => "user_timeout=10s,20s,off",
        Knob::Sysctl(_) | Knob::Path(_) => "tcp_retries2=5,8,15",
    }
}

/// The ranges without `--vary`: each group's product.
pub(super) fn defaults(clients: &[&Client]) -> Vec<Vec<Axis>> {
    let all_programs = clients.iter().all(|client| client.program().is_some());
    let groups: &[&[&str]] = match all_programs {
        // Each of a program's settings has to be run.
        true => &[
            &["tcp_retries2=3,4,5,6,7,8,9,10,12,15"],
            &["tcp_rto_max_ms=1000,5000,10000,30000"],
            &["tcp_syn_retries=1,2,3,4"],
        ],
        false => &[
            &[
                "tcp_retries2=3,4,5,6,7,8,9,10,12,15",
                "tcp_rto_max_ms=1000,2000,5000,10000,20000,30000,60000,120000",
            ],
            &["user_timeout=1s,2s,3s,5s,8s,10s,12s,15s,20s,25s,30s,35s,40s,52s,60s,90s,120s"],
            &[
                "keepalive=1/1x5,5/1x3,5/5x3,10/1x5,10/5x3,10/10x3,15/5x3,15/15x3,30/1x5,30/10x3,30/30x3,60/10x3,60/60x3",
                "user_timeout=off,5s,10s,20s,30s,52s",
            ],
            &[
                "ping=1s+1s,1s+6s,5s+1s,5s+2s,5s+5s,5s+10s,5s+20s,10s+5s,10s+10s,10s+20s,15s+5s,15s+15s,30s+5s,30s+15s,30s+30s",
            ],
            &["request_timeout=2s,5s,15s,20s,30s,60s"],
            &["dial_timeout=1s,2s,3s,5s,10s,20s"],
            &[
                "tcp_syn_retries=1,2,3,4,5,6",
                "tcp_syn_linear_timeouts=0,1,4",
            ],
            &["tcp_rto_min_us=5000,50000,1000000"],
        ],
    };
    let read = |text: &&str| read(text).ok();
    let read = |group: &&[&str]| -> Vec<Axis> {
        let axes: Vec<Axis> = group.iter().filter_map(read).collect();
        let reach = |axis: &Axis| clients.iter().any(|client| axis.knob.reaches(client));
        axes.into_iter().filter(reach).collect()
    };
    let groups: Vec<Vec<Axis>> = groups.iter().map(read).collect();
    groups
        .into_iter()
        .filter(|group| !group.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (String, usize, String) {
        let error = read(text).expect_err("it is wrong");
        let help = error.help_text().unwrap_or_default().to_owned();
        (error.message().to_owned(), error.location().column, help)
    }

    #[test]
    fn values_are_yaml_and_keep_their_places() {
        let axis = read("keepalive=30/60x9,{idle: 5s, interval: 1s, count: 3},off").expect("right");
        let values: Vec<String> = axis.values.iter().map(|value| value.flow()).collect();
        assert_eq!(
            values,
            ["30/60x9", "{idle: 5s, interval: 1s, count: 3}", "off"]
        );
        let there = axis.refuse(&axis.values[2], "no", None);
        assert_eq!(there.location().column, 54);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let (message, column, help) = refused("tcp_retries2");
        assert_eq!((message.as_str(), column), ("this has no values", 1));
        assert!(help.contains("tcp_retries2=5,8,15"));
        let (message, _, help) = refused("user_timeout=");
        assert_eq!(message, "`user_timeout` has no values: the range is empty");
        assert!(help.contains("user_timeout=10s,20s,off"));
        assert_eq!(refused("tcp_retries2=5,8,5").1, 18);
        assert_eq!(
            refused("tcp_retries2=[5").0.split(':').next(),
            Some("this is not YAML")
        );
        assert_eq!(refused("retries=5").0, "there is no knob `retries`");
    }
}
