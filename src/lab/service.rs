//! Services: virtual addresses whose connections a node's kernel, or a proxy, spreads over endpoints. How it does that is
//! the service's mode: one file each below, and one line each in `plan/proxy.rs`.

mod mode;
mod node_table;
mod state;

use tokio::sync::Mutex;

use self::mode::Mode;
pub use self::mode::{Changed, NodeRules};
use self::state::ServiceState;
use super::network::Network;
use crate::linux::LinuxError;
use crate::plan::{self, LabPlan, Proxy};

macro_rules! dispatch {
    ($($(#[$about:meta])* $proxy:ident: $file:ident;)*) => {
        $(mod $file;)*

        /// Sets a mode up for `services` in the nodes where their clients run.
        async fn set_up(
            proxy: Proxy,
            network: &Network,
            plan: &LabPlan,
            services: &[ServiceState],
        ) -> Result<Box<dyn Mode>, LinuxError> {
            match proxy {
                $(Proxy::$proxy => $file::set_up(network, plan, services).await,)*
            }
        }
    };
}
plan::proxies!(dispatch);

/// The services of a lab, as set up in the nodes where their clients run.
pub struct Services {
    /// One for each mode that a service has.
    modes: Vec<ModeServices>,
}

/// The services of one mode.
struct ModeServices {
    mode: Box<dyn Mode>,
    /// Held while a change is being made, so that an older state never overwrites a newer one.
    state: Mutex<Vec<ServiceState>>,
}

impl Services {
    /// Sets every service up in the nodes where its clients run. A service with `pin_first` is pinned.
    ///
    /// # Errors
    /// [`LinuxError::Missing`] if this machine lacks what a mode needs, [`LinuxError::Kernel`] if the kernel refuses it.
    pub async fn load(network: &Network, plan: &LabPlan) -> Result<Self, LinuxError> {
        let mut groups: Vec<(Proxy, Vec<ServiceState>)> = Vec::new();
        for (number, service) in (1..).zip(&plan.services) {
            let state = ServiceState::new(number, service);
            match groups.iter_mut().find(|(proxy, _)| *proxy == service.proxy) {
                Some((_, services)) => services.push(state),
                None => groups.push((service.proxy, vec![state])),
            }
        }
        let mut modes = Vec::new();
        for (proxy, services) in groups {
            modes.push(ModeServices {
                mode: set_up(proxy, network, plan, &services).await?,
                state: Mutex::new(services),
            });
        }
        let services = Self { modes };
        services.settle().await;
        Ok(services)
    }

    /// Lets every pinned service choose among all its endpoints, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn unpin(&self) -> Result<(), LinuxError> {
        self.change(|state| state.pinned.take().is_some()).await
    }

    /// Takes endpoints, by their servers' names, out of a service. Established connections to them stay. When none is left,
    /// new connections are rejected, as kube-proxy does it.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn remove_endpoints(
        &self,
        service: &str,
        servers: &[&str],
    ) -> Result<(), LinuxError> {
        self.change(|state| state.service.name == service && state.remove(servers))
            .await
    }

    /// Puts endpoints that were taken out of a service back, for connections from now on.
    ///
    /// # Errors
    /// As [`Services::load`].
    pub async fn add_endpoints(&self, service: &str, servers: &[&str]) -> Result<(), LinuxError> {
        self.change(|state| state.service.name == service && state.restore(servers))
            .await
    }

    /// The servers whose endpoints are out of a service's rules.
    pub async fn removed(&self, service: &str) -> Vec<String> {
        for of_mode in &self.modes {
            let state = of_mode.state.lock().await;
            if let Some(found) = state.iter().find(|state| state.service.name == service) {
                return found.removed.clone();
            }
        }
        Vec::new()
    }

    /// The rules of each node whose clients use services, and its connections to them. If `ask`, the kernel is asked in any
    /// case; this thread waits for it.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if conntrack is silent, [`LinuxError::Program`] if a program that shows rules fails.
    pub fn read(&self, ask: bool) -> Result<Vec<NodeRules>, LinuxError> {
        let mut nodes: Vec<NodeRules> = Vec::new();
        for of_mode in &self.modes {
            for read in of_mode.mode.read(ask)? {
                match nodes.iter_mut().find(|node| node.node == read.node) {
                    Some(node) => {
                        node.rules.extend(read.rules);
                        node.flows.extend(read.flows);
                    }
                    None => nodes.push(read),
                }
            }
        }
        Ok(nodes)
    }

    /// Tells what others change in the rules of services, for ever.
    ///
    /// # Errors
    /// If the kernel does not say, or not what they are.
    pub async fn watch(&self, told: impl Fn(Changed)) -> Result<(), LinuxError> {
        let mut watching = Vec::new();
        for of_mode in &self.modes {
            let state = of_mode.state.lock().await;
            let services = state.iter().map(|state| state.service.clone());
            watching.push(of_mode.mode.watch(services.collect(), &told));
        }
        futures_util::future::try_join_all(watching).await?;
        Ok(())
    }

    /// Applies `change` to every service (it says whether it changed that one) and has the modes follow.
    async fn change(
        &self,
        mut change: impl FnMut(&mut ServiceState) -> bool,
    ) -> Result<(), LinuxError> {
        for of_mode in &self.modes {
            let mut state = of_mode.state.lock().await;
            for service in state.iter_mut() {
                service.returning.clear();
            }
            let changed: Vec<bool> = state.iter_mut().map(&mut change).collect();
            of_mode.mode.update(&state, &changed).await?;
        }
        self.settle().await;
        Ok(())
    }

    /// Tells the modes that all of them have done what is to be.
    async fn settle(&self) {
        for of_mode in &self.modes {
            of_mode.mode.settled(&of_mode.state.lock().await);
        }
    }
}
