//! Whether the machine's neighbour tables have room.
//!
//! There is one table for IPv4 and one for IPv6, for all namespaces of the machine together. When one is full, packets to
//! neighbours that are not in it vanish, here or in anybody's network, and what is measured is the machine.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::linux::LinuxError;
use crate::linux::netlink::Channel;

/// The machine's neighbour tables, watched from some moment on.
pub(super) struct NeighbourTables {
    channel: Channel,
    begun: Vec<Table>,
}

/// A neighbour table at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    /// The kernel's name: `arp_cache` or `ndisc_cache`.
    name: String,
    /// Times that an entry had no room since the machine started (`table_fulls` in `/proc/net/stat`).
    fulls: u64,
    /// Most entries that count (`gc_thresh3`).
    limit: Option<u32>,
}

impl NeighbourTables {
    /// Watches from now on.
    ///
    /// # Errors
    /// [`LinuxError::Kernel`] if the kernel does not show its tables.
    pub(super) fn watch() -> Result<Self, LinuxError> {
        let doing = "looking at the machine's neighbour tables";
        let mut channel = Channel::open_here(NETLINK_ROUTE).map_err(LinuxError::kernel(doing))?;
        let begun = tables(&mut channel).map_err(LinuxError::kernel(doing))?;
        Ok(Self { channel, begun })
    }

    /// Which table has had no room since the watch began, in words.
    ///
    /// # Errors
    /// If the kernel does not show its tables.
    pub(super) fn overflowed(&mut self) -> io::Result<Option<String>> {
        Ok(overflowed(&self.begun, &tables(&mut self.channel)?))
    }
}

fn tables(channel: &mut Channel) -> io::Result<Vec<Table>> {
    let ask = NeighbourTableMessage::default();
    let answers = channel.dump(RouteNetlinkMessage::GetNeighbourTable(ask))?;
    let tables = answers.iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewNeighbourTable(message) = answer else {
            return None;
        };
        table(&message.attributes)
    });
    Ok(tables.collect())
}

/// `None` of a message with a link's parameters: only the table's own says what it counts.
fn table(attributes: &[NeighbourTableAttribute]) -> Option<Table> {
    let (mut name, mut fulls, mut limit) = (None, None, None);
    for attribute in attributes {
        if let NeighbourTableAttribute::Name(text) = attribute {
            name = Some(text.clone());
        } else if let NeighbourTableAttribute::Stats(stats) = attribute {
            fulls = Some(stats.table_fulls);
        } else if let NeighbourTableAttribute::Threshold3(most) = attribute {
            limit = Some(*most);
        }
    }
    Some(Table {
        name: name?,
        fulls: fulls?,
        limit,
    })
}

fn overflowed(before: &[Table], now: &[Table]) -> Option<String> {
    now.iter().find_map(|table| {
        let known = before.iter().find(|known| known.name == table.name)?;
        let times = table.fulls.checked_sub(known.fulls).filter(|times| *times > 0)?;
        let (family, key) = match table.name.as_str() {
            "ndisc_cache" => ("IPv6", "net.ipv6.neigh.default.gc_thresh3"),
            _ => ("IPv4", "net.ipv4.neigh.default.gc_thresh3"),
        };
        let limit = table.limit.map_or(String::new(), |most| format!(" = {most}"));
        Some(format!(
            "this machine's table of {family} neighbours ({}) was full and had no room for another {times} times: \
             packets to new neighbours vanished, in this lab or elsewhere. It is one for all namespaces of the machine: \
             raise {key}{limit}, or run fewer cases at once (--jobs), or on the virtual clock",
            table.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, fulls: u64) -> Table {
        Table {
            name: name.to_owned(),
            fulls,
            limit: Some(1024),
        }
    }

    #[test]
    fn a_table_that_was_full_before_is_nothing_new() {
        let before = [table("arp_cache", 7), table("ndisc_cache", 0)];
        assert_eq!(overflowed(&before, &before), None);
    }

    #[test]
    fn the_table_that_had_no_room_is_named_with_its_limit() {
        let before = [table("arp_cache", 7), table("ndisc_cache", 3)];
        let four = [table("arp_cache", 9), table("ndisc_cache", 3)];
        let text = overflowed(&before, &four).expect("it overflowed");
        assert!(
            text.contains("IPv4 neighbours (arp_cache)") && text.contains("2 times"),
            "{text}"
        );
        assert!(
            text.contains("net.ipv4.neigh.default.gc_thresh3 = 1024"),
            "{text}"
        );
        let six = [table("arp_cache", 7), table("ndisc_cache", 4)];
        let text = overflowed(&before, &six).expect("it overflowed");
        assert!(
            text.contains("net.ipv6.neigh.default.gc_thresh3 = 1024"),
            "{text}"
        );
    }

    #[test]
    fn this_machine_shows_both_of_its_tables() {
        let mut tables = NeighbourTables::watch().expect("neighbour tables");
        let mut names: Vec<_> = tables.begun.iter().map(|t| t.name.clone()).collect();
        names.sort();
        assert_eq!(names, ["arp_cache", "ndisc_cache"]);
        assert!(
            tables
                .begun
                .iter()
                .all(|t| t.limit.is_some_and(|most| most > 0))
        );
        tables.overflowed().expect("they are shown again");
    }
}
