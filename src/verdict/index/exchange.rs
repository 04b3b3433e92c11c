//! What servers hear and say, request by request.

use std::net::SocketAddr;

use crate::verdict::timeline::Moment;

/// A request that a server received, or the response to one.
#[derive(Debug, Clone, Copy)]
pub(in crate::verdict) struct Exchange<'a> {
    pub at: Moment,
    pub server: &'a str,
    pub peer: SocketAddr,
    pub what: Spoken,
}

/// What a server heard or said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verdict) enum Spoken {
    Request,
    /// A response, or the head of one that goes on.
    Response,
    /// A part of one that goes on.
    Part,
}
