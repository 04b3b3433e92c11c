//! `conntrack_deleted`: the clients' nodes forget a service's connections.

use schemars::JsonSchema;

use super::endpoint::endpoint;
use super::{Context, Kind, Resolved};
use crate::plan::Effect;
use crate::yaml::diagnostic::Problem;
use crate::yaml::source::Span;
use crate::yaml::value::Spanned;

/// Connections of a service that are forgotten.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConntrackDeletedSpec {
    /// The service.
    pub service: Spanned<String>,
    /// Only those that lead to this server (default all).
    pub server: Option<Spanned<String>>,
}

impl Kind for ConntrackDeletedSpec {
    const ABOUT: &'static str = "The clients' nodes forget a service's connections (conntrack): what is sent next is translated anew.";

    fn done_at_once(&self) -> Option<&'static str> {
        Some("`conntrack_deleted` has no `for`: it happens at one instant")
    }

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        let (service, server) = endpoint(&self.service, self.server.as_ref(), cx)?;
        if !cx.proxy(&service).translates_by_conntrack() {
            let message = format!("conntrack does not decide where connections to `{service}` go");
            let problem = Problem::new(self.service.span, message);
            cx.push(problem.help("this is for services with `proxy: iptables` or `nftables`"));
            return None;
        }
        Some(Resolved {
            target: match &server {
                Some(server) => format!("{server} of {service}"),
                None => service.clone(),
            },
            detail: None,
            effects: vec![Effect::Forget { service, server }],
            span: self.service.span,
        })
    }
}
