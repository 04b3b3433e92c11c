//! When a server has forgotten a client. It is a server's, so it is none of [`METRICS`](super::METRICS), which are read from a
//! client's result.

use super::Value;
use crate::result::KeptResult;

/// Its field in `expect.servers`.
pub const NAME: &str = "forgot";
/// What an expectation on what ended it is called.
pub const CAUSE: &str = "forgot.cause";

/// What a metric of a server's is, by what it kept; `None` if it is none.
#[must_use]
pub fn value(metric: &str, kept: &KeptResult) -> Option<Value> {
    match metric {
        NAME => Some(Value::After(kept.forgot_after)),
        CAUSE => Some(Value::Cause(kept.cause, kept.evidence.clone())),
        _ => None,
    }
}
