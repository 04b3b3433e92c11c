//! From a scenario, as one case of its matrix sees it, to the plan of that case and its repetitions.

mod client;
mod condition;
mod counters;
mod draw;
mod duration;
mod exec;
mod expectation;
mod fault;
mod forgot;
mod middlebox;
mod names;
mod network;
mod observable;
mod placeholders;
mod probes;
mod program;
mod published;
mod repetition;
mod rolling;
mod sequence;
mod server;
mod server_program;
mod service;
mod target;
mod transport;
mod warnings;
mod window;
mod workload;

use std::time::Duration;

use super::cx::Cx;
use crate::plan::{Case, LabPlan};
use crate::yaml::given;

/// How long a request that is out at the end may take beyond its server's delay before it counts as unfinished.
const DRAIN: Duration = Duration::from_millis(200);

/// What the command line says of the cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Only cases whose `scenario/case` contains this text.
    pub filter: Option<String>,
}

impl PlanOptions {
    fn want(&self, scenario: &str, case: &str) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|text| format!("{scenario}/{case}").contains(text))
    }
}

/// The case of a scenario called `name`, with its repetitions; none where a problem was found, or nobody asks for it.
pub(crate) fn cases(cx: &mut Cx<'_>, name: String, options: &PlanOptions) -> Vec<Case> {
    let times = repetition::times(cx);
    let latest = case(cx, name, options);
    let latest = latest.filter(|_| cx.is_right()).into_iter();
    latest
        .flat_map(|latest| draw::all(cx.scenario, latest, times))
        .collect()
}

/// The case in which every fault comes as late as it can: what fits there fits whatever chance says.
fn case(cx: &mut Cx<'_>, name: String, options: &PlanOptions) -> Option<Case> {
    let scenario = names::of_scenario(cx);
    names::of_things(cx);
    duration::given_one(cx);
    let rtt = network::rtt(cx);
    network::nodes(cx);
    server::resolve(cx);
    service::resolve(cx);
    let clients = client::resolve(cx);
    middlebox::resolve(cx);
    let faults = fault::resolve(cx);
    middlebox::check(cx, &faults);
    sequence::check(cx, &faults);
    condition::check(cx);
    let expectations = expectation::resolve(cx, &faults);
    observable::check(cx);
    let spread = repetition::expectations(cx);
    let counters = counters::resolve(cx);
    let probes = probes::resolve(cx, &clients, &counters, &expectations);
    let published = published::resolve(cx);
    let scenario = scenario.filter(|scenario| cx.is_right() && options.want(scenario, &name))?;
    let topology = std::mem::take(&mut cx.topology);
    let delays = topology.servers.iter().map(|s| s.response_delay);
    let slowest = delays.max().unwrap_or_default();
    let mut faults: Vec<_> = faults.into_iter().map(|found| found.fault).collect();
    let given_duration = given(&cx.scenario.duration).map(|time| time.0);
    faults.extend(middlebox::faults(&topology, &clients, given_duration));
    let mut plan = LabPlan {
        seed: options.seed,
        duration: Duration::ZERO,
        drain: DRAIN + slowest + rtt.as_ref().map_or(Duration::ZERO, |rtt| rtt.time * 2),
        rtt,
        probes,
        clients,
        faults,
        nodes: topology.nodes,
        pods: topology.pods,
        servers: topology.servers,
        services: topology.services,
        middleboxes: topology.middleboxes,
    };
    let predictions = draw::predictions(&plan);
    plan.duration = duration::resolve(cx, &plan, &predictions, &expectations)?;
    Some(Case {
        scenario,
        name,
        description: given(&cx.scenario.description).cloned(),
        matrix: cx.matrix_values(),
        repetition: None,
        counters,
        spread,
        warnings: warnings::of(cx, &plan),
        lab: plan,
        expectations: expectations.into_iter().map(|(_, e)| e).collect(),
        predictions,
        published,
    })
}
