//! Our rules and kube-proxy's own, held against each other: the same Service and endpoints, and what becomes of packets.
//!
//! kube-proxy is asked what to do by Kubernetes' own API server, in the lab's network. `ci/kubernetes` builds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use halfopen::lab::network::Network;
use halfopen::lab::service::Services;
use halfopen::linux::namespace::Namespace;
use halfopen::plan::{LabPlan, Place};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::needs;
use crate::rig::{self, at, in_lab, node, pod};

const PORT: u16 = 6443;
const ADDRESS: &str = "192.168.255.220:443";
const API_PORT: u16 = 7443;

/// Throws of the dice: that one of two endpoints has less than 10 of 60 has a chance of 1 in 10 million.
const THROWS: usize = 60;
const FEWEST: usize = 10;

/// Two servers, of which one is on the clients' node, a client in a pod and one on the node itself; the API server elsewhere.
fn plan() -> LabPlan {
    let mut plan = rig::plan(3, &[("client", 1), ("aa-1", 1), ("aa-2", 2), ("api", 3)]);
    let endpoints = [1, 2].map(|n| at(plan.pods[n].address, PORT));
    let endpoints = [("aa-1", endpoints[0]), ("aa-2", endpoints[1])];
    rig::add_service(&mut plan, "aa", ADDRESS, &endpoints, &PLACES.map(place));
    plan
}

/// Where connections begin: at a client's, on the node itself, and at an endpoint, which may meet itself.
const PLACES: [&str; 3] = ["client", "node1", "aa-1"];

fn place(name: &str) -> Place {
    match name {
        "node1" => node(name),
        _ => pod(name),
    }
}

/// What becomes of connections to the service: from each place, the servers that they meet with the addresses that these see, or
/// how the connection fails.
type Seen = BTreeMap<&'static str, BTreeSet<String>>;

async fn look(network: &Network) -> Seen {
    let service: SocketAddr = ADDRESS.parse().unwrap();
    let mut seen = Seen::new();
    for from in PLACES {
        let namespace = network.namespace(&place(from));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..THROWS {
            let asked = tokio::time::timeout(Duration::from_secs(3), rig::ask(&namespace, service));
            let met = match asked.await {
                Ok(Ok((_, met))) => met,
                Ok(Err(error)) => error.kind().to_string(),
                Err(_) => "silence".to_owned(),
            };
            *counts.entry(met).or_default() += 1;
        }
        assert!(
            counts.values().all(|count| *count >= FEWEST),
            "{from}: {counts:?}"
        );
        seen.insert(from, counts.into_keys().collect());
    }
    seen
}

/// Says who it is, and from where the connection came; then it echoes.
fn serve(network: &Network, name: &'static str, address: SocketAddr) {
    let socket = network.namespace(&pod(name)).tcp_socket(address).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, peer) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let hello = format!("{name} sees {}\n", peer.ip());
                if stream.write_all(hello.as_bytes()).await.is_ok() {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
            });
        }
    });
}

/// What decides where connections go: ours, or kube-proxy's.
trait Rules {
    /// Has them name these servers alone.
    async fn name(&mut self, servers: &[&str]);
}

/// What packets meet through a service's life: with both endpoints, with one, with none, with both again. A connection that exists
/// stays where it is throughout.
async fn life(network: &Network, plan: &LabPlan, rules: &mut impl Rules) -> Vec<Seen> {
    for endpoint in &plan.services[0].endpoints {
        let name = if endpoint.server == "aa-1" {
            "aa-1"
        } else {
            "aa-2"
        };
        serve(network, name, endpoint.address);
    }
    let mut all = Vec::new();
    rules.name(&["aa-1"]).await;
    let client = network.namespace(&pod("client"));
    let (mut old, met) = rig::ask(&client, ADDRESS.parse().unwrap()).await.unwrap();
    assert!(met.starts_with("aa-1"), "{met}");
    for servers in [&["aa-1", "aa-2"][..], &["aa-2"], &[], &["aa-1", "aa-2"]] {
        rules.name(servers).await;
        all.push(look(network).await);
        rig::echo(&mut old, "still there").await.unwrap();
    }
    all
}

struct Ours(Services);

impl Rules for Ours {
    async fn name(&mut self, servers: &[&str]) {
        let (there, gone): (Vec<&str>, Vec<&str>) = ["aa-1", "aa-2"]
            .into_iter()
            .partition(|s| servers.contains(s));
        self.0.add_endpoints("aa", &there).await.unwrap();
        self.0.remove_endpoints("aa", &gone).await.unwrap();
    }
}

/// The folder with Kubernetes' programs, the newest of those that are built.
fn programs() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kubernetes");
    let folders = fs::read_dir(built).into_iter().flatten().flatten();
    let folders = folders.map(|entry| entry.path());
    let newest = folders
        .filter(|folder| folder.join("VERSIONS").is_file())
        .max();
    if newest.is_none() {
        needs::skipped("Kubernetes' programs are not here: ci/kubernetes builds them");
    }
    newest
}

struct KubeProxy {
    programs: PathBuf,
    folder: tempfile::TempDir,
    running: Vec<Child>,
    node1: Rc<Namespace>,
    api: Rc<Namespace>,
    plan: LabPlan,
}

impl KubeProxy {
    async fn start(programs: &Path, network: &Network, plan: &LabPlan, mode: &str) -> Self {
        let mut own = Self {
            programs: programs.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            running: Vec::new(),
            node1: network.namespace(&node("node1")),
            api: network.namespace(&pod("api")),
            plan: plan.clone(),
        };
        let folder = own.folder.path().display().to_string();
        let api = plan.pods[3].address;
        let made = rcgen::generate_simple_self_signed([api.to_string()]).unwrap();
        let write = |name: &str, text: String| fs::write(own.folder.path().join(name), text);
        write("cert.pem", made.cert.pem()).unwrap();
        write("key.pem", made.signing_key.serialize_pem()).unwrap();
        write("tokens", "lab,admin,admin,system:masters\n".to_owned()).unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{ "name": "lab", "cluster": {
                "server": format!("https://{api}:{API_PORT}"), "certificate-authority": format!("{folder}/cert.pem"),
            } }],
            "users": [{ "name": "admin", "user": { "token": "lab" } }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "admin" } }],
        });
        write("kubeconfig", config.to_string()).unwrap();
        let there = Rc::clone(&own.api);
        own.run(&there, "etcd", &format!("--data-dir={folder}/etcd"));
        own.run(
            &there,
            "kube-apiserver",
            &format!(
                "--etcd-servers=http://127.0.0.1:2379 --advertise-address={api} --secure-port={API_PORT} --cert-dir={folder} \
                 --tls-cert-file={folder}/cert.pem --tls-private-key-file={folder}/key.pem --token-auth-file={folder}/tokens \
                 --service-cluster-ip-range=192.168.255.0/24 --authorization-mode=AlwaysAllow \
                 --service-account-issuer=https://kubernetes --service-account-key-file={folder}/cert.pem \
                 --service-account-signing-key-file={folder}/key.pem"
            ),
        );
        own.apply(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node1" },
            "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] },
        }))
        .await;
        own.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "aa", "namespace": "default" },
            "spec": { "clusterIP": "192.168.255.220", "ports": [{ "port": 443, "targetPort": PORT }] },
        }))
        .await;
        let here = Rc::clone(&own.node1);
        own.run(
            &here,
            "kube-proxy",
            &format!(
                "--kubeconfig={folder}/kubeconfig --hostname-override=node1 --proxy-mode={mode} --conntrack-max-per-core=0 \
                 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s \
                 --iptables-localhost-nodeports=false"
            ),
        );
        own
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PATH", needs::search_path());
        command
    }

    fn run(&mut self, at: &Namespace, program: &str, arguments: &str) {
        let log = fs::File::create(self.folder.path().join(format!("{program}.log"))).unwrap();
        let mut command = self.command(program);
        command.args(arguments.split_whitespace());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // None outlives the test, however that ends.
        // SAFETY: the child makes one system call before it executes.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        self.running.push(at.enter(|| command.spawn()).unwrap());
    }

    /// Has the API server know an object, as soon as it can.
    async fn apply(&self, object: &serde_json::Value) {
        let mut said = String::new();
        for _ in 0..120 {
            let mut command = self.command("kubectl");
            command.arg(format!(
                "--kubeconfig={}/kubeconfig",
                self.folder.path().display()
            ));
            command.args(["apply", "--validate=false", "-f", "-"]);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let output = self.api.enter(|| {
                let mut child = command.spawn()?;
                let mut stdin = child.stdin.take().expect("a pipe");
                stdin.write_all(object.to_string().as_bytes())?;
                drop(stdin);
                child.wait_with_output()
            });
            let output = output.unwrap();
            if output.status.success() {
                return;
            }
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{said}\n{}", self.logs());
    }

    fn logs(&self) -> String {
        let logs = ["kube-apiserver", "kube-proxy"].map(|program| {
            let log = fs::read_to_string(self.folder.path().join(format!("{program}.log")));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(20).collect();
            format!("{program}:\n{}\n", lines.join("\n"))
        });
        logs.concat()
    }

    /// Only of its own node's endpoints kube-proxy's nftables mode knows that they may meet themselves.
    fn node_of(&self, server: &str) -> &str {
        let pod = self.plan.pods.iter().find(|pod| pod.name == server);
        &pod.expect("a pod").node
    }

    /// The node's rules, as text: of each mode those that its own program shows.
    fn ruleset(&self) -> String {
        let mut iptables = needs::program("iptables-save");
        iptables.args(["-t", "nat"]);
        let mut nftables = needs::program("nft");
        nftables.args(["list", "table", "ip", "kube-proxy"]);
        let show = |mut command: Command| {
            let output = self.node1.enter(|| command.output()).unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        show(iptables) + &show(nftables)
    }
}

impl Rules for KubeProxy {
    async fn name(&mut self, servers: &[&str]) {
        let endpoints = &self.plan.services[0].endpoints;
        let named = |e: &&halfopen::plan::Endpoint| servers.contains(&e.server.as_str());
        let listed: Vec<_> = endpoints
            .iter()
            .filter(named)
            .map(|e| json!({ "addresses": [e.address.ip()], "conditions": { "ready": true }, "nodeName": self.node_of(&e.server) }))
            .collect();
        self.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "aa-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "aa" },
            },
            "addressType": "IPv4", "ports": [{ "name": "", "protocol": "TCP", "port": PORT }], "endpoints": listed,
        }))
        .await;
        let client = self.node1.as_ref();
        let mut ruleset = String::new();
        for _ in 0..120 {
            ruleset = self.ruleset();
            let right = endpoints.iter().all(|endpoint| {
                let (ip, port) = (endpoint.address.ip(), endpoint.address.port());
                // As iptables has it, and as kube-proxy's nftables mode.
                let ways = [format!("{ip}:{port}"), format!("{ip} . {port} ")];
                let named = ways.iter().any(|way| ruleset.contains(way));
                let named = named || ruleset.contains(&format!("{ip} . {port},"));
                named == servers.contains(&endpoint.server.as_str())
            });
            // Without endpoints it says so to whoever asks.
            let refused = async || {
                let dialled = rig::dials(client, ADDRESS.parse().unwrap(), Duration::from_secs(1));
                dialled.await == Some(Err(ErrorKind::ConnectionRefused))
            };
            if right && (!servers.is_empty() || refused().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!(
            "kube-proxy never named {servers:?} alone\n{ruleset}\n{}",
            self.logs()
        );
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn packets_meet_the_same_by_our_rules_and_by_kube_proxy_s_own() {
    let Some(programs) = programs() else { return };
    in_lab(async || {
        let plan = plan();
        let network = Network::build(&plan).unwrap();
        let mut ours = Ours(Services::load(&network, &plan).await.unwrap());
        let expected = life(&network, &plan, &mut ours).await;
        // Every stage is another, and an endpoint that meets itself sees its node.
        assert_eq!(expected.len(), 4);
        assert_eq!(expected[0], expected[3]);
        assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        assert!(
            expected[0]["aa-1"]
                .iter()
                .any(|met| met.starts_with("aa-1 sees")),
            "{expected:?}"
        );
        drop((ours, network));
        for mode in ["iptables", "nftables"] {
            let network = Network::build(&plan).unwrap();
            let mut theirs = KubeProxy::start(&programs, &network, &plan, mode).await;
            let seen = life(&network, &plan, &mut theirs).await;
            assert_eq!(seen, expected, "{mode}");
        }
    });
}
