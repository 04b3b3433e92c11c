//! Servers: HTTP/1.1 and HTTP/2, with TLS or in the clear, each with one small app.
//!
//! A server is started when it is bound. Dropping its future drops everything it has, at once and in silence: that is
//! what a loss of power does to it.

mod connection;
mod echo;
pub mod lock;
pub mod nodes;
pub(crate) mod stream;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::client::phase::PhaseBoard;
use crate::lab::namespace::Namespace;
use crate::plan;
use crate::record::{Observation, Recorder};
use crate::task_group::TaskGroup;
use lock::Stores;
use nodes::Registries;
use tls::Authority;

/// Response header in which a server says its name.
pub const SERVER_HEADER: &str = "x-halfopen-server";
/// Request header in which a client says `CLIENT/NUMBER`, or `CLIENT/WORKLOAD/NUMBER`.
pub const REQUEST_HEADER: &str = "x-halfopen-request";

/// Pause after accept() failed for want of something (descriptors, memory), which a retry at once would not find.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all servers of a lab share.
pub struct Commons {
    /// Where they leave what they observe.
    pub recorder: Recorder,
    /// Signs their certificates.
    pub authority: Authority,
    /// What their locks are kept in.
    pub stores: Stores,
    /// What they know of nodes.
    pub registries: Registries,
    /// Faults that wait until a server has a request.
    pub phases: Rc<PhaseBoard>,
}

/// A server that listens, and will answer once [`BoundServer::serve`] runs.
pub struct BoundServer {
    shared: Rc<Shared>,
    listeners: Vec<TcpListener>,
}

/// What the connections of one server share.
struct Shared {
    server: plan::Server,
    commons: Rc<Commons>,
    tls: Option<Arc<ServerConfig>>,
    tasks: TaskGroup,
}

/// Binds a server to all its addresses; from here on the kernel completes handshakes with it.
///
/// # Errors
/// If an address can't be bound (in use, not there), or its certificate can't be made.
pub fn bind(
    server: &plan::Server,
    namespace: &Namespace,
    commons: &Rc<Commons>,
) -> io::Result<BoundServer> {
    let tls = if server.tls {
        let config = commons.authority.server_config(server);
        Some(config.map_err(io::Error::other)?)
    } else {
        None
    };
    let mut listeners = Vec::new();
    for address in &server.listen {
        let (listener, bound) = listen(namespace, *address, server.accept_queue.backlog)
            .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
        commons.recorder.emit(Observation::ServerListening {
            server: server.name.clone(),
            address: bound,
        });
        listeners.push(listener);
    }
    let shared = Shared {
        server: server.clone(),
        commons: Rc::clone(commons),
        tls,
        tasks: TaskGroup::default(),
    };
    Ok(BoundServer {
        shared: Rc::new(shared),
        listeners,
    })
}

fn listen(
    namespace: &Namespace,
    address: SocketAddr,
    backlog: u16,
) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = namespace.tcp_socket(address)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Its IPv4 twin may be listened on as well.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.into())?;
    let listener = TcpListener::from_std(socket.into())?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

impl BoundServer {
    /// The addresses it listens on, in the plan's order, with the ports the kernel chose where the plan said 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Answers for ever.
    pub async fn serve(self) {
        let Self { shared, listeners } = self;
        for listener in listeners {
            shared.tasks.spawn(accept_all(Rc::clone(&shared), listener));
        }
        match shared.tasks.drive().await {}
    }
}

async fn accept_all(shared: Rc<Shared>, listener: TcpListener) {
    let mut left = shared.server.accept_queue.accepts;
    while left != Some(0) {
        match listener.accept().await {
            Ok((stream, peer)) => {
                left = left.map(|n| n - 1);
                shared
                    .tasks
                    .spawn(connection::run(Rc::clone(&shared), stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                shared.commons.recorder.emit(Observation::RigError {
                    text: format!("server {}: accept: {error}", shared.server.name),
                    location: None,
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // The kernel goes on without the program, as long as there is room in the queue of a socket that still listens.
    std::future::pending().await
}

/// accept(2): errors of a connection that was already over when it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}
