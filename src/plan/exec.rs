//! A program of the user's as it is started, whether it is a client or a server.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Location;

/// How a program is started, and what it finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments, placeholders filled in.
    pub command: Vec<String>,
    /// Environment variables besides those that every program gets.
    pub env: Vec<(String, String)>,
    /// The user it runs as; the one who started the run if there is none.
    #[serde(default)]
    pub user: Option<u32>,
    /// What it may do that other programs may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// The folder it is started in; the one that the run was started in if there is none.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Files that it finds: their names and texts.
    #[serde(default)]
    pub files: Vec<(String, String)>,
    /// What it reads on its standard input, before the end of it; nothing if there is none.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Folders of the machine that its command, its environment or its files name.
    #[serde(default)]
    pub told_of: Vec<PathBuf>,
    /// Pause between its end and its next start; `None` = it is not started again for having ended.
    #[serde(default)]
    pub every: Option<Duration>,
    /// Whether it is started again when it has failed.
    #[serde(default)]
    pub restart: Option<Restart>,
    /// Whether it writes to a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// How it is ended with the case; without it, killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// How much of the machine it may take.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Where its command stands.
    pub location: Location,
}

/// A privilege of a program, over its pod's or its node's network namespace alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// CAP_NET_ADMIN: packet filter rules, routes and addresses, conntrack.
    NetAdmin,
}

/// How a program is told that the case is over, as `docker stop` and the kubelet do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal's number.
    pub signal: i32,
    /// How long it has to end; then it is killed.
    pub grace: Duration,
}

impl Stop {
    /// Kubernetes' `terminationGracePeriodSeconds`, where nothing else is said.
    pub const GRACE: Duration = Duration::from_secs(30);
}

/// How much of the machine a program may take, in bytes, where the scenario says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of memory, with all that it starts. On the virtual clock the guest has so much more of it.
    pub memory: Option<u64>,
    /// Of what it writes to each of its places.
    pub tmpfs: Option<u64>,
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When a program that has ended is started again, as the kubelet does it: at once the first time, then after pauses that
/// double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Whether an end without a failure counts, too.
    pub always: bool,
    /// The pause before the second restart.
    pub first: Duration,
    /// The longest pause. After a run of twice as long it begins anew.
    pub most: Duration,
}

impl Restart {
    /// The kubelet's first pause (`containerBackOff`, "CrashLoopBackOff").
    pub const FIRST: Duration = Duration::from_secs(10);
    /// The kubelet's longest pause (`MaxContainerBackOff`).
    pub const MOST: Duration = Duration::from_secs(300);

    /// The pause after a run that lasted for `ran` and ended in `failure` or not, and the pause to double next time; `None` if
    /// it is not started again. `last` is what this gave the last time, nothing at first.
    #[must_use]
    pub fn pause(
        &self,
        last: Option<Duration>,
        ran: Duration,
        failure: bool,
    ) -> Option<(Duration, Duration)> {
        if !failure && !self.always {
            return None;
        }
        let last = last.filter(|_| ran < self.most * 2);
        let next = last.map_or(self.first, |last| (last * 2).min(self.most));
        Some((last.unwrap_or_default(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_are_the_kubelet_s() {
        let restart = Restart {
            always: false,
            first: Restart::FIRST,
            most: Restart::MOST,
        };
        let mut last = None;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let (pause, next) = restart.pause(last, SECOND, true).expect("a pause");
            pauses.push(pause.as_secs());
            last = Some(next);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
        let (pause, _) = restart.pause(last, 600 * SECOND, true).expect("a pause");
        assert_eq!(pause, Duration::ZERO, "it ran well for ten minutes");
        assert_eq!(restart.pause(last, SECOND, false), None);
    }
}
