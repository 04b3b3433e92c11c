//! What clients and servers of a lab say to each other: headers, leases, heartbeats, responses that go on, certificates,
//! and the board on which both say how far a request is.

use std::time::Duration;

pub mod heartbeat;
pub mod lease;
pub mod phase;
pub(crate) mod stream;
pub mod tls;

/// Response header in which a server says its name.
pub const SERVER_HEADER: &str = "x-halfopen-server";
/// Request header in which a client says `CLIENT/NUMBER`, or `CLIENT/WORKLOAD/NUMBER`.
pub const REQUEST_HEADER: &str = "x-halfopen-request";
/// How long a peer may take to answer a server's goodbye to an idle connection: Go's (golang.org/x/net/http2, `goAwayTimeout`).
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);
/// Where a program finds the file with the certificate authority, in the mount namespace it is given.
pub(crate) const CA_FILE: &str = "/run/halfopen/ca.pem";
/// The same of a server's own certificate.
pub(crate) const CERTIFICATE_FILE: &str = "/run/halfopen/cert.pem";
/// The same of that certificate's key.
pub(crate) const KEY_FILE: &str = "/run/halfopen/key.pem";
/// The same of the folder that is a server's own.
pub(crate) const DATA_FOLDER: &str = "/run/halfopen/data";
/// The same of the folder with the files that the scenario gives it.
pub(crate) const FILES_FOLDER: &str = "/run/halfopen/files";
