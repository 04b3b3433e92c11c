//! An app that says which server answered.

use http::StatusCode;
use serde_json::json;

use super::connection::{Answer, Asked};

pub(super) fn answer(server: &str, asked: &Asked) -> Answer {
    Answer {
        status: StatusCode::OK,
        body: json!({
            "server": server,
            "method": asked.method.as_str(),
            "path": asked.path,
            "peer": asked.peer,
        }),
    }
}
