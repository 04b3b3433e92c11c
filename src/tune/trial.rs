//! What is asked of a setting: cases of one fault each, made of the scenario's own.

use std::fmt;
use std::time::Duration;

use crate::plan::{
    Case, Cause, Client, CountWindow, CounterExpectation, Direction, Effect, End, Fault, Growth,
    LabPlan, Location, Packets, Path, Phase, Place, Trigger, Where, Workload, Workloads, word,
};
use crate::result::{CaseResult, ClientResult, ConnectionResult, Verdict};

/// Loss that a healthy connection is put to, in percent.
pub(super) const LOSSES: [f64; 3] = [1.0, 5.0, 10.0];
/// For how long.
pub(super) const LOSS_LASTS: Duration = Duration::from_secs(600);
/// The time over which an idle connection's packets are counted.
const HOUR: Duration = Duration::from_secs(3600);
/// What is over when that counting begins: dial, handshake and the only request.
const BEFORE: Duration = Duration::from_secs(60);
/// After everything that was to happen.
const SETTLE: Duration = Duration::from_secs(5);
/// What is counted for it.
const COUNTERS: [&str; 2] = ["Ip.InReceives", "Ip.OutRequests"];

/// A question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Question {
    /// The server's node loses its power while the client is in a phase; within this time all is over.
    PowerLoss {
        phase: Phase,
        draw: u64,
        within: Duration,
    },
    /// Nothing reaches the node, nor leaves it, for a while; within this time whatever can end the connection has ended it.
    Blip {
        phase: Phase,
        lasts: Duration,
        within: Duration,
    },
    /// Packets are lost for ten minutes.
    Loss { percent: f64, draw: u64 },
    /// The connection lies idle for so long.
    Idle { lasts: Duration },
}

impl Question {
    /// The idle connection's two, whose difference is an hour's.
    pub(super) const IDLE: [Self; 2] = [
        Self::Idle { lasts: BEFORE },
        Self::Idle {
            lasts: BEFORE.saturating_add(HOUR),
        },
    ];
}

/// As a part of a case's name.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerLoss { phase, draw, .. } => {
                write!(f, "power loss while {} #{draw}", word(phase))
            }
            Self::Blip { phase, lasts, .. } => {
                write!(f, "{} s of silence while {}", lasts.as_secs(), word(phase))
            }
            Self::Loss { percent, draw } => write!(f, "{percent} % loss #{draw}"),
            Self::Idle { lasts } => write!(f, "idle for {} s", lasts.as_secs()),
        }
    }
}

/// A case to ask about one client.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) case: &'a Case,
    pub(super) client: &'a Client,
    /// The scenario's own loss of power.
    pub(super) power_loss: &'a Fault,
}

impl<'a> Subject<'a> {
    /// A client of a case whose scenario has a loss of power.
    pub(super) fn of(case: &'a Case, client: &str) -> Option<Self> {
        let client = case.lab.client(client)?;
        let mut faults = case.lab.faults.iter();
        let power_loss = faults.find(|fault| takes_server_of(fault, client, &case.lab))?;
        Some(Self {
            case,
            client,
            power_loss,
        })
    }

    /// The phases that the client has while it is connected.
    pub(super) fn connected(&self) -> Vec<Phase> {
        match self.client.workloads.iter().any(|work| work.kind.streams()) {
            true => vec![Phase::Streaming],
            false => vec![
                Phase::Idle,
                Phase::RequestUnacknowledged,
                Phase::WaitingForResponse,
            ],
        }
    }

    /// Whether chance decides which server a dial of the client's leads to.
    pub(super) fn has_a_choice(&self) -> bool {
        self.client.target.servers.len() > 1
    }

    /// The loss of power, while the client is in a phase.
    pub(super) fn loses_power(&self, phase: Phase) -> Fault {
        Fault {
            name: None,
            trigger: self.when(phase),
            lasts: None,
            ..self.power_loss.clone()
        }
    }

    fn when(&self, phase: Phase) -> Trigger {
        let after = match phase {
            // A client that is well dials once, as it starts.
            Phase::Connecting => Duration::ZERO,
            Phase::Idle
            | Phase::RequestUnacknowledged
            | Phase::WaitingForResponse
            | Phase::Streaming => self.power_loss.trigger.not_before(),
        };
        Trigger::Phase {
            client: self.client.name.clone(),
            phase,
            after,
        }
    }

    /// Packets of the node that vanish.
    fn drops(&self, trigger: Trigger, percent: f64, lasts: Duration) -> Fault {
        let node = self.power_loss.dead_node().unwrap_or_default().to_owned();
        let path = Path {
            place: Where::At(End::Machine(node)),
            direction: Direction::Both,
        };
        Fault {
            name: None,
            kind: String::from("loss"),
            target: path.to_string(),
            detail: Some(format!("{percent} %")),
            trigger,
            effects: vec![Effect::Drop {
                path,
                packets: Packets::All,
                percent,
            }],
            lasts: Some(lasts),
            location: Location::default(),
        }
    }

    /// The case of a question.
    pub(super) fn ask(&self, question: Question) -> Case {
        let mut case = self.case.clone();
        case.name = format!("{}, {}: {question}", case.name, self.client.name);
        let lab = &mut case.lab;
        let from = self.power_loss.trigger.not_before();
        // A phase may have to be waited for.
        let pause = self.client.workloads.longest_pause() * 2 + lab.slowest(self.client);
        match question {
            Question::PowerLoss {
                phase,
                draw,
                within,
            } => {
                lab.seed = lab.seed.wrapping_add(draw);
                lab.faults = vec![self.loses_power(phase)];
                lab.duration = from + pause + within + pause + SETTLE;
            }
            Question::Blip {
                phase,
                lasts,
                within,
            } => {
                lab.faults = vec![self.drops(self.when(phase), 100.0, lasts)];
                lab.duration = from + pause + within.max(lasts) + pause + SETTLE;
            }
            Question::Loss { percent, draw } => {
                lab.seed = lab.seed.wrapping_add(draw);
                lab.faults = vec![self.drops(Trigger::At(from), percent, LOSS_LASTS)];
                lab.duration = from + LOSS_LASTS + pause + SETTLE;
            }
            Question::Idle { lasts } => {
                lab.faults = Vec::new();
                lab.duration = self.client.start + lasts;
                self.lie_idle(lab);
                case.counters = self.packets();
                case.lab.probes.counters = true;
            }
        }
        case
    }

    /// One request, and none more within the case.
    fn lie_idle(&self, lab: &mut LabPlan) {
        let own = lab
            .clients
            .iter_mut()
            .filter(|c| c.name == self.client.name);
        for client in own {
            let every = HOUR * 3;
            client.workloads = Workloads::one(Workload::Poll { every }, None);
        }
    }

    fn packets(&self) -> Vec<CounterExpectation> {
        let (Place::Pod(place) | Place::Node(place)) = &self.client.place;
        let each = COUNTERS.map(|counter| CounterExpectation {
            of: self.client.name.clone(),
            place: place.clone(),
            counter: counter.to_owned(),
            growth: Growth::Within(CountWindow { min: 0, max: None }),
            text: counter.to_owned(),
            location: Location::default(),
        });
        each.into()
    }
}

/// Whether a fault is a loss of power of a node that a client's server runs on.
fn takes_server_of(fault: &Fault, client: &Client, lab: &LabPlan) -> bool {
    fault.dead_node().is_some_and(|node| {
        let mut servers = lab.servers_of(client);
        servers.any(|server| server.node == node)
    })
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// This kernel lacks something.
    Skipped(String),
    /// The case broke, or the fault tested nothing.
    Broken(String),
}

/// The result on a client of a case that went as planned.
pub(super) fn answered<'a>(
    result: &'a CaseResult,
    client: &str,
) -> Result<&'a ClientResult, Unanswered> {
    let why = || {
        let reason = result.reason.as_ref().map(|note| note.text.clone());
        reason.unwrap_or_else(|| String::from("the case did not go as planned"))
    };
    match result.verdict {
        Verdict::Skipped => return Err(Unanswered::Skipped(why())),
        _ if !result.judged => return Err(Unanswered::Broken(why())),
        Verdict::Error | Verdict::Pass | Verdict::Fail | Verdict::Measured => {}
    }
    let found = result.client(client);
    found.ok_or_else(|| Unanswered::Broken(format!("the result has no client `{client}`")))
}

/// From the loss of power in a phase until the client works again, or gives its connection up where nobody can answer it.
pub(super) fn recovery(
    client: &ClientResult,
    phase: Phase,
) -> Result<Option<Duration>, Unanswered> {
    // One that dials holds no connection yet.
    if phase != Phase::Connecting && client.affected != Some(true) {
        let why = client.untested.clone();
        let why = why.unwrap_or_else(|| String::from("the fault struck no connection of it"));
        return Err(Unanswered::Broken(why));
    }
    Ok(client.recovered_after.or(client.detected_after))
}

/// Whether the connection that the client held when a fault came outlived it.
pub(super) fn survived(client: &ClientResult) -> Result<bool, Unanswered> {
    let fault = client
        .fault_at
        .ok_or_else(|| Unanswered::Broken(String::from("the fault never came")))?;
    let mut held = client.connections.iter().filter(|c| {
        c.opened_at.is_some_and(|at| at <= fault) && c.closed_at.is_none_or(|at| at > fault)
    });
    let Some(first) = held.next() else {
        return Err(Unanswered::Broken(String::from("it held no connection")));
    };
    // A pool that closes what it does not need says nothing of the fault.
    let lives = |c: &ConnectionResult| c.closed_at.is_none() || c.cause == Cause::IdleTimeout;
    let all = lives(first) && held.all(lives);
    let well = client.recovered_after.is_some() || client.affected == Some(false);
    Ok(all && well)
}

/// Packets that a client's pod sent and received.
pub(super) fn packets(result: &CaseResult) -> Option<u64> {
    let counters = result
        .expectations
        .iter()
        .filter_map(|e| e.counter.as_ref());
    let grown: Option<Vec<u64>> = counters.map(|counter| counter.grown).collect();
    grown
        .filter(|all| all.len() == COUNTERS.len())
        .map(|all| all.iter().sum())
}
