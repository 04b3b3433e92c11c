//! What a service's mode does.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::state::ServiceState;
use crate::linux::LinuxError;
use crate::plan::{LabPlan, Service};
use crate::record::Flow;

/// One way in which connections to services find an endpoint, as it is set up at the nodes where their clients run.
///
/// Dropping it takes it down: rules go with their namespaces, and a proxy has to end its own tasks.
pub(super) trait Mode {
    /// From now on new connections go where `services` say; `changed` tells of each whether that is anything new.
    /// Established ones stay where they are, as far as that is the mode's to decide. When a service has no endpoint left,
    /// new connections are rejected, or, where its address is an endpoint's own, nobody has it.
    fn update<'a>(
        &'a self,
        services: &'a [ServiceState],
        changed: &'a [bool],
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>>;

    /// All modes have done what `services` say: what is loaded now is theirs.
    fn settled(&self, services: &[ServiceState]);

    /// The rules of each node whose clients use services, and its connections to them. Unless `ask`, a mode may say what
    /// it knows of its rules without asking the kernel.
    fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError>;

    /// Tells what others change in its rules, for ever; nothing where they are the mode's own.
    fn watch<'a>(
        &'a self,
        _services: Vec<Service>,
        _told: &'a dyn Fn(Changed),
    ) -> LocalBoxFuture<'a, Result<(), LinuxError>> {
        std::future::pending().boxed_local()
    }
}

/// An endpoint has left the rules of a node, or is in them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Node.
    pub node: String,
    /// Service.
    pub service: String,
    /// Server.
    pub endpoint: String,
    /// Whether it has left them.
    pub out: bool,
}

/// The rules of a node whose clients use services, and their connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRules {
    /// Node.
    pub node: String,
    /// As [`crate::record::Observation::Rules`] has them.
    pub rules: Vec<String>,
    /// What conntrack knows of connections to services.
    pub flows: Vec<Flow>,
}

/// Whether a client on `node` uses `service`.
pub(super) fn has_client_on(plan: &LabPlan, service: &str, node: &str) -> bool {
    plan.clients
        .iter()
        .any(|client| client.node == node && client.target.service.as_deref() == Some(service))
}
