//! An endpoint leaves a service's rules, or is in them again.

use std::rc::Rc;

use super::{Act, LabError};
use crate::lab::run::Lab;
use crate::record::{Observation, Stage};

/// [`crate::plan::Effect::Rules`].
pub(super) struct Rules<'a> {
    pub(super) service: &'a str,
    pub(super) server: &'a str,
    pub(super) out: bool,
}

impl Act for Rules<'_> {
    fn change(&self) -> Option<Change> {
        Some(Change {
            service: self.service.to_owned(),
            servers: vec![self.server.to_owned()],
            out: self.out,
        })
    }

    fn silences(&self) -> bool {
        false
    }
}

/// A change of a service's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Change {
    pub(super) service: String,
    pub(super) servers: Vec<String>,
    /// Whether the servers leave the rules; else they are put back.
    pub(super) out: bool,
}

impl Change {
    /// What undoes it.
    pub(in crate::lab) fn back(self) -> Self {
        Self {
            out: !self.out,
            ..self
        }
    }
}

impl Lab {
    /// Takes endpoints out of a service's rules, or puts them back.
    pub(in crate::lab) async fn change_rules(
        self: &Rc<Self>,
        change: &Change,
    ) -> Result<(), LabError> {
        if change.servers.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = change.servers.iter().map(String::as_str).collect();
        match change.out {
            true => {
                self.services
                    .remove_endpoints(&change.service, &names)
                    .await?
            }
            false => self.services.add_endpoints(&change.service, &names).await?,
        }
        for endpoint in change.servers.iter().cloned() {
            let service = change.service.clone();
            if change.out {
                self.recorder.emit(Observation::EndpointRemoved {
                    service,
                    endpoint: endpoint.clone(),
                    node: None,
                });
                self.look(&Stage::EndpointRemoved(endpoint));
            } else {
                self.recorder.emit(Observation::EndpointAdded {
                    service,
                    endpoint,
                    node: None,
                });
            }
        }
        Ok(())
    }
}
