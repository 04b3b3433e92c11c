//! Clients and servers in one network namespace, on the real clock: each knob of the transport, and each of its ends.

mod bench;
#[path = "../common/namespaces.rs"]
mod namespaces;
#[path = "../common/needs.rs"]
mod needs;

mod death;
mod dial;
mod http;
mod leader_election;
mod phases;
mod ping;
mod retry;
mod timeouts;
