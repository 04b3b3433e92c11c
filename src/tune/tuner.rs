//! From a scenario to what its settings come to: which of them are run, and what is made of it.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use super::measure::Bench;
use super::of_client::OfClient;
use super::result::{Impossible, Tuning};
use super::setting::{self, Wanted};
use super::trial::Subject;
use crate::plan::Client;
use crate::runner::{self, Clock, Progress, RunError};
use crate::scenario::Template;
use crate::timeout_model::Kernel;
use crate::yaml::{Diagnostic, list, suggest};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How cases are run.
    pub runner: runner::Options,
    /// `KEY=v1,v2,…`; none = the default ranges, and what is recommended.
    pub vary: Vec<String>,
    /// What is recommended, beside what is varied or alone.
    pub recommended: bool,
    /// Clients to tune; none = all.
    pub clients: Vec<String>,
    /// The recovery that is asked for.
    pub recover_within: Duration,
    /// The silence that a healthy connection must survive.
    pub survive_blip: Option<Duration>,
    /// Losses of power in each phase, where chance has a part in what follows.
    pub draws: u32,
    /// How long a partition lasts of which it is asked how long after it a client works again.
    pub partition: Duration,
    /// Runs with each percentage of loss.
    pub loss_runs: u32,
    /// Which of a matrix's cases.
    pub filter: Option<String>,
    /// Run every setting, whatever the model says.
    pub run_all: bool,
}

impl Options {
    /// Whether a recovery and a silence that is survived are as asked for.
    pub(super) fn holds(&self, recovery: Option<Duration>, survives: Duration) -> bool {
        let quick = recovery.is_some_and(|time| time <= self.recover_within);
        quick && self.survive_blip.is_none_or(|blip| survives >= blip)
    }

    /// Without a word of either, both the ranges and what is recommended.
    fn wanted(&self) -> Wanted {
        let neither = self.vary.is_empty() && !self.recommended;
        Wanted {
            ranges: neither,
            recommended: neither || self.recommended,
        }
    }
}

/// Why there is no tuning.
#[derive(Debug)]
pub enum TuneError {
    /// What is wrong with the scenario, or with what is varied.
    Wrong(Vec<Diagnostic>),
    /// The cases could not be run.
    Run(RunError),
    /// The user has interrupted it before any setting was measured.
    Interrupted,
    /// Nothing could be measured: why.
    Nothing(String),
}

impl From<RunError> for TuneError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

/// Compares settings of a scenario.
///
/// # Errors
/// See [`TuneError`].
pub async fn tune(
    path: &Path,
    options: &Options,
    progress: Rc<dyn Progress>,
    interrupted: watch::Receiver<bool>,
) -> Result<Tuning, TuneError> {
    let filter = options.filter.as_deref();
    let template = Template::read(path, filter, options.runner.seed).map_err(TuneError::Wrong)?;
    let clients = clients(&template, &options.clients).map_err(TuneError::Wrong)?;
    let settings = setting::all(&template, &clients, &options.vary, options.wanted())
        .map_err(TuneError::Wrong)?;
    let kernel = match &options.runner.clock {
        Clock::Real => Kernel::default(),
        Clock::Virtual(kernel) => {
            let about = kernel.about.as_ref();
            about.map_or_else(Kernel::default, |about| {
                Kernel::of(&about.version, Some(about.hz))
            })
        }
    };
    let mut bench = Bench {
        options: &options.runner,
        progress,
        interrupted,
        loss_runs: options.loss_runs,
        draws: options.draws,
        partition: options.partition,
        runs: 0,
        kernel: None,
        idle: Vec::new(),
    };
    let mut tuned = Vec::new();
    for client in &clients {
        let mut of = OfClient::new(&settings.all, &client.name, options, kernel);
        of.run(&mut bench).await?;
        let stop = *bench.interrupted.borrow();
        match of.finish() {
            Err(TuneError::Nothing(_)) if stop => break,
            finished => tuned.push(finished?),
        }
        if stop {
            break;
        }
    }
    let interrupted = *bench.interrupted.borrow();
    if interrupted && tuned.is_empty() {
        return Err(TuneError::Interrupted);
    }
    Ok(Tuning {
        scenario: template.case.scenario.clone(),
        kernel: bench.kernel,
        settings: settings.all.len(),
        runs: bench.runs,
        interrupted,
        recover_within: options.recover_within,
        survive_blip: options.survive_blip,
        partition: options.partition,
        clients: tuned,
        impossible: settings
            .impossible
            .into_iter()
            .map(|(setting, why)| Impossible { setting, why })
            .collect(),
    })
}

/// The clients to tune: those that lose a server.
fn clients<'a>(
    template: &'a Template,
    named: &[String],
) -> Result<Vec<&'a Client>, Vec<Diagnostic>> {
    let case = &template.case;
    let all = &case.lab.clients;
    for name in named {
        if !all.iter().any(|client| client.name == *name) {
            let known = all.iter().map(|client| client.name.as_str());
            let help = suggest(name, known).unwrap_or_default();
            return Err(template.refuse("clients", format!("there is no client `{name}`"), help));
        }
    }
    let chosen = |client: &&Client| named.is_empty() || named.contains(&client.name);
    let chosen = all.iter().filter(chosen);
    let struck: Vec<&Client> = chosen
        .filter(|client| Subject::of(case, &client.name).is_some())
        .collect();
    if struck.is_empty() {
        let names: Vec<&str> = all.iter().map(|client| client.name.as_str()).collect();
        let message = format!(
            "no node with a server of {} loses its power: there is nothing to recover from",
            list(&names)
        );
        let help = "write e.g. `- { at: 10s, fault: { power_loss: { node: node1 } } }`";
        return Err(template.refuse("faults", message, help.to_owned()));
    }
    Ok(struck)
}
