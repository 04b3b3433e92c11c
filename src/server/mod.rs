//! Servers, with TLS or in the clear, each with one small app that serves its connections.
//!
//! A server is started when it is bound. Dropping its future drops everything it has, at once and in silence: that is
//! what a loss of power does to it.

mod app;
mod commons;
mod connection;
mod http;
mod idle;
mod stores;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::linux::namespace::Namespace;
use crate::plan;
use crate::record::Observation;
use crate::task_group::TaskGroup;
pub use commons::Commons;
use connection::{Acceptor, AppContext};

/// Pause after accept() failed for want of something (descriptors, memory), which a retry at once would not find.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that listens, and will answer once [`BoundServer::serve`] runs.
pub struct BoundServer {
    acceptor: Rc<Acceptor>,
    listeners: Vec<TcpListener>,
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
    let context = AppContext {
        server: server.clone(),
        commons: Rc::clone(commons),
        tasks: TaskGroup::default(),
    };
    let acceptor = Acceptor {
        app: app::of(context.clone()),
        context,
        tls,
    };
    Ok(BoundServer {
        acceptor: Rc::new(acceptor),
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
        let Self {
            acceptor,
            listeners,
        } = self;
        let tasks = acceptor.context.tasks.clone();
        for listener in listeners {
            tasks.spawn(accept_all(Rc::clone(&acceptor), listener));
        }
        match tasks.drive().await {}
    }
}

async fn accept_all(acceptor: Rc<Acceptor>, listener: TcpListener) {
    let AppContext {
        server,
        commons,
        tasks,
    } = &acceptor.context;
    let mut left = server.accept_queue.accepts;
    while left != Some(0) {
        match listener.accept().await {
            Ok((stream, peer)) => {
                left = left.map(|n| n - 1);
                tasks.spawn(Rc::clone(&acceptor).run(stream, peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                commons.recorder.emit(Observation::RigError {
                    text: format!("server {}: accept: {error}", server.name),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AcceptQueue, App, Place};

    /// A server in the clear, of which nothing is said but that it is there.
    pub(super) fn server() -> plan::Server {
        plan::Server {
            name: "server".to_owned(),
            place: Place::Node("node1".to_owned()),
            node: "node1".to_owned(),
            listen: Vec::new(),
            tls: false,
            tls_names: Vec::new(),
            protocols: Vec::new(),
            app: App::Echo,
            program: None,
            response_delay: Duration::ZERO,
            limits: plan::ServerLimits::default(),
            store: "server".to_owned(),
            accept_queue: AcceptQueue::default(),
            emulate: None,
        }
    }
}
