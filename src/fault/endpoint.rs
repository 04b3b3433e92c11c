//! The endpoint of a service, as faults name it.

use schemars::JsonSchema;

use super::Resolved;
use super::context::Context;
use crate::plan::Effect;
use crate::yaml::diagnostic::{Problem, suggest};
use crate::yaml::value::Spanned;

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The service.
    pub service: Spanned<String>,
    /// The endpoint, by its server.
    pub server: Spanned<String>,
}

/// Declares a struct that is written, and described, as an [`EndpointSpec`].
macro_rules! on_an_endpoint {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $crate::fault::EndpointSpec);

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $crate::fault::EndpointSpec::schema_name()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::fault::EndpointSpec::json_schema(generator)
            }
        }
    };
}
pub(super) use on_an_endpoint;

impl EndpointSpec {
    /// A change of the service's rules: the endpoint leaves them, or is in them again.
    pub(super) fn resolve(&self, out: bool, cx: &mut dyn Context) -> Option<Resolved> {
        let (service, server) = endpoint(&self.service, Some(&self.server), cx)?;
        let server = server?;
        Some(Resolved {
            target: format!("{server} of {service}"),
            detail: None,
            effects: vec![Effect::Rules {
                service,
                server,
                out,
            }],
            span: self.server.span,
        })
    }
}

/// A service, and perhaps one of its endpoints.
pub(super) fn endpoint(
    service: &Spanned<String>,
    server: Option<&Spanned<String>>,
    cx: &mut dyn Context,
) -> Option<(String, Option<String>)> {
    let found = cx.service(service);
    let Some(server) = server else {
        return Some((found?, None));
    };
    let word = cx.server(server);
    let (name, word) = (found?, word?);
    let known = cx.endpoints(&name)?;
    if !known.contains(&word.as_str()) {
        let message = format!("server `{word}` is not an endpoint of `{name}`");
        let mut problem = Problem::new(server.span, message);
        problem.help = suggest(&word, known);
        cx.push(problem);
        return None;
    }
    Some((name, Some(word)))
}
