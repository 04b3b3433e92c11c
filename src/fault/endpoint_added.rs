//! `endpoint_added`: an endpoint that has left a service's rules is in them again.

use super::endpoint::on_an_endpoint;
use super::{Context, Kind, Resolved};
use crate::yaml::source::Span;

on_an_endpoint! {
    /// An endpoint that comes back.
    EndpointAddedSpec
}

impl Kind for EndpointAddedSpec {
    const ABOUT: &'static str = "An endpoint that has left a service's rules is in them again.";

    fn resolve(&self, _: Span, cx: &mut dyn Context) -> Option<Resolved> {
        self.0.resolve(false, cx)
    }
}
