//! HTTP/1.1 and HTTP/2, in the clear and through TLS, between our client and our server.

use halfopen::plan::Protocol;
use halfopen::record::{EndedBy, Observation, RequestError};

use crate::bench::*;

fn speaks(protocol: Protocol, tls: bool) {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.tls = tls;
        server.tls_names = vec!["localhost".to_owned()];
        let serving = bench.serve(&server);
        let mut client = poller("c", serving.address(), bare(protocol), ms(20));
        client.target.tls = tls;
        let task = bench.start(client);
        bench.responses(3).await;
        bench.stop();
        task.await.expect("the client ends");
        let (_, answered) = bench
            .wait(|o| match o {
                Observation::Response {
                    server,
                    status,
                    connection,
                    ..
                } => Some((server.clone(), *status, *connection)),
                _ => None,
            })
            .await;
        assert_eq!(answered, (Some("aa".to_owned()), 200, 1));
        let (_, accepted) = bench
            .wait(|o| match o {
                Observation::ServerAccepted { protocol, .. } => *protocol,
                _ => None,
            })
            .await;
        assert_eq!(accepted, protocol);
        // One connection for all, ended by the case.
        let dials = bench.count(|o| matches!(o, Observation::DialStarted { .. }));
        assert_eq!(dials, 1, "{}", bench.story());
        let (_, end) = bench.closed(1).await;
        ended_by(&end, EndedBy::CaseEnd);
        assert_eq!(end.tcp_info.expect("read before the close").state, 1);
        in_order(&bench);
    });
}

/// A request is sent, received, answered and read, in this order; every server event names it.
fn in_order(bench: &Bench) {
    let steps: Vec<&str> = bench
        .events()
        .iter()
        .filter_map(|e| match &e.what {
            Observation::RequestSent { request, .. } if request.number == 2 => Some("sent"),
            Observation::ServerRequest {
                request: Some(r), ..
            } if r.number == 2 => Some("received"),
            Observation::ServerResponse {
                request: Some(r), ..
            } if r.number == 2 => Some("answered"),
            Observation::Response { request, .. } if request.number == 2 => Some("read"),
            _ => None,
        })
        .collect();
    assert_eq!(
        steps,
        ["sent", "received", "answered", "read"],
        "{}",
        bench.story()
    );
}

#[test]
fn h1_in_the_clear() {
    speaks(Protocol::H1, false);
}

#[test]
fn h1_through_tls() {
    speaks(Protocol::H1, true);
}

#[test]
fn h2_in_the_clear() {
    speaks(Protocol::H2, false);
}

#[test]
fn h2_through_tls() {
    speaks(Protocol::H2, true);
}

#[test]
fn a_server_answers_on_ipv4_and_ipv6() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.listen.push("[::1]:0".parse().expect("an address"));
        let serving = bench.serve(&server);
        for (name, address) in [
            ("four", serving.addresses[0]),
            ("six", serving.addresses[1]),
        ] {
            bench.start(poller(name, address, bare(Protocol::H1), ms(1000)));
        }
        for name in ["four", "six"] {
            bench
                .wait(|o| match o {
                    Observation::Response { request, .. } if request.client == name => Some(()),
                    _ => None,
                })
                .await;
        }
    });
}

#[test]
fn a_name_that_is_not_in_the_certificate_fails_the_dial() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.tls = true;
        let serving = bench.serve(&server);
        let mut client = poller("c", serving.address(), bare(Protocol::H1), ms(1000));
        client.target.tls = true;
        client.target.host = "another".to_owned();
        bench.start(client);
        let (_, end) = bench.dial_failed().await;
        ended_by(&end, EndedBy::Protocol);
        assert_eq!(bench.failed().await.1.0, RequestError::Dial);
    });
}

#[test]
fn an_h2_client_does_not_put_up_with_h1() {
    in_lab(async |bench| {
        let mut server = echo("localhost");
        server.tls = true;
        server.protocols = vec![Protocol::H1];
        let serving = bench.serve(&server);
        let mut client = poller("c", serving.address(), bare(Protocol::H2), ms(1000));
        client.target.tls = true;
        bench.start(client);
        let (_, end) = bench.dial_failed().await;
        ended_by(&end, EndedBy::Protocol);
    });
}

#[test]
fn response_delay_delays_the_response() {
    in_lab(async |bench| {
        let mut server = echo("aa");
        server.response_delay = ms(300);
        let serving = bench.serve(&server);
        bench.start(poller("c", serving.address(), bare(Protocol::H1), ms(1000)));
        bench.responses(1).await;
        let at = |pick: fn(&Observation) -> bool| {
            bench.find(|o| pick(o).then_some(())).expect("recorded").0
        };
        let asked = at(|o| matches!(o, Observation::ServerRequest { .. }));
        let answered = at(|o| matches!(o, Observation::ServerResponse { .. }));
        between(answered - asked, 300, 1500);
    });
}

#[test]
fn an_aborted_server_is_gone_at_once_and_says_nothing() {
    in_lab(async |bench| {
        for protocol in [Protocol::H1, Protocol::H2] {
            let serving = bench.serve(&echo("aa"));
            let name = format!("{protocol:?}");
            bench.start(poller(&name, serving.address(), bare(protocol), ms(5000)));
            bench
                .wait(|o| match o {
                    Observation::Response { request, .. } if request.client == name => Some(()),
                    _ => None,
                })
                .await;
            serving.task.abort();
            assert!(serving.task.await.is_err_and(|e| e.is_cancelled()));
            let again = std::net::TcpStream::connect(serving.addresses[0]);
            assert!(again.is_err(), "nobody listens any more");
            // Nothing was cut here, so the kernel says FIN, and the idle connection's end is noticed at once.
            let (_, end) = bench
                .wait(|o| match o {
                    Observation::ConnectionClosed { client, end, .. } if *client == name => {
                        Some(end.clone())
                    }
                    _ => None,
                })
                .await;
            ended_by(&end, EndedBy::Peer);
        }
        assert_eq!(
            bench.count(|o| matches!(o, Observation::ServerClosed { .. })),
            0
        );
    });
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    in_lab(async |bench| {
        let (_held, address) = silent_listener();
        let mut server = echo("aa");
        server.listen = vec![address];
        let error = halfopen::server::bind(&server, &bench.namespace, &bench.commons)
            .err()
            .expect("in use");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}
