//! An app that says which server answered.

use std::rc::Rc;

use http::StatusCode;
use serde_json::json;

use crate::server::connection::{App, AppContext};
use crate::server::http::{HttpApp, WholeRequest, WholeResponse, over_http};

pub(super) fn app(context: AppContext) -> Rc<dyn App> {
    let server = context.server.name.clone();
    over_http(context, Echo { server })
}

struct Echo {
    server: String,
}

impl HttpApp for Echo {
    fn respond(&self, request: &WholeRequest) -> WholeResponse {
        WholeResponse {
            status: StatusCode::OK,
            body: json!({
                "server": self.server,
                "method": request.method.as_str(),
                "path": request.path,
                "peer": request.peer,
            }),
        }
    }
}
