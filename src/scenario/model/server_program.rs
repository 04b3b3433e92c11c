//! Servers that are programs.

use schemars::JsonSchema;

use super::{BackoffSpec, Named, RestartSpec, Size, Spanned, Time};
use crate::plan::Capability;

/// A program of the user's as a server, as it is.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerExecSpec {
    /// The program and its arguments. `{port}` stands for the server's port, `{self}` for its IP address, another server's
    /// name for that one's, `{name}` for its own name, `{data}` for a folder that is its own to write to and is there again
    /// when it is started again, `{ca}`, `{cert}` and `{key}` for files with the certificate authority, the server's
    /// certificate and its key (PEM), `{files}` for the folder with its `files`, `{scenario_dir}` for this file's folder;
    /// `{{port}}` for `{port}`.
    pub command: Spanned<Vec<Spanned<String>>>,
    /// Environment variables besides the ones every program gets, with the same placeholders.
    pub env: Option<Spanned<Named<String>>>,
    /// The user it runs as, by number (default: who starts the run). On the virtual clock.
    pub user: Option<Spanned<u32>>,
    /// What it may do that other programs may not, in its pod's network namespace alone, or in its node's with `host_network`
    /// (default: nothing). As in Kubernetes' `securityContext`, what it starts may do the same.
    pub capabilities: Option<Spanned<Vec<Spanned<Capability>>>>,
    /// The folder it is started in (default: the one that the run is started in), with the same placeholders.
    pub cwd: Option<Spanned<String>>,
    /// Files that it finds in the folder `{files}`: their texts by their names, with the same placeholders.
    pub files: Option<Spanned<Named<String>>>,
    /// What it reads on its standard input (default: nothing).
    pub stdin: Option<Spanned<String>>,
    /// What it writes to is a terminal, as of `kubectl run -t`: programs that hold their output back otherwise write each line
    /// at once (default false: pipes). Standard output and standard error are then one.
    pub tty: Option<Spanned<bool>>,
    /// Memory that it may have with all that it starts: on the real clock it is ended if it takes more (default 1GiB); on the
    /// virtual clock its guest has so much more for it (default 128MiB).
    pub memory: Option<Spanned<Size>>,
    /// What it may write to /tmp, /var/tmp and /dev/shm each (default 64MiB); on the virtual clock its guest has memory for that.
    pub tmpfs: Option<Spanned<Size>>,
    /// Start it again when it has failed (`on_failure`) or ended (`always`) by itself, as the kubelet does it: at once, then
    /// after pauses that double (default: it is not started again).
    pub restart: Option<Spanned<RestartSpec>>,
    /// The pauses of `restart`.
    pub backoff: Option<Spanned<BackoffSpec>>,
    /// Whether its folder is empty when it is started again after a fault (default false: as it was at the cut).
    pub empty: Option<Spanned<bool>>,
}

/// When a server's program is ready. Before that the case does not begin. Without `line` and `command`: when it listens on its
/// port.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadySpec {
    /// When it has written a line that matches this regular expression.
    pub line: Option<Spanned<String>>,
    /// When this command succeeds, which is run beside it again and again; with the placeholders of `exec`.
    pub command: Option<Spanned<Vec<Spanned<String>>>>,
    /// How long it may take until then (default 60s); after that the case is an error, and a warning tells of one that was
    /// started again.
    pub within: Option<Spanned<Time>>,
}
