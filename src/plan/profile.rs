//! Presets: what well-known clients do by default.
//!
//! Values are those of each library's documentation and source for the version named; `None` = off, or no limit.

use std::time::Duration;

use super::{Keepalive, Ping, Protocol, Retry, RetryOn, Transport};

/// A named bundle of transport settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Its name in YAML.
    pub name: &'static str,
    /// What it stands for, in one line.
    pub about: &'static str,
    /// Its settings.
    pub transport: Transport,
}

const fn s(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

const fn keepalive(idle: u64, interval: u64, count: u32) -> Option<Keepalive> {
    Some(Keepalive {
        idle: Duration::from_secs(idle),
        interval: Duration::from_secs(interval),
        count,
    })
}

const fn ping(idle: u64, timeout: u64, while_idle: bool) -> Option<Ping> {
    Some(Ping {
        idle: Duration::from_secs(idle),
        timeout: Duration::from_secs(timeout),
        while_idle,
    })
}

/// Tries again on a new connection when a pooled one turns out to be lost.
fn retry_reused(attempts: u32) -> Retry {
    Retry {
        attempts,
        backoff: Duration::ZERO,
        on: vec![RetryOn::ReusedConnectionLost],
    }
}

/// Everything off.
#[must_use]
pub fn bare(protocol: Protocol) -> Transport {
    Transport {
        protocol,
        dial_timeout: None,
        tls_timeout: None,
        request_timeout: None,
        read_timeout: None,
        idle_timeout: None,
        keepalive: None,
        user_timeout: None,
        ping: None,
        ping_after_timeout: None,
        retry: Retry::default(),
    }
}

/// Go's `http.DefaultTransport`: dial 30 s, TLS handshake 10 s, idle connections 90 s. Linux takes Go's one keepalive
/// value as idle and interval up to Go 1.22; from 1.23 on the interval is 15 s (`net.KeepAliveConfig`). HTTP/1.1
/// requests without a body are sent again when a pooled connection is lost before the first byte of the response;
/// at most two idle connections a host can be stale (`DefaultMaxIdleConnsPerHost`).
fn go_http1() -> Transport {
    Transport {
        dial_timeout: s(30),
        tls_timeout: s(10),
        idle_timeout: s(90),
        keepalive: keepalive(30, 15, 9),
        retry: retry_reused(2),
        ..bare(Protocol::H1)
    }
}

/// Go's HTTP/2 transport without a health check (`ReadIdleTimeout` 0, the default). A lost connection fails its
/// requests: only refused streams are sent again.
fn go_http2() -> Transport {
    Transport {
        protocol: Protocol::H2,
        retry: Retry::default(),
        ..go_http1()
    }
}

/// gRPC: dials take at least 20 s (connection back-off specification).
fn grpc() -> Transport {
    Transport {
        dial_timeout: s(20),
        tls_timeout: s(20),
        ..bare(Protocol::H2)
    }
}

/// All presets.
#[must_use]
pub fn presets() -> Vec<Preset> {
    let preset = |name, about, transport| Preset {
        name,
        about,
        transport,
    };
    let mut all = go_presets();
    all.extend([
        preset("bare", "HTTP/1.1, everything off", bare(Protocol::H1)),
        preset("bare-h2", "HTTP/2, everything off", bare(Protocol::H2)),
        // hyper-util's legacy client: no timeouts, no keepalive; its pool keeps idle connections 90 s.
        preset(
            "hyper",
            "hyper-util or tonic defaults, HTTP/2",
            Transport {
                idle_timeout: s(90),
                ..bare(Protocol::H2)
            },
        ),
        // reqwest 0.12.23 switched TCP keepalive 15 s / 15 s / 3 and TCP_USER_TIMEOUT 30 s on.
        preset(
            "reqwest",
            "reqwest 0.12.23 or later",
            Transport {
                idle_timeout: s(90),
                keepalive: keepalive(15, 15, 3),
                user_timeout: s(30),
                ..bare(Protocol::H2)
            },
        ),
        // OkHttp 4: connect, read and write 10 s, pool 5 min; after a stream's timeout a PING that must be answered
        // within 1 s, or the connection takes no new streams. Stale pooled connections are recovered from silently.
        preset(
            "okhttp",
            "OkHttp 4 defaults, HTTP/2",
            Transport {
                dial_timeout: s(10),
                tls_timeout: s(10),
                read_timeout: s(10),
                idle_timeout: s(300),
                ping_after_timeout: s(1),
                retry: retry_reused(1),
                ..bare(Protocol::H2)
            },
        ),
        // java.net.http.HttpClient of JDK 17 sets nothing.
        preset("java", "Java 17 HttpClient, HTTP/2", bare(Protocol::H2)),
        // requests and urllib3 set TCP_NODELAY only, and retry nothing by default.
        preset(
            "python-requests",
            "requests / urllib3 without a timeout",
            bare(Protocol::H1),
        ),
        // httpx: 5 s for every phase; idle connections are kept 5 s.
        preset(
            "httpx",
            "httpx defaults",
            Transport {
                dial_timeout: s(5),
                tls_timeout: s(5),
                read_timeout: s(5),
                idle_timeout: s(5),
                ..bare(Protocol::H1)
            },
        ),
        // aiohttp 3: ClientTimeout(total=300, sock_connect=30), keepalive_timeout 15 s, idempotent requests once more
        // on a lost pooled connection.
        preset(
            "aiohttp",
            "aiohttp 3 defaults",
            Transport {
                dial_timeout: s(30),
                request_timeout: s(300),
                idle_timeout: s(15),
                retry: retry_reused(1),
                ..bare(Protocol::H1)
            },
        ),
        // Node's http.Agent({ keepAlive: true }): SO_KEEPALIVE with 1 s; libuv sets interval 1 s and count 10.
        preset(
            "node-http",
            "Node http.Agent with keepAlive",
            Transport {
                keepalive: keepalive(1, 1, 10),
                ..bare(Protocol::H1)
            },
        ),
        // undici: connect 10 s, headers and body timeouts 300 s, keepAliveTimeout 4 s, TCP keepalive 60 s + 10 × 1 s.
        preset(
            "node-fetch",
            "Node's built-in fetch (undici)",
            Transport {
                dial_timeout: s(10),
                read_timeout: s(300),
                idle_timeout: s(4),
                keepalive: keepalive(60, 1, 10),
                ..bare(Protocol::H1)
            },
        ),
        // curl tool: --connect-timeout 300 s, --keepalive-time 60 (idle and interval), kernel's count 9; a request on a
        // reused connection that is lost goes out again on a new one (at most CONN_MAX_RETRIES = 5 times).
        preset(
            "curl",
            "curl tool, HTTP/1.1",
            Transport {
                dial_timeout: s(300),
                keepalive: keepalive(60, 60, 9),
                retry: retry_reused(5),
                ..bare(Protocol::H1)
            },
        ),
    ]);
    all.sort_by_key(|p| p.name);
    all
}

fn go_presets() -> Vec<Preset> {
    let preset = |name, about, transport| Preset {
        name,
        about,
        transport,
    };
    vec![
        preset(
            "go-http1",
            "Go 1.23 or later net/http, HTTP/1.1",
            go_http1(),
        ),
        preset(
            "go-http1-1.22",
            "Go up to 1.22 net/http, HTTP/1.1",
            Transport {
                keepalive: keepalive(30, 30, 9),
                ..go_http1()
            },
        ),
        preset(
            "go-http2",
            "Go net/http, HTTP/2, no health check",
            go_http2(),
        ),
        preset(
            "go-http2-ping",
            "Go HTTP/2 with ReadIdleTimeout 30s, PingTimeout 15s",
            Transport {
                ping: ping(30, 15, true),
                ..go_http2()
            },
        ),
        // client-go sets HTTP2_READ_IDLE_TIMEOUT_SECONDS=30 and HTTP2_PING_TIMEOUT_SECONDS=15 from 0.20.0 on.
        preset(
            "client-go",
            "Kubernetes client-go, HTTP/2 with its health check",
            Transport {
                ping: ping(30, 15, true),
                ..go_http2()
            },
        ),
        preset(
            "client-go-h1",
            "Kubernetes client-go with DISABLE_HTTP2",
            go_http1(),
        ),
        preset("grpc-go", "grpc-go without keepalive", grpc()),
        // gRPC keepalive: 10 s is the shortest time grpc-go takes, timeout 20 s the default, pings only with open
        // streams; TCP_USER_TIMEOUT is set to the timeout (gRFC A18).
        preset(
            "grpc-keepalive",
            "grpc-go with keepalive 10s, timeout 20s",
            Transport {
                ping: ping(10, 20, false),
                user_timeout: s(20),
                ..grpc()
            },
        ),
        // etcdctl: --keepalive-time 2s (raised to grpc's floor of 10 s), --keepalive-timeout 6s, --dial-timeout 2s.
        preset(
            "etcdctl",
            "etcdctl defaults",
            Transport {
                dial_timeout: s(2),
                ping: ping(10, 6, false),
                user_timeout: s(6),
                ..grpc()
            },
        ),
    ]
}

/// The preset called `name`.
#[must_use]
pub fn preset(name: &str) -> Option<Transport> {
    presets()
        .into_iter()
        .find(|p| p.name == name)
        .map(|p| p.transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_promised_ones_exist() {
        let names: Vec<&str> = presets().iter().map(|p| p.name).collect();
        let mut unique = names.clone();
        unique.dedup();
        assert_eq!(names, unique);
        for name in [
            "go-http1",
            "go-http2",
            "go-http2-ping",
            "client-go",
            "grpc-keepalive",
            "hyper",
            "reqwest",
            "okhttp",
            "java",
            "python-requests",
            "node-fetch",
        ] {
            assert!(preset(name).is_some(), "{name}");
        }
    }

    #[test]
    fn only_http2_presets_ping() {
        for preset in presets() {
            if preset.transport.ping.is_some() || preset.transport.ping_after_timeout.is_some() {
                assert_eq!(preset.transport.protocol, Protocol::H2, "{}", preset.name);
            }
        }
    }

    #[test]
    fn go_sends_again_on_http1_only() {
        let go = |name| preset(name).expect("a preset").retry.on;
        assert_eq!(go("go-http1"), [RetryOn::ReusedConnectionLost]);
        assert_eq!(go("go-http2"), []);
    }
}
