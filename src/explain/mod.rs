//! The story of one case, for a terminal: what its clients saw, what their sockets' timers said, packets, rules, the
//! cause, the outage in its parts, and what would have shortened it.
//!
//! A pure function of the record and of what was judged of it.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod counterfactual;
mod expected;
mod faultless;
mod kept;
mod knobs;
mod namespace;
mod outages;
mod page;
mod series;
mod socket;
mod story;
mod sum;

use std::fmt::Write as _;
use std::time::Duration;

pub use page::history;

use crate::plan::units::{between, exact, measured};
use crate::plan::{Case, Cause, Client, Effect, Work, Workload};
use crate::printable::printable;
use crate::record::{Event, Observation};
use crate::result::{ClientResult, PredictedQuantileResult, WORKED_AGAIN, not_for_good, word};
use crate::verdict::{CaseResult, Verdict};

/// What of a case is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Everything, not only what fits a screen.
    pub verbose: bool,
    /// This client alone.
    pub client: Option<&'a str>,
    /// With bold headings, for a terminal.
    pub colour: bool,
}

/// Why a case can't be explained.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExplainError {
    /// The record does not begin with its case.
    #[error("the record does not say which case it is of")]
    Nameless,
    /// There is no such client.
    #[error("the case has no client {asked:?}; its clients are {clients}")]
    NoClient {
        /// Who was asked for.
        asked: String,
        /// Who is there.
        clients: String,
    },
}

/// The story of a case, by its record and what was judged of it.
///
/// # Errors
/// If the record names no case, or the case has no such client.
pub fn explain(
    record: &[Event],
    result: &CaseResult,
    options: Options<'_>,
) -> Result<String, ExplainError> {
    let case = case_of(record).ok_or(ExplainError::Nameless)?;
    let names = || case.lab.clients.iter().map(|client| client.name.as_str());
    if let Some(asked) = options.client
        && names().all(|name| name != asked)
    {
        return Err(ExplainError::NoClient {
            asked: asked.to_owned(),
            clients: names().collect::<Vec<_>>().join(", "),
        });
    }
    let mut text = heading(case, result, options);
    if was_skipped(result) {
        text.push_str("nothing was tested, so there is nothing to explain\n");
        return Ok(text);
    }
    let mut failed_without_fault = false;
    let chosen = result
        .clients
        .iter()
        .filter(|client| options.client.is_none_or(|name| client.name == name));
    for client in chosen {
        let Some(planned) = case.lab.clients.iter().find(|c| c.name == client.name) else {
            continue;
        };
        let told = Told {
            record,
            case,
            result,
            planned,
            client,
            of_several: false,
            until: None,
            options,
        };
        let _ = write!(text, "\n{}", told.text());
        failed_without_fault |= told.has_no_fault() && faultless::failed(&told);
    }
    if failed_without_fault {
        let counters = faultless::counters(record, case, result);
        if !counters.is_empty() {
            let _ = writeln!(text, "\n{}", bold("counters", options));
        }
        for line in counters {
            let _ = writeln!(text, "{}", printable(&line));
        }
    }
    let counters = match failed_without_fault {
        true => Vec::new(),
        false => expected::of_counters(result),
    };
    if !counters.is_empty() && options.client.is_none() {
        text.push('\n');
        for line in counters {
            let _ = writeln!(text, "{}", printable(&line));
        }
    }
    let of_another = |text: &str| {
        let mut others = names().filter(|name| options.client.is_some_and(|own| own != *name));
        others.any(|name| text.starts_with(&format!("{name}: ")))
    };
    let warnings = result.warnings.iter().map(|warning| &warning.text);
    let warnings: Vec<_> = warnings.filter(|text| !of_another(text)).collect();
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    Ok(text)
}

/// Whether the case could not be tried at all. (One whose expectations alone were skipped has its story.)
fn was_skipped(result: &CaseResult) -> bool {
    result.verdict == Verdict::Skipped && !result.judged
}

fn case_of(record: &[Event]) -> Option<&Case> {
    record.iter().find_map(|event| {
        let Observation::CaseStarted { case, .. } = &event.what else {
            return None;
        };
        Some(case.as_ref())
    })
}

fn heading(case: &Case, result: &CaseResult, options: Options<'_>) -> String {
    let name = format!("{} / {}", result.scenario, result.case);
    let name = bold(&printable(&name), options);
    let clock = result
        .clock
        .map_or_else(String::new, |clock| format!(", {clock} clock"));
    let kernel = result.kernel.as_ref().map_or_else(String::new, |kernel| {
        format!(", Linux {}", printable(kernel))
    });
    let hz = result
        .hz
        .map_or_else(String::new, |hz| format!(", HZ {hz}"));
    let mut text = format!("{name}{clock}{kernel}{hz}\n");
    if let Some(reason) = &result.reason {
        let verdict = result.verdict;
        let _ = writeln!(text, "{verdict}: {}", printable(&reason.text));
    }
    if was_skipped(result) {
        return text;
    }
    for (planned, fault) in case.lab.faults.iter().zip(&result.faults) {
        // What may never be is no gap in the record.
        if fault.at.is_none() && !planned.trigger.is_certain() {
            continue;
        }
        let told = match fault.at {
            Some(_) => fault.to_string(),
            None => format!(
                "{} of {} is not in the record: no outage can be told from it",
                fault.kind, fault.target
            ),
        };
        let _ = writeln!(text, "{}", printable(&told));
    }
    text
}

fn bold(text: &str, options: Options<'_>) -> String {
    if options.colour {
        format!("\u{1b}[1m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// All that a client's story is told from.
struct Told<'a> {
    record: &'a [Event],
    case: &'a Case,
    result: &'a CaseResult,
    planned: &'a Client,
    client: &'a ClientResult,
    /// It is of one of several outages.
    of_several: bool,
    /// When another fault struck it after that, if one did.
    until: Option<Duration>,
    options: Options<'a>,
}

impl Told<'_> {
    fn text(&self) -> String {
        let name = bold(&printable(&self.client.name), self.options);
        let several = self.client.outages.len() > 1 && !self.client.gone;
        let outcome = match several {
            true => outages::sum(self.client),
            false => self.outcome(),
        };
        let who = self.who();
        let mut text = format!("{name}: {}\n  {}\n", printable(&outcome), printable(&who));
        for line in expected::lines(self) {
            let _ = writeln!(text, "  {}", printable(&line));
        }
        if self.has_no_fault() && faultless::failed(self) {
            self.section(&mut text, "", &faultless::lines(self));
        }
        if let Some(end) = self.client.program_ended() {
            let program = self.client.program.iter();
            let output = program.flat_map(|program| &program.last_output);
            let mut lines = vec![format!("{end}; it wrote last:")];
            lines.extend(output.map(|line| format!("  │ {line}")));
            if let [only] = lines.as_mut_slice() {
                *only = format!("{end}; it wrote nothing");
            }
            self.section(&mut text, "", &lines);
        }
        self.section(&mut text, "what servers kept of it", &kept::lines(self));
        if self.client.gone || self.client.fault_at.is_none() {
            return text;
        }
        if several {
            self.section(&mut text, "faults and rules", &outages::lines(self));
            for outage in &self.client.outages {
                let mut of_faults = self.client.by_fault.iter();
                let Some(of) = of_faults.find(|of| of.fault == outage.fault) else {
                    continue;
                };
                let told = Told {
                    client: &of.client,
                    of_several: true,
                    until: outages::next(outage, &self.client.outages),
                    ..*self
                };
                let title = outages::title(outage, self.result);
                let _ = write!(text, "\n  {}", bold(&printable(&title), self.options));
                let _ = writeln!(text, ": {}", printable(&told.outcome()));
                told.outage(&mut text);
            }
            self.section(&mut text, "rules and connections", &namespace::lines(self));
            self.section(&mut text, "published", &self.published());
            return text;
        }
        self.outage(&mut text);
        if self.client.unexplained.is_some() {
            self.section(&mut text, "published", &self.published());
            let (title, lines) =
                counterfactual::lines(self.planned, self.case, self.client, self.result);
            self.section(&mut text, &title, &lines);
        }
        text
    }

    /// How an outage went, from its fault to the recovery.
    fn outage(&self, text: &mut String) {
        let had_outage = self.client.unexplained.is_some();
        if let Some(evidence) = &self.client.evidence {
            let cause = match &self.client.cause {
                Some(Cause::Unknown) => String::from("what ended it is not told by the evidence"),
                Some(cause) => word(cause),
                None => String::new(),
            };
            let _ = writeln!(text, "  {cause}: {}", printable(evidence));
        }
        if had_outage || self.options.verbose {
            self.section(text, "", &story::lines(self));
        }
        if had_outage {
            self.section(text, "the segment sent again", &series::lines(self));
            if !self.of_several {
                self.section(text, "rules and connections", &namespace::lines(self));
            }
            self.section(text, "the outage in its parts", &sum::lines(self));
        }
    }

    fn section(&self, text: &mut String, title: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        text.push('\n');
        if !title.is_empty() {
            let _ = writeln!(text, "  {}", bold(&printable(title), self.options));
        }
        for line in lines {
            let _ = writeln!(text, "{}", format!("  {}", printable(line)).trim_end());
        }
    }

    /// Whether nothing was to break in the case.
    fn has_no_fault(&self) -> bool {
        self.case.lab.faults.is_empty()
    }

    /// What ended the client itself.
    fn how_it_ended(&self) -> &'static str {
        let faults = self.case.lab.faults.iter().zip(&self.result.faults);
        let mut effects: Vec<_> = faults
            .filter_map(|(fault, seen)| Some((seen.at?, fault)))
            .flat_map(|(at, fault)| fault.effects.iter().map(move |effect| (at, effect)))
            .filter(|(_, effect)| effect.ends(self.planned))
            .collect();
        effects.sort_by_key(|(at, _)| *at);
        let Some((_, first)) = effects.first() else {
            return "its own node lost its power, or it was killed";
        };
        match first {
            Effect::Stop { .. } => "its own node lost its power",
            Effect::Kill { .. } => "it was killed",
            // They end no client.
            Effect::Silence { .. }
            | Effect::Restore { .. }
            | Effect::Hang { .. }
            | Effect::Carrier { .. }
            | Effect::Drop { .. }
            | Effect::Delay { .. }
            | Effect::Answer { .. }
            | Effect::Rules { .. }
            | Effect::Forget { .. }
            | Effect::Destroy { .. }
            | Effect::LoseState { .. } => "a fault ended it",
        }
    }

    /// What became of it, in one line.
    fn outcome(&self) -> String {
        let client = self.client;
        if client.gone {
            return format!("gone: {}", self.how_it_ended());
        }
        if self.has_no_fault() {
            return faultless::outcome(self);
        }
        if client.fault_at.is_none() {
            return String::from("nothing to explain: no fault came into force");
        }
        if client.ended_before_fault() {
            return String::from("not tested: its program had ended before the fault");
        }
        let affected = client.affected != Some(false);
        if !affected && client.unexplained.is_none() && !self.waited_behind_its_server() {
            return String::from(
                "not affected: no connection it held led to a node that was struck",
            );
        }
        let cause = match client.cause {
            Some(Cause::Unknown) if client.detected_after.is_none() => String::new(),
            Some(Cause::Unknown) => String::from(", by what the evidence does not tell"),
            Some(Cause::Never) => String::from(", and nothing ended its wait"),
            Some(cause) => {
                let own = client.ended_by_its_program();
                format!(", by {}", own.unwrap_or_else(|| word(&cause)))
            }
            None => String::new(),
        };
        let detected = match client.detected_after {
            Some(after) => format!(
                "the dead connection given up after {}{cause}",
                measured(after)
            ),
            None if self.worked_again() => {
                String::from("the connection that was struck not given up: it worked again")
            }
            None if affected => format!("the dead connection not given up{cause}"),
            None if client.unexplained.is_some() => {
                String::from("it held no dead connection, but dialled a dead endpoint")
            }
            None => String::from(
                "it held no dead connection and dialled no dead endpoint: what it waited for lies behind its server",
            ),
        };
        let recovered = match client.recovered_after {
            Some(after) => format!("well again after {}", measured(after)),
            None if !self.result.judged => String::from("not well again as far as the record goes"),
            None => String::from("never well again within the case"),
        };
        format!("{recovered}; {detected}")
    }

    /// Whether its requests failed though nothing of its own was struck: as of one whose server is a proxy.
    fn waited_behind_its_server(&self) -> bool {
        let client = self.client;
        client.requests_failed.unwrap_or(0) > 0
            || client.recovered_after.is_none()
            || client.held_up.is_some()
    }

    /// Whether a connection that was struck, and that nothing ended, carried the response with which it was well again.
    fn worked_again(&self) -> bool {
        let evidence = self.client.evidence.as_ref();
        evidence.is_some_and(|evidence| evidence.starts_with(WORKED_AGAIN))
    }

    /// Who it is, in one line.
    fn who(&self) -> String {
        let client = self.planned;
        let transport = match (client.program(), client.transport.protocol) {
            (Some(program), _) => {
                let command = program.exec.command.join(" ");
                match self.client.spoken() {
                    Some(spoken) => format!("exec {command}, {spoken}"),
                    None => format!("exec {command}"),
                }
            }
            (None, protocol) => format!("{}, {}", client.profile, protocol.title()),
        };
        let works: Vec<_> = client.workloads.iter().filter_map(rhythm).collect();
        let every = works.concat();
        let timeout = match client.transport.request_timeout {
            Some(limit) => format!(", request timeout {}", exact(limit)),
            None if client.program().is_none() => String::from(", no request timeout"),
            None => String::new(),
        };
        format!("{transport}{every}{timeout}, on {}", client.node)
    }

    /// Published figures beside the measured ones.
    fn published(&self) -> Vec<String> {
        let figures = self.client.published.iter().flat_map(|p| &p.figures);
        let mut lines = Vec::new();
        for figure in figures {
            let own = figure.measured.map_or_else(
                || String::from("not measured"),
                |time| format!("measured {}", measured(time)),
            );
            let (from, until) = (figure.from.words(), figure.until.words());
            let published = exact(figure.published);
            lines.push(format!("  {from} to {until}: published {published}, {own}"));
            let note = figure.note.iter().flat_map(|note| note.trim().lines());
            lines.extend(note.map(|line| format!("    {line}")));
        }
        lines
    }

    /// The prediction of its recovery, or of its detection if it predicts none.
    fn predicted(&self) -> Option<String> {
        let predicted = self.client.predicted.as_ref()?;
        if let Some(within) = predicted.relapses_within {
            return Some(format!("predicted: well again, {}", not_for_good(within)));
        }
        Some(match (predicted.recovery, predicted.detection) {
            (Some(window), _) => {
                let window = between(window.min, window.max);
                let chance = match predicted.quantiles.as_slice() {
                    [] => String::new(),
                    all => format!("; {}", PredictedQuantileResult::words(all)),
                };
                format!("predicted: well again after {window}{chance}")
            }
            (None, Some(window)) => format!(
                "predicted: given up after {}, and never well again",
                between(window.min, window.max)
            ),
            // Where it is open what the fault meets, no window is not "never".
            (None, None) if predicted.cause == Cause::Unknown => return None,
            (None, None) => String::from("predicted: never well again"),
        })
    }
}

/// A time from the case's start, in a column.
fn clock(at: Duration) -> String {
    format!("{:>11.3} s", at.as_secs_f64())
}

/// What a workload does and how often; `None` for a program, which does as it likes.
fn rhythm(work: &Work) -> Option<String> {
    Some(match &work.kind {
        Workload::Poll { every } => format!(", polls every {}", exact(*every)),
        Workload::LeaderElection { every, .. } => {
            format!(", leader election every {}", exact(*every))
        }
        Workload::Watch { push: None, .. } => String::from(", watches in silence"),
        Workload::Watch {
            push: Some(push), ..
        } => format!(", watches events every {}", exact(*push)),
        Workload::Resync { every, .. } => format!(", resync every {}", exact(*every)),
        Workload::Heartbeat { every, .. } => format!(", heartbeats every {}", exact(*every)),
        Workload::Download { duration, .. } => format!(", downloads of {}", exact(*duration)),
        Workload::Messages { interval, .. } => format!(", messages every {}", exact(*interval)),
        Workload::Exec(_) => return None,
    })
}
