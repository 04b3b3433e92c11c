//! Generic netlink: families by their names, and messages whose attributes are the family's own.

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable as _, NLA_F_NESTED, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, Nla as _, NlasIterator, Parseable as _,
};

use super::netlink::Channel;

/// The family that knows the others (include/uapi/linux/genetlink.h).
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// struct genlmsghdr: command, version, two bytes of nothing.
const HEADER: usize = 4;

/// A message of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generic {
    /// The family's number.
    pub(crate) family: u16,
    /// What is asked.
    pub(crate) command: u8,
    /// Of the family's messages.
    pub(crate) version: u8,
    /// What with.
    pub(crate) attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER].copy_from_slice(&[self.command, self.version, 0, 0]);
        self.attributes.as_slice().emit(&mut buffer[HEADER..]);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        let [command, version, ..] = *payload else {
            return Err(DecodeError::from("a generic message without a header"));
        };
        let rest = payload.get(HEADER..).unwrap_or_default();
        Ok(Self {
            family: header.message_type,
            command,
            version,
            attributes: parsed(rest)?,
        })
    }
}

/// The attributes in `bytes`.
///
/// # Errors
/// If there is something else.
pub(crate) fn parsed(bytes: &[u8]) -> Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(bytes)
        .map(|attribute| DefaultNla::parse(&attribute?))
        .collect()
}

/// What an attribute holds.
pub(crate) fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

/// An attribute of attributes.
pub(crate) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// A text as C has it.
pub(crate) fn text(kind: u16, text: &str) -> DefaultNla {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

/// The number of the family called `name`; `None` if the kernel has none of that name.
///
/// # Errors
/// If the kernel says anything else.
pub(crate) fn family(channel: &mut Channel, name: &str) -> io::Result<Option<u16>> {
    let ask = Generic {
        family: GENL_ID_CTRL,
        command: CTRL_CMD_GETFAMILY,
        version: 1,
        attributes: vec![text(CTRL_ATTR_FAMILY_NAME, name)],
    };
    let answers = match channel.get(ask) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        answers => answers?,
    };
    let attributes = answers.iter().flat_map(|answer| &answer.attributes);
    let mut ids = attributes.filter(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID);
    Ok(ids
        .next()
        .and_then(|id| Some(u16::from_ne_bytes(value(id).try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use netlink_sys::protocols::NETLINK_GENERIC;

    use super::*;

    #[test]
    fn families_are_known_by_their_names() {
        let mut channel = Channel::open_here(NETLINK_GENERIC).unwrap();
        assert_eq!(family(&mut channel, "nlctrl").unwrap(), Some(GENL_ID_CTRL));
        assert_eq!(family(&mut channel, "no such family").unwrap(), None);
    }

    #[test]
    fn attributes_in_attributes_come_back_as_they_were() {
        let inner = [text(1, "rr"), DefaultNla::new(2, vec![1, 2, 3])];
        let message = Generic {
            family: 77,
            command: 5,
            version: 1,
            attributes: vec![nested(1, &inner)],
        };
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut header = NetlinkHeader::default();
        header.message_type = 77;
        let back = Generic::deserialize(&header, &bytes).unwrap();
        assert_eq!(parsed(&value(&back.attributes[0])).unwrap(), inner);
        assert!(Generic::deserialize(&header, &[1]).is_err());
    }
}
