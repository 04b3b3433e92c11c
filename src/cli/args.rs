//! The command line as typed.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::comparison::Tolerance;
use crate::plan::shard::Shard;
use crate::report::{self, ComparisonFormat, ReportTarget, Shown};
use crate::verdict::Allowed;

/// Cuts a node's power in a network on this machine, and says how long clients take to work again, and why.
#[derive(Debug, Parser)]
#[command(name = "halfopen", version, about, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios and judge what they expect.
    Run(RunArguments),
    /// Look for mistakes in scenarios without running them.
    Check {
        /// Scenario files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// List the cases of scenarios, resolved, with what the timeout model predicts.
    List {
        /// Scenario files, or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Only cases whose "scenario/case" contains this text.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Only what `run` with the same --shard would run.
        #[arg(long, value_name = "I/N")]
        shard: Option<Shard>,
        /// The whole plans, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judge records again, and report; those of all shards of a run as of one run.
    Report {
        /// Record files (*.ndjson), or folders of them.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Where reports go.
        #[command(flatten)]
        reports: ReportArguments,
        /// What counts as tested.
        #[command(flatten)]
        gate: GateArguments,
        /// Report without the cases whose records are missing, as those of a shard that is not there; else they are errors.
        #[arg(long)]
        allow_missing: bool,
    },
    /// Say what has changed from one run to another; exit code 1 if anything is worse.
    ///
    /// Slower clients and worse verdicts are for the worse. Other causes, and cases or clients that only one of both has, are
    /// told. Repetitions are compared as distributions.
    Compare {
        /// The old run: its JSON report, or the folder with its records.
        old: PathBuf,
        /// The new one.
        new: PathBuf,
        /// Only cases of the old run whose name contains this text, which is then left out of it: with --new-case, cases of other
        /// names are compared, e.g. those of two versions in one report.
        #[arg(long, value_name = "TEXT", requires = "new_case")]
        old_case: Option<String>,
        /// The same of the new run.
        #[arg(long, value_name = "TEXT", requires = "old_case")]
        new_case: Option<String>,
        /// What counts as no change.
        #[command(flatten)]
        tolerance: ToleranceArguments,
        /// How it is written.
        #[arg(long, value_enum, default_value_t = ComparisonFormat::Table)]
        format: ComparisonFormat,
    },
    /// Compare settings: how soon clients recover from a loss of power, against the blips that a healthy connection survives.
    ///
    /// Runs on the virtual clock. Without --vary: ranges of everything that reaches the clients, and what is recommended. What
    /// the timeout model can't tell apart is run once, and of what it is sure of samples are run; the table says which is which.
    Tune(TuneArguments),
    /// Tell the story of one case: what its clients saw, why it took that long, and what would have shortened it.
    Explain {
        /// Record file (*.ndjson), or a folder with one.
        record: PathBuf,
        /// This client alone.
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Everything that was observed.
        #[arg(long, short)]
        verbose: bool,
    },
    /// List the presets for `profile`, with each knob's value and source.
    Profiles {
        /// This one alone, with the source of every number.
        name: Option<String>,
        /// All of it, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what this machine can and can't do, and how to mend it.
    Doctor,
    /// Print the JSON Schema of scenario files.
    Schema,
    /// Write a file to begin with: a commented scenario that runs, a helper for a test suite, or a CI's file.
    #[command(args_conflicts_with_subcommands = true)]
    Init {
        /// What is written; a scenario if it is not said.
        #[command(subcommand)]
        kind: Option<InitKind>,
        /// The scenario's file; must not exist.
        #[arg(default_value = "scenario.yaml")]
        path: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages, for a release.
    #[command(name = super::manual::SUBCOMMAND, hide = true)]
    Manual {
        /// Where to: a folder that is there.
        folder: PathBuf,
    },
    /// The lab process.
    #[command(name = crate::clock::real::SUBCOMMAND, hide = true)]
    Lab,
    /// A guest's first process.
    #[command(name = crate::clock::guest::SUBCOMMAND, hide = true)]
    Guest {
        /// The job's file.
        job: PathBuf,
    },
    /// The doctor's look from inside a lab's namespaces.
    #[command(name = super::doctor::PROBE, hide = true)]
    Probe,
}

/// What `init` writes. No file may be there already.
#[derive(Debug, Subcommand)]
pub enum InitKind {
    /// A commented scenario that runs.
    Scenario {
        /// File to write.
        #[arg(default_value = "scenario.yaml")]
        path: PathBuf,
    },
    /// halfopen_test.go: a Go test's own client, run in a lab.
    Go {
        /// Folder of the package.
        #[arg(default_value = ".")]
        folder: PathBuf,
        /// The package's name, if the folder's Go files shall not say it.
        #[arg(long, value_name = "NAME")]
        package: Option<String>,
    },
    /// halfopen_pytest.py, with the fixture `halfopen_run`; and conftest.py, if there is none.
    Pytest {
        /// Folder of the tests.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// tests/halfopen/mod.rs: a module for integration tests.
    Rust {
        /// Folder of the package.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// halfopen.mjs, for node:test.
    Node {
        /// Folder of the tests.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// .github/workflows/halfopen.yml: runs a folder of scenarios in shards.
    Github {
        /// The repository's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// .gitlab-ci.yml: runs a folder of scenarios in shards.
    Gitlab {
        /// The repository's folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// halfopen-job.yaml: a Job that runs a folder of scenarios in shards.
    Kubernetes {
        /// Where it is written.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
}

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Scenario files, or folders of them.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Which clock the cases run on; virtual where a kernel for it is there, else real.
    #[arg(long, value_enum)]
    pub clock: Option<ClockChoice>,
    /// Kernel of the virtual clock, instead of the newest that `ci/kernel` built, or the release's. May be repeated: every case then
    /// runs on each.
    #[arg(long = "kernel", value_name = "PATH")]
    pub kernels: Vec<PathBuf>,
    /// Cases side by side. By default 50 a core on the real clock, and one a core on the virtual one, where each case
    /// has a guest of its own.
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Only cases whose "scenario/case" contains this text.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only part I of the N that the cases are divided into, evenly by what they cost: every machine runs one part, and
    /// `halfopen report` puts the folders of their records together. Repetitions of a case stay together.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Where reports go.
    #[command(flatten)]
    pub reports: ReportArguments,
    /// Keep the records of all cases in this folder, which must not hold any yet, and packets (pcapng) beside them.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Seed of what can be seeded.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Processor time that a guest may use without a sign of life until virtual time counts as standing still.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 20)]
    pub standstill: u64,
    /// What counts as tested.
    #[command(flatten)]
    pub gate: GateArguments,
    /// What is always so now: a skipped case is not green.
    #[arg(long, hide = true, conflicts_with = "allow_skipped")]
    pub require_all: bool,
}

/// What `tune` takes.
#[derive(Debug, Args)]
pub struct TuneArguments {
    /// A scenario with a loss of power.
    pub scenario: PathBuf,
    /// Values of a knob: a sysctl (`tcp_retries2=5,8,15`, `tcp_keepalive=30/60x9`), a transport's knob (`user_timeout=10s,20s`,
    /// `keepalive=30/60x9,off`, `ping=30s+15s`), or any matrix key. May be repeated: every combination is a setting.
    #[arg(long, value_name = "KEY=V1,V2,…")]
    pub vary: Vec<String>,
    /// Compare what vendors recommend, alone or beside what --vary names.
    #[arg(long)]
    pub recommended: bool,
    /// Tune this client alone. May be repeated.
    #[arg(long = "client", value_name = "NAME")]
    pub clients: Vec<String>,
    /// The recovery that is asked for, in the worst of phases.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub recover_within: Duration,
    /// The silence that a healthy connection must survive: the cheapest settings that hold both come first, and exit code 1 if
    /// there is none. Without it, those that survive the longest come first.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub survive_blip: Option<Duration>,
    /// How long the partition lasts of which it is asked how long after it clients work again.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub partition: Duration,
    /// Runs of ten minutes with each of 1, 5 and 10 % loss.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub loss_runs: u32,
    /// Losses of power in each phase, where chance decides which server is dialled.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub draws: u32,
    /// Run every setting, to the second and with loss, instead of samples of what the timeout model is sure of.
    #[arg(long)]
    pub run_all: bool,
    /// Show every setting in the table.
    #[arg(long)]
    pub all: bool,
    /// Write the picture to this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write a page to this file: the picture, every setting in a table that sorts and filters, and what to write.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write everything to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the records of all cases in this folder.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Which case of a matrix: the one whose "scenario/case" contains this text.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Kernel of the virtual clock, instead of the newest that `ci/kernel` built, or the release's.
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,
    /// Cases side by side (default: one a core).
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Seed of what can be seeded.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Processor time that a guest may use without a sign of life until virtual time counts as standing still.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = 20)]
    pub standstill: u64,
}

/// What may stay untested in a run that ends well.
#[derive(Debug, Clone, Copy, Args)]
pub struct GateArguments {
    /// Let cases be skipped that this machine can't run; else they end with exit code 3.
    #[arg(long)]
    pub allow_skipped: bool,
    /// Count a case of which nothing is expected as one in which nothing was tested (exit code 3).
    #[arg(long)]
    pub strict: bool,
}

impl GateArguments {
    /// As the verdict on a run takes it.
    #[must_use]
    pub fn allowed(self) -> Allowed {
        Allowed {
            skipped: self.allow_skipped,
            measured: !self.strict,
        }
    }
}

/// What counts as no change between two runs.
#[derive(Debug, Clone, Copy, Args)]
pub struct ToleranceArguments {
    /// Times may differ by this much.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub absolute: Duration,
    /// Times may differ by this share of the old one, in percent, where that is more.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percent)]
    pub relative: f64,
}

impl ToleranceArguments {
    /// As the comparison takes it.
    #[must_use]
    pub fn tolerance(self) -> Tolerance {
        Tolerance {
            absolute: self.absolute,
            relative: self.relative / 100.0,
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>();
    match number {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(String::from("write a number of percent, e.g. 5")),
    }
}

/// Where reports go.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Each FORMAT=FILE.
    #[arg(
        long = "report",
        value_name = "FORMAT=FILE",
        help = report_help(),
        value_parser = TargetParser,
        hide_possible_values = true
    )]
    pub targets: Vec<ReportTarget>,
    /// Show of the table only what failed, or could not be run or tested.
    #[arg(long)]
    pub failures_only: bool,
    /// Show the counts alone.
    #[arg(long, short, conflicts_with = "failures_only")]
    pub quiet: bool,
}

impl ReportArguments {
    /// Whether a report shows what happened by time, so that results must have their history.
    #[must_use]
    pub fn show_history(&self) -> bool {
        self.targets.iter().any(ReportTarget::shows_history)
    }

    /// What of a run the table shows.
    #[must_use]
    pub fn shown(&self) -> Shown {
        match (self.quiet, self.failures_only) {
            (true, _) => Shown::Counts,
            (false, true) => Shown::Failures,
            (false, false) => Shown::All,
        }
    }
}

fn report_help() -> String {
    let names: Vec<&str> = report::names().collect();
    let names = match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    };
    format!(
        "Also write a report: FORMAT=FILE, where FORMAT is {names}, and a FILE of `-` is standard output (the table then \
         goes to standard error). May be repeated"
    )
}

/// Reads `FORMAT=FILE`, and offers the formats to a shell's completion.
#[derive(Clone)]
struct TargetParser;

impl TypedValueParser for TargetParser {
    type Value = ReportTarget;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<ReportTarget, clap::Error> {
        let parse = |text: &str| text.parse::<ReportTarget>();
        TypedValueParser::parse_ref(&parse, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let formats = report::formats().iter();
        let offered = formats.map(|format| PossibleValue::new(format.prefix).help(format.about));
        Some(Box::new(offered))
    }
}

/// A clock, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockChoice {
    /// The host kernel's: 15 minutes take 15 minutes.
    Real,
    /// A User Mode Linux guest's, which jumps over idle time: 15 minutes take a second.
    Virtual,
    /// Both, each case on each; they must agree, but for what HZ and kernel explain.
    Both,
}
