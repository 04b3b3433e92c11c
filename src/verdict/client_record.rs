//! What a record has on one client, sorted: its connections, what ended them, and its requests.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::plan::{Cause, Client};
use crate::timeout_model::TcpSysctls;

use super::cause::Diagnosis;
use super::connections::Connection;
use super::index::Index;
use super::requests::Requests;

/// What a record has on a client.
#[derive(Clone, Copy)]
pub(super) struct ClientRecord<'t, 'a> {
    pub client: &'a Client,
    pub index: &'t Index<'a>,
    /// In order of their numbers.
    pub connections: &'t [Connection<'a>],
    /// What ended each of them.
    pub diagnoses: &'t [Diagnosis],
    /// Its requests, or those of one of its workloads.
    pub requests: &'t Requests<'a>,
    pub sysctls: TcpSysctls,
    /// The first connection from each address.
    pub first_from: &'t HashMap<SocketAddr, u32>,
}

impl<'t, 'a> ClientRecord<'t, 'a> {
    fn place(&self, id: u32) -> Option<usize> {
        let place = self.connections.binary_search_by_key(&id, |c| c.id);
        place.ok()
    }

    /// The connection with this number.
    pub(super) fn connection(&self, id: u32) -> Option<&'t Connection<'a>> {
        self.connections.get(self.place(id)?)
    }

    /// What ended one of the connections.
    pub(super) fn diagnosis(&self, connection: &Connection) -> Option<&'t Diagnosis> {
        self.diagnoses.get(self.place(connection.id)?)
    }

    /// The first connection, if it is one before, that had this one's port.
    pub(super) fn before_on_its_port(&self, connection: &Connection) -> Option<u32> {
        let first = self.first_from.get(&connection.local?).copied();
        first.filter(|first| *first < connection.id)
    }

    /// What ended one of the connections, without what says so.
    pub(super) fn cause(&self, connection: &Connection) -> Cause {
        let diagnosis = self.diagnosis(connection);
        diagnosis.map_or(Cause::Unknown, |diagnosis| diagnosis.cause)
    }
}
