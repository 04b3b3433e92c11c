//! Programs, whether clients or servers: how they are started, with the placeholders filled in.

use std::path::{Component, Path, PathBuf};

use nix::sys::signal::Signal;

use super::placeholders::{Words, command, named_texts, names, text};
use crate::contract::FILES_FOLDER;
use crate::plan::{Capability, Exec, Limits, Restart, Stop};
use crate::scenario::cx::Cx;
use crate::scenario::model::{
    BackoffSpec, ExecSpec, Named, RestartSpec, ServerExecSpec, Size, Spanned, Time,
};
use crate::yaml::{Problem, Span, given, placed};

/// The placeholder that stands for the scenario's folder.
const SCENARIO_DIR: &str = "scenario_dir";

/// What clients and servers are told alike.
pub(super) struct Fields<'a> {
    command: &'a Spanned<Vec<Spanned<String>>>,
    env: &'a Option<Spanned<Named<String>>>,
    user: &'a Option<Spanned<u32>>,
    capabilities: &'a Option<Spanned<Vec<Spanned<Capability>>>>,
    cwd: &'a Option<Spanned<String>>,
    files: &'a Option<Spanned<Named<String>>>,
    stdin: &'a Option<Spanned<String>>,
    tty: &'a Option<Spanned<bool>>,
    memory: &'a Option<Spanned<Size>>,
    tmpfs: &'a Option<Spanned<Size>>,
    every: &'a Option<Spanned<Time>>,
    restart: &'a Option<Spanned<RestartSpec>>,
    backoff: &'a Option<Spanned<BackoffSpec>>,
    stop_signal: &'a Option<Spanned<String>>,
    stop_grace_period: &'a Option<Spanned<Time>>,
}

impl<'a> From<&'a ExecSpec> for Fields<'a> {
    fn from(spec: &'a ExecSpec) -> Self {
        Self {
            command: &spec.command,
            env: &spec.env,
            user: &spec.user,
            capabilities: &spec.capabilities,
            cwd: &spec.cwd,
            files: &spec.files,
            stdin: &spec.stdin,
            tty: &spec.tty,
            memory: &spec.memory,
            tmpfs: &spec.tmpfs,
            every: &spec.every,
            restart: &spec.restart,
            backoff: &spec.backoff,
            stop_signal: &spec.stop_signal,
            stop_grace_period: &spec.stop_grace_period,
        }
    }
}

impl<'a> From<&'a ServerExecSpec> for Fields<'a> {
    fn from(spec: &'a ServerExecSpec) -> Self {
        Self {
            command: &spec.command,
            env: &spec.env,
            user: &spec.user,
            capabilities: &spec.capabilities,
            cwd: &spec.cwd,
            files: &spec.files,
            stdin: &spec.stdin,
            tty: &spec.tty,
            memory: &spec.memory,
            tmpfs: &spec.tmpfs,
            every: &None,
            restart: &spec.restart,
            backoff: &spec.backoff,
            stop_signal: &None,
            stop_grace_period: &None,
        }
    }
}

/// The placeholders that every program knows.
pub(super) fn with_common(cx: &Cx<'_>, words: Words) -> Words {
    words
        .with("files", Some(FILES_FOLDER.to_owned()))
        .with(SCENARIO_DIR, Some(cx.folder().display().to_string()))
}

/// How a program is started; `example` is a command.
pub(super) fn resolve(
    cx: &mut Cx<'_>,
    fields: &Fields<'_>,
    example: &str,
    words: &Words,
) -> Option<Exec> {
    let filled = command(cx, fields.command, example, words);
    for (name, _) in given(fields.env).into_iter().flat_map(|env| &env.0) {
        let wrong = |name: &String| name.is_empty() || name.contains(['=', '\0']);
        if name.get().is_some_and(wrong) {
            let message = "no environment variable can be called so";
            cx.push(Problem::new(name.span, message));
        }
    }
    let env = named_texts(cx, fields.env, words);
    let capabilities = capabilities(cx, fields);
    let cwd = cwd(cx, fields.cwd, words);
    let files = files(cx, fields.files, words);
    let stdin = fields.stdin.as_ref();
    let stdin = stdin.map(|field| text(cx, field, words));
    let restart = restart(cx, fields);
    let stop = stop(cx, fields);
    let limits = Limits {
        memory: size(cx, fields.memory, "memory"),
        tmpfs: size(cx, fields.tmpfs, "tmpfs"),
    };
    let cwd = cwd?;
    let mut told_of: Vec<PathBuf> = cwd.iter().cloned().collect();
    if says(fields, SCENARIO_DIR) {
        told_of.push(cx.folder());
    }
    Some(Exec {
        command: filled?,
        env: env?,
        user: given(fields.user).copied(),
        capabilities,
        cwd,
        files: files?,
        stdin: match stdin {
            Some(text) => Some(text?),
            None => None,
        },
        told_of,
        every: given(fields.every).map(|every| every.0),
        restart: restart?,
        tty: given(fields.tty).copied().unwrap_or_default(),
        stop: stop?,
        limits,
        location: cx.locate(fields.command.span),
    })
}

/// What it may do, each named once.
fn capabilities(cx: &mut Cx<'_>, fields: &Fields<'_>) -> Vec<Capability> {
    let mut known: Vec<(Capability, Span)> = Vec::new();
    for named in given(fields.capabilities).into_iter().flatten() {
        let Some(&capability) = named.get() else {
            continue;
        };
        match known.iter().find(|(other, _)| *other == capability) {
            Some((_, first)) => {
                let problem = Problem::new(named.span, "the same capability twice");
                cx.push(problem.also(*first, "first here"));
            }
            None => known.push((capability, named.span)),
        }
    }
    known
        .into_iter()
        .map(|(capability, _)| capability)
        .collect()
}

/// Whether one of its texts has this placeholder.
fn says(fields: &Fields<'_>, word: &str) -> bool {
    let named = [fields.env, fields.files].into_iter().filter_map(given);
    let named = named.flat_map(|named| named.0.iter().map(|(_, text)| text));
    let command = fields.command.get().into_iter().flatten();
    let single = [fields.cwd, fields.stdin].into_iter().flatten();
    let mut all = named.chain(command).chain(single).filter_map(Spanned::get);
    all.any(|text| names(text, word))
}

/// The folder it is started in, which is the machine's own or one of the program's.
fn cwd(cx: &mut Cx<'_>, field: &Option<Spanned<String>>, words: &Words) -> Option<Option<PathBuf>> {
    let Some(field) = field else {
        return Some(None);
    };
    let folder = PathBuf::from(text(cx, field, words)?);
    if !folder.is_absolute() {
        let message = "the folder a program is started in is written with a leading `/`";
        let help = "write e.g. `cwd: /tmp`, or `cwd: \"{scenario_dir}\"` for this file's folder";
        cx.push(Problem::new(field.span, message).help(help));
    }
    Some(Some(folder))
}

/// Its files, each of a name that stays in their folder.
fn files(
    cx: &mut Cx<'_>,
    field: &Option<Spanned<Named<String>>>,
    words: &Words,
) -> Option<Vec<(String, String)>> {
    let mut known: Vec<&str> = Vec::new();
    for (name, _) in given(field).into_iter().flat_map(|files| &files.0) {
        let Some(word) = name.get() else { continue };
        let inside = |part| matches!(part, Component::Normal(_));
        let path = Path::new(word);
        if word.is_empty() || word.contains('\0') || !path.components().all(inside) {
            let message = "this is no name of a file within `{files}`";
            let help = "write e.g. `redis.conf` or `conf/redis.conf`: a program finds it as `{files}/redis.conf`";
            cx.push(Problem::new(name.span, message).help(help));
        }
        let other = |known: &&str| path.starts_with(known) || Path::new(known).starts_with(path);
        if let Some(other) = known.iter().find(|known| other(known)) {
            let message = format!("`{word}` and `{other}` can't both be files");
            cx.push(
                Problem::new(name.span, message).help("one is in the folder of the other's name"),
            );
        }
        known.push(word);
    }
    named_texts(cx, field, words)
}

/// Least and most of a program's sizes: below a page or two nothing runs, and no machine has more.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 30;

fn size(cx: &mut Cx<'_>, field: &Option<Spanned<Size>>, name: &str) -> Option<u64> {
    let (span, size) = placed(field)?;
    if !SIZES.contains(&size.0) {
        let message = format!("`{name}` must be from 1MiB to 64GiB");
        cx.push(Problem::new(span, message));
    }
    Some(size.0)
}

/// How it is ended with the case.
fn stop(cx: &mut Cx<'_>, fields: &Fields<'_>) -> Option<Option<Stop>> {
    let signal = match placed(fields.stop_signal) {
        Some((span, name)) => {
            let Some(signal) = signal(name) else {
                let message = format!("there is no signal `{name}`");
                let help = "write e.g. `SIGTERM`, `SIGINT`, `SIGHUP` or `SIGQUIT`";
                cx.push(Problem::new(span, message).help(help));
                return None;
            };
            Some(signal)
        }
        // A value that can't be read was reported.
        None if fields.stop_signal.is_some() => return None,
        None => None,
    };
    let grace = given(fields.stop_grace_period).map(|time| time.0);
    if signal.is_none() && grace.is_none() {
        return Some(None);
    }
    Some(Some(Stop {
        signal: signal.unwrap_or(Signal::SIGTERM) as i32,
        grace: grace.unwrap_or(Stop::GRACE),
    }))
}

/// A signal by its name, with `SIG` or without.
fn signal(name: &str) -> Option<Signal> {
    let mut all = Signal::iterator();
    all.find(|signal| signal.as_str() == name || signal.as_str().strip_prefix("SIG") == Some(name))
}

fn restart(cx: &mut Cx<'_>, fields: &Fields<'_>) -> Option<Option<Restart>> {
    let backoff = placed(fields.backoff);
    let Some((span, when)) = placed(fields.restart) else {
        if let Some((span, _)) = backoff {
            let message = "`backoff` is how long `restart` waits, and there is none here";
            cx.push(Problem::new(span, message).help("write e.g. `restart: on_failure` beside it"));
        }
        return Some(None);
    };
    if let Some((every, _)) = placed(fields.every) {
        let message =
            "`every` starts the program again whatever its end, so `restart` has nothing to do";
        let problem = Problem::new(span, message).also(every, "this one");
        cx.push(problem.help("leave one of them out"));
    }
    let backoff = backoff.map(|(_, spec)| spec);
    let first = backoff.and_then(|b| placed(&b.first));
    let most = backoff.and_then(|b| placed(&b.most));
    for (name, (span, time)) in [("first", first), ("most", most)]
        .into_iter()
        .filter_map(|(name, field)| Some((name, field?)))
    {
        if time.0.is_zero() {
            let problem = Problem::new(span, format!("`{name}` must be greater than zero"));
            cx.push(problem.help("a program that fails at once would be started without end"));
        }
    }
    let time = |field: Option<(_, &Time)>, default| field.map_or(default, |(_, time)| time.0);
    let restart = Restart {
        always: *when == RestartSpec::Always,
        first: time(first, Restart::FIRST),
        most: time(most, Restart::MOST),
    };
    if restart.first > restart.most {
        let span = first.or(most).map_or(span, |(span, _)| span);
        let message = format!(
            "the first pause ({}) is longer than the longest ({})",
            humantime::format_duration(restart.first),
            humantime::format_duration(restart.most)
        );
        cx.push(Problem::new(span, message).help("write `first` and `most` so that they grow"));
    }
    Some(Some(restart))
}

/// Reports what is no regular expression; `example` is one where it stands.
pub(super) fn regular_expression(cx: &mut Cx<'_>, span: Span, pattern: &str, example: &str) {
    if let Err(error) = regex::Regex::new(pattern) {
        // The last line says what; those before it draw what is marked here.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default();
        let why = why.trim_start_matches("error: ");
        let message = format!("this is no regular expression: {why}");
        cx.push(Problem::new(span, message).help(format!("write e.g. `{example}`")));
    }
}
