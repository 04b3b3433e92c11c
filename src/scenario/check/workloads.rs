//! What clients do: what it needs of the servers and of the transport, and what can't be told apart.

use std::time::Duration;

use super::Checker;
use crate::plan::{App, Phase, Protocol, Target};
use crate::scenario::diagnostic::{Problem, suggest};
use crate::scenario::model::{
    ClientSpec, HeartbeatSpec, OffOr, Spanned, StreamSpec, WhenSpec, WorkloadSpec,
};
use crate::scenario::value::given;

/// More than this a second would only show how fast the machine is.
const FASTEST: u64 = 64 * 1024 * 1024;

impl Checker<'_> {
    /// Everything about a client's workloads but what the servers must have for them.
    pub(super) fn workloads(&mut self, name: &Spanned<String>, spec: &ClientSpec) {
        match (&spec.workload, &spec.workloads) {
            (None, None) => {
                let problem = Problem::new(name.span, "field `workload` is missing");
                self.push(problem.label("`workload` is missing here"));
            }
            (Some(one), Some(several)) => {
                let problem = Problem::new(
                    several.span,
                    "a client has `workload` or `workloads`, not both",
                );
                self.push(
                    problem
                        .also(one.span, "the other one")
                        .help("write all of them under `workloads`"),
                );
            }
            (None, Some(several)) if several.get().is_some_and(Vec::is_empty) => {
                let problem = Problem::new(several.span, "no workload in this list");
                self.push(problem.help("write e.g. `[{ watch: {} }, { resync: { every: 30s } }]`"));
            }
            _ => {}
        }
        self.told_apart(spec);
        for place in spec.works() {
            if let Some(work) = place.get() {
                self.work(place, work);
            }
        }
    }

    /// Workloads of one client have names of their own, and a program is alone.
    fn told_apart(&mut self, spec: &ClientSpec) {
        let works: Vec<_> = spec
            .works()
            .filter_map(|place| Some((place, place.get()?)))
            .collect();
        let mut seen: Vec<(&str, &Spanned<WorkloadSpec>)> = Vec::new();
        for (place, work) in &works {
            if matches!(work, WorkloadSpec::Exec(_)) && works.len() > 1 {
                let message = "a program brings its own transport, so it can't share one";
                self.push(Problem::new(place.span, message).help("make it a client of its own"));
            }
            if let Some(own) = work.own_name() {
                if let Some(word) = own.get() {
                    self.name_shape(own.span, word);
                }
                if own.get().is_none() {
                    continue;
                }
            }
            match seen.iter().find(|(name, _)| *name == work.name()) {
                None => seen.push((work.name(), place)),
                Some((name, first)) => {
                    let span = work.own_name().map_or(place.span, |own| own.span);
                    let message = format!("two workloads of this client are called `{name}`");
                    let problem = Problem::new(span, message).also(first.span, "the first one");
                    self.push(problem.help("give one of them another `name`"));
                }
            }
        }
    }

    fn work(&mut self, place: &Spanned<WorkloadSpec>, work: &WorkloadSpec) {
        let times = work.times();
        let times = times
            .into_iter()
            .filter_map(|time| Some((time.span, time.get()?.0)));
        let optional = work
            .optional_times()
            .map(|(field, time)| (field.span, time));
        for (span, time) in times.chain(optional) {
            if time < Duration::from_millis(1) {
                self.push(Problem::new(span, "shorter than 1 ms").help("write e.g. `100ms`"));
            }
        }
        match work {
            WorkloadSpec::Heartbeat(beat) => self.heartbeat(beat),
            WorkloadSpec::Stream(StreamSpec::Download(download)) => {
                let rate = &download.rate;
                if rate
                    .get()
                    .is_some_and(|rate| !(1..=FASTEST).contains(&rate.0))
                {
                    let message = "a download has from 1B to 64MiB a second";
                    self.push(Problem::new(rate.span, message).help("write e.g. `64KiB`"));
                }
            }
            WorkloadSpec::LeaderElection(_)
            | WorkloadSpec::Poll(_)
            | WorkloadSpec::Watch(_)
            | WorkloadSpec::Resync(_)
            | WorkloadSpec::Stream(StreamSpec::Messages(_))
            | WorkloadSpec::Exec(_) => {}
        }
        // Its own limit is read where the transport's are, but with several nobody has looked yet.
        crate::plan::transport::of_requests(place, None, self.problems);
    }

    fn heartbeat(&mut self, beat: &HeartbeatSpec) {
        let attempts = given(&beat.attempts).copied();
        if let (Some(field), Some(0)) = (&beat.attempts, attempts) {
            let problem = Problem::new(field.span, "a beat that is not even tried once is none");
            self.push(problem.help("write `1` or more"));
        }
        if let (Some(field), Some(OffOr::On(_)), Some(1)) = (
            &beat.close_on_failure,
            given(&beat.close_on_failure),
            attempts,
        ) {
            let message = "nothing would be closed: that is done when the second try has failed";
            self.push(Problem::new(field.span, message).help("write `attempts: 2` or more"));
        }
    }

    /// What the servers a client asks must do for its workloads, and its transport be.
    pub(super) fn works_with(&mut self, spec: &ClientSpec, target: &Target, protocol: Protocol) {
        for place in spec.works() {
            let Some(work) = place.get() else {
                continue;
            };
            let (needs, apps): (&str, &[App]) = match work {
                WorkloadSpec::LeaderElection(_) => ("leader election needs a lock", &[App::Lock]),
                WorkloadSpec::Heartbeat(_) => {
                    ("heartbeats need one that judges nodes", &[App::Nodes])
                }
                WorkloadSpec::Resync(_) => ("a resync writes", &[App::Echo]),
                _ => ("", &[App::Echo, App::Lock, App::Nodes]),
            };
            let servers = target
                .servers
                .iter()
                .filter_map(|s| self.topology.server(s));
            let wrong = servers.into_iter().find(|s| !apps.contains(&s.app));
            if let Some(server) = wrong {
                let (message, help) = wants(needs, apps, &server.name);
                self.push(Problem::new(place.span, message).help(help));
            }
            if let (WorkloadSpec::Stream(StreamSpec::Messages(_)), Protocol::H1) = (work, protocol)
            {
                let message = "messages both ways need HTTP/2, and this client speaks HTTP/1.1";
                self.push(
                    Problem::new(place.span, message)
                        .help("take a profile with HTTP/2, or write `transport: { protocol: h2 }`"),
                );
            }
        }
    }

    /// Whether a client is ever in the phase a fault waits for.
    pub(super) fn phase_of(&mut self, when: &WhenSpec) {
        let client = when
            .client
            .get()
            .and_then(|name| self.scenario.clients.get()?.find(name)?.get());
        let (Some(client), Some(phase)) = (client, when.phase.get()) else {
            return;
        };
        if client.works().any(|work| work.get().is_none()) || Self::program(client).is_some() {
            return;
        }
        let goes_on = |work: &&Spanned<WorkloadSpec>| {
            matches!(
                work.get(),
                Some(WorkloadSpec::Watch(_) | WorkloadSpec::Stream(_))
            )
        };
        let stream = client.works().find(goes_on);
        let problem = match (phase, stream) {
            (Phase::Streaming, None) => Problem::new(
                when.phase.span,
                "this client never streams: none of its responses goes on",
            )
            .help("wait for another phase, or give it a `watch` or a `stream`"),
            (Phase::Idle, Some(stream)) => Problem::new(
                when.phase.span,
                "this client is never idle: one of its responses always goes on",
            )
            .also(stream.span, "this one")
            .help("fire the fault `at` a time, or when it is `streaming`"),
            _ => return,
        };
        self.push(problem);
    }

    /// The workload called `name` must be one of `client`'s.
    pub(super) fn must_be_workload(&mut self, client: &ClientSpec, name: &Spanned<String>) {
        let works: Option<Vec<&WorkloadSpec>> = client.works().map(Spanned::get).collect();
        let (Some(word), Some(works)) = (name.get(), works) else {
            return;
        };
        if works.iter().any(|work| work.name() == word) {
            return;
        }
        let mut problem = Problem::new(
            name.span,
            format!("this client has no workload named `{word}`"),
        );
        problem.help = suggest(word, works.iter().map(|work| work.name()));
        self.push(problem);
    }
}

/// What is wrong, and what would be right, where a workload needs another app than the server has.
fn wants(needs: &str, apps: &[App], server: &str) -> (String, String) {
    let (lacks, app) = match apps {
        [App::Lock] => ("keeps none", "lock"),
        [App::Nodes] => ("judges none", "nodes"),
        _ => ("takes no writes of that kind", "echo"),
    };
    (
        format!("{needs}, and server `{server}` {lacks}"),
        format!("give the server `app: {app}`"),
    )
}
