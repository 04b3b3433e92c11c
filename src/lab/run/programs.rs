//! Clients and servers of a running lab that are programs.

use std::rc::Rc;

use super::{Lab, addresses};
use crate::contract::phase::PhaseBoard;
use crate::contract::tls::Authority;
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::lab::program::{Files, PhaseWatch, ProgramClient, ProgramServer};
use crate::plan::{self, LabPlan};
use crate::record::Recorder;

/// Clients and servers that are programs.
pub(super) type Programs = (Vec<Rc<ProgramClient>>, Vec<Rc<ProgramServer>>);

/// Those of a plan, watched from now on.
pub(super) fn programs(
    plan: &LabPlan,
    network: &Network,
    authority: &Authority,
    recorder: &Recorder,
    board: &Rc<PhaseBoard>,
    in_guest: bool,
) -> Result<Programs, LabError> {
    let clients = plan.clients.iter();
    let clients: Vec<_> = clients.filter_map(|c| Some((c, c.program()?))).collect();
    let servers = plan.servers.iter();
    let servers: Vec<_> = servers
        .filter_map(|s| Some((s, s.program.as_ref()?)))
        .collect();
    if clients.is_empty() && servers.is_empty() {
        return Ok(Programs::default());
    }
    let files = Rc::new(Files::write(plan, authority.trust().pem(), in_guest)?);
    let client = |(client, program): (&plan::Client, _)| {
        let namespace = network.namespace(&client.place);
        let own = addresses(client, plan);
        let phases = PhaseWatch::of(client, plan, &own, &namespace, board, recorder)?;
        ProgramClient::new(client, program, own, namespace, recorder, &files, phases)
    };
    let server = |(server, program): (&plan::Server, _)| {
        let namespace = network.namespace(&server.place);
        ProgramServer::new(server, program, namespace, recorder, &files, authority)
    };
    let clients = clients.into_iter().map(client);
    let servers = servers.into_iter().map(server);
    Ok((
        clients.collect::<Result<_, _>>()?,
        servers.collect::<Result<_, _>>()?,
    ))
}

impl Lab {
    /// Starts the servers that are programs, and waits until each is ready.
    pub(super) async fn start_programs(self: &Rc<Self>) {
        for program in &self.program_servers {
            self.start_program(program);
        }
        let ready = self.program_servers.iter().map(|p| p.first_ready());
        let ready = futures_util::future::try_join_all(ready);
        tokio::select! {
            ready = ready => if let Err(error) = ready {
                self.break_by(error.into_observation());
            },
            // What did it is in the record, and the next to ask is to know.
            () = self.broken.notified() => self.broken.notify_one(),
        }
    }

    pub(super) fn start_program(self: &Rc<Self>, program: &Rc<ProgramServer>) {
        let (lab, work) = (Rc::clone(self), Rc::clone(program).run());
        self.watch_over(
            &format!("server {}", program.name()),
            Some((program.name(), program.node())),
            async move {
                if let Err(error) = work.await {
                    lab.break_by(error.into_observation());
                }
            },
        );
    }

    /// The program that a server is, if it is one.
    pub(in crate::lab) fn program_server(&self, name: &str) -> Option<&Rc<ProgramServer>> {
        self.program_servers.iter().find(|p| p.name() == name)
    }
}
