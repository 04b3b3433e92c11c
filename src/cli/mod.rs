//! The command line: from arguments to an exit code. One small file a command.

pub mod args;
mod check;
mod compare;
mod division;
mod doctor;
mod exit;
mod explain;
mod init;
mod inputs;
mod list;
mod manual;
mod merge;
mod profiles;
mod progress;
mod report;
mod reports;
mod run;
mod screen;
mod signals;
mod stdout;
mod tune;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};
pub use exit::Exit;
use stdout::say;

/// Parses the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let exit = match arguments.command {
        Command::Lab => return lab(),
        Command::Guest { job } => return crate::clock::inside::main(&job),
        Command::Probe => return doctor::probe(),
        Command::Run(arguments) => run::run(&arguments),
        Command::Check { paths } => check::check(&paths),
        Command::List {
            paths,
            filter,
            shard,
            json,
        } => list::list(&paths, filter.as_deref(), shard.unwrap_or_default(), json),
        Command::Report {
            paths,
            reports,
            gate,
            allow_missing,
        } => report::report(&paths, &reports, gate.allowed(), allow_missing),
        Command::Compare {
            old,
            new,
            old_case,
            new_case,
            tolerance,
            format,
        } => {
            let runs = [(old, old_case), (new, new_case)];
            compare::compare(&runs, tolerance.tolerance(), format)
        }
        Command::Tune(arguments) => tune::tune(&arguments),
        Command::Explain {
            record,
            client,
            verbose,
        } => explain::explain(&record, client.as_deref(), verbose),
        Command::Profiles { name, json } => profiles::profiles(name.as_deref(), json),
        Command::Doctor => doctor::doctor(),
        Command::Schema => schema(),
        Command::Init { kind, path } => init::init(kind, path),
        Command::Completions { shell } => completions(shell),
        Command::Manual { folder } => manual::manual(&folder),
    };
    exit.into()
}

/// Becomes a lab process. No thread has been started yet, as new user namespaces demand.
fn lab() -> ExitCode {
    match crate::clock::real::in_own_namespaces(crate::lab::process::main) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn schema() -> Exit {
    match serde_json::to_string_pretty(&crate::scenario::schema()) {
        Ok(text) => say(&text, Exit::Held),
        Err(error) => Exit::broken(&format!("failed to write the schema: {error}")),
    }
}

fn completions(shell: clap_complete::Shell) -> Exit {
    let all = Arguments::command();
    // Hidden commands are offered too, unless they are left out.
    let shown = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut shown = clap::Command::new("halfopen")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "halfopen", &mut script);
    say(String::from_utf8_lossy(&script).trim_end(), Exit::Held)
}

/// An error with all that caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
