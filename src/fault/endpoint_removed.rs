//! `endpoint_removed`: an endpoint leaves a service's rules.

use super::endpoint::on_an_endpoint;
use super::{Context, Kind, Resolved};
use crate::yaml::source::Span;

on_an_endpoint! {
    /// An endpoint that leaves.
    EndpointRemovedSpec
}

impl Kind for EndpointRemovedSpec {
    const ABOUT: &'static str =
        "An endpoint leaves a service's rules. Established connections to it stay.";

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        self.0.resolve(true, cx)
    }
}
