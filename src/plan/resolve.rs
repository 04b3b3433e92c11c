//! From a scenario to its cases.

use std::time::Duration;

use super::fault_spec::Draw;
use super::topology::Topology;
use super::{
    Case, Client, LabPlan, Location, Prediction, Repetition, RoundTrip, counters, duration,
    expectation, fault_spec, probes, published, target, transport, warnings, workload,
};
use crate::scenario::model::{ClientSpec, Named, Scenario};
use crate::scenario::{Diagnostic, Loaded, Problem, Span, Variant, given};
use crate::timeout_model;

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

/// Resolves a scenario into its cases, in the matrix's order.
///
/// # Errors
/// A case has no duration, and none can be derived; or a number does not fit the duration.
pub fn cases(loaded: &Loaded, options: &PlanOptions) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut cases = Vec::new();
    for variant in loaded.variants() {
        let full_name = format!(
            "{}/{}",
            variant.scenario.name.get().map_or("", String::as_str),
            variant.name
        );
        if options
            .filter
            .as_ref()
            .is_some_and(|text| !full_name.contains(text))
        {
            continue;
        }
        // What fits though every fault comes as late as it can, fits whatever chance says.
        let latest = resolve(loaded, &variant, options.seed, Draw::Latest, &mut problems);
        let Some(latest) = latest else { continue };
        let by_chance = fault_spec::by_chance(&variant.scenario);
        let drawn = |seed: u64| {
            let again = || resolve(loaded, &variant, seed, Draw::Seed(seed), &mut Vec::new());
            let case = by_chance.then(again).flatten();
            let mut case = case.unwrap_or_else(|| latest.clone());
            case.lab.seed = seed;
            case.lab.duration = latest.lab.duration;
            case
        };
        match given(&variant.scenario.repeat) {
            Some(times) => cases.extend(repeated(options.seed, *times, drawn)),
            None => cases.push(drawn(options.seed)),
        }
    }
    crate::scenario::only_once(&mut problems);
    match problems.is_empty() {
        true => Ok(cases),
        false => Err(problems.iter().map(|p| loaded.diagnostic(p)).collect()),
    }
}

/// A case's repetitions, each with a seed of its own. `drawn` is the case with a seed.
fn repeated(seed: u64, times: u32, drawn: impl Fn(u64) -> Case) -> impl Iterator<Item = Case> {
    // As wide as the last, so that their records stand in their order.
    let width = times.to_string().len();
    (1..=times).map(move |number| {
        let mut repetition = drawn(seed.wrapping_add(u64::from(number) - 1));
        let case = repetition.name;
        repetition.name = format!("{case} #{number:0width$}");
        repetition.repetition = Some(Repetition {
            case,
            number,
            of: times,
        });
        repetition
    })
}

fn resolve(
    loaded: &Loaded,
    variant: &Variant,
    seed: u64,
    draw: Draw,
    problems: &mut Vec<Problem>,
) -> Option<Case> {
    let locate = |span: Span| loaded.source().location(span);
    let scenario = &variant.scenario;
    let topology = Topology::build(scenario, &locate);
    let delays = topology.servers.iter().map(|s| s.response_delay);
    let slowest = delays.max().unwrap_or_default();
    let clients = clients(scenario, &topology, &locate);
    let counters = counters::of(variant, &topology, &locate);
    let rtt = scenario.rtt.as_ref().and_then(|rtt| {
        Some(RoundTrip {
            time: rtt.get()?.0,
            location: locate(rtt.span),
        })
    });
    let mut plan = LabPlan {
        seed,
        duration: Duration::ZERO,
        drain: DRAIN + slowest + rtt.as_ref().map_or(Duration::ZERO, |rtt| rtt.time * 2),
        rtt,
        probes: probes::of(scenario, &topology, &clients, &counters),
        clients,
        faults: fault_spec::of(scenario, &topology, draw, &locate),
        nodes: topology.nodes,
        pods: topology.pods,
        servers: topology.servers,
        services: topology.services,
    };
    let predictions: Vec<Prediction> = plan
        .clients
        .iter()
        .filter_map(|c| timeout_model::foresee(c, &plan))
        .collect();
    let expectations = expectation::of(variant, &locate);
    plan.duration = duration::of(scenario, &plan, &predictions, &expectations, problems)?;
    Some(Case {
        scenario: scenario.name.get()?.clone(),
        name: variant.name.clone(),
        description: given(&scenario.description).cloned(),
        repetition: None,
        counters,
        spread: expectation::of_all(variant, &locate),
        warnings: warnings::of(scenario, &plan, &locate),
        lab: plan,
        expectations: expectations.into_iter().map(|(_, e)| e).collect(),
        predictions,
        published: published::of(scenario),
    })
}

fn clients(
    scenario: &Scenario,
    topology: &Topology,
    locate: &dyn Fn(Span) -> Location,
) -> Vec<Client> {
    let specs = scenario.clients.get().into_iter().flat_map(Named::iter);
    specs
        .filter_map(|(name, word, spec)| client(scenario, topology, word, spec, name.span, locate))
        .collect()
}

/// A client; `None` only where the check found something wrong with it.
fn client(
    scenario: &Scenario,
    topology: &Topology,
    name: &str,
    spec: &ClientSpec,
    span: Span,
    locate: &dyn Fn(Span) -> Location,
) -> Option<Client> {
    let target = target::resolve(spec.url.get()?, spec.url.span, topology, &[]).ok()??;
    let transport = transport::of_client(scenario, spec, &mut Vec::new())?;
    Some(Client {
        name: name.to_owned(),
        place: topology.clients.get(name)?.clone(),
        node: spec.node.get()?.clone(),
        profile: given(&spec.profile).cloned().unwrap_or_default(),
        workloads: workload::resolve(spec, &target, transport.request_timeout, locate)?,
        target,
        transport,
        start: given(&spec.start).map_or(Duration::ZERO, |start| start.0),
        location: locate(span),
    })
}
