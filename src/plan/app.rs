//! What a server does.

use serde::{Deserialize, Serialize};

/// Every app: what it does, its name, and its file in `server/app/`. A new one is that file and a line here.
macro_rules! apps {
    ($with:ident) => {
        $with! {
            /// Says which server answered.
            Echo: echo;
            /// Keeps a lease with holder and expiry, with optimistic concurrency.
            Lock: lock;
            /// Takes nodes' heartbeats, and judges which are ready.
            Nodes: nodes;
        }
    };
}
pub(crate) use apps;

macro_rules! words {
    ($($(#[$about:meta])* $app:ident: $file:ident;)*) => {
        /// What a server does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum App {
            $($(#[$about])* $app,)*
        }
    };
}
apps!(words);
