//! Apps: what servers do with their connections. One file each, and one line each in `plan/app.rs`.

use std::rc::Rc;

use super::connection::{App, AppContext};
use crate::plan;

macro_rules! dispatch {
    ($($(#[$about:meta])* $app:ident: $file:ident;)*) => {
        $(mod $file;)*

        /// The app of a server.
        pub(super) fn of(context: AppContext) -> Rc<dyn App> {
            match context.server.app {
                $(plan::App::$app => $file::app(context),)*
            }
        }
    };
}
plan::apps!(dispatch);
