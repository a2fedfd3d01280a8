//! The notations of the protocol, section 3 of its specification: how numbers, strings, lists and maps are
//! written. Integers are big-endian.
//!
//! Invariant: a count or length that was read is never allocated for; only the bytes that are there are.

use crate::error::{EncodeError, ProtocolError};
use bytes::Bytes;
use model::Consistency;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Reads fields from the front of a body. Byte strings come out as slices that share memory with it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    source: Bytes,
    /// Bytes read; at most the length of `source`.
    position: usize,
}

impl Reader {
    pub(crate) fn new(source: Bytes) -> Reader {
        Reader { source, position: 0 }
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.source.len() - self.position
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, ProtocolError> {
        if length > self.remaining() {
            return Err(ProtocolError::Truncated);
        }
        let start = self.position;
        self.position += length;
        Ok(self.source.slice(start..self.position))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let rest = &self.source[self.position..];
        let array = *rest.first_chunk::<N>().ok_or(ProtocolError::Truncated)?;
        self.position += N;
        Ok(array)
    }

    /// `[byte]`.
    pub(crate) fn byte(&mut self) -> Result<u8, ProtocolError> {
        self.array().map(u8::from_be_bytes)
    }

    /// `[short]`.
    pub(crate) fn short(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    /// `[consistency]`.
    pub(crate) fn consistency(&mut self) -> Result<Consistency, ProtocolError> {
        Consistency::of_code(self.short()?).ok_or(ProtocolError::Invalid("consistency"))
    }

    /// `[int]`.
    pub(crate) fn int(&mut self) -> Result<i32, ProtocolError> {
        self.array().map(i32::from_be_bytes)
    }

    /// `[int]` that holds flags.
    pub(crate) fn flags(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    /// `[int]` that counts something: what it counts is named in the error for a negative one.
    pub(crate) fn count(&mut self, what: &'static str) -> Result<usize, ProtocolError> {
        usize::try_from(self.int()?).map_err(|_| ProtocolError::Invalid(what))
    }

    /// `[long]`.
    pub(crate) fn long(&mut self) -> Result<i64, ProtocolError> {
        self.array().map(i64::from_be_bytes)
    }

    /// `[uuid]`.
    pub(crate) fn uuid(&mut self) -> Result<u128, ProtocolError> {
        self.array().map(u128::from_be_bytes)
    }

    fn text(&mut self, length: usize) -> Result<String, ProtocolError> {
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| ProtocolError::Invalid("string"))
    }

    /// `[string]`.
    pub(crate) fn string(&mut self) -> Result<String, ProtocolError> {
        let length = usize::from(self.short()?);
        self.text(length)
    }

    /// `[long string]`.
    pub(crate) fn long_string(&mut self) -> Result<String, ProtocolError> {
        let length = self.count("long string")?;
        self.text(length)
    }

    /// `[short bytes]`.
    pub(crate) fn short_bytes(&mut self) -> Result<Bytes, ProtocolError> {
        let length = usize::from(self.short()?);
        self.take(length)
    }

    /// `[bytes]`: none for any negative length.
    pub(crate) fn bytes(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        usize::try_from(self.int()?).ok().map(|length| self.take(length)).transpose()
    }

    /// `[string list]`.
    pub(crate) fn string_list(&mut self) -> Result<Vec<String>, ProtocolError> {
        let count = self.short()?;
        (0..count).map(|_| self.string()).collect()
    }

    fn map<V>(
        &mut self,
        mut value: impl FnMut(&mut Reader) -> Result<V, ProtocolError>,
    ) -> Result<BTreeMap<String, V>, ProtocolError> {
        let count = self.short()?;
        (0..count).map(|_| Ok((self.string()?, value(self)?))).collect()
    }

    /// `[string map]`. Of a key that stands twice the last value counts.
    pub(crate) fn string_map(&mut self) -> Result<BTreeMap<String, String>, ProtocolError> {
        self.map(Reader::string)
    }

    /// `[string multimap]`.
    pub(crate) fn string_multimap(&mut self) -> Result<BTreeMap<String, Vec<String>>, ProtocolError> {
        self.map(Reader::string_list)
    }

    /// `[bytes map]`.
    pub(crate) fn bytes_map(&mut self) -> Result<BTreeMap<String, Option<Bytes>>, ProtocolError> {
        self.map(Reader::bytes)
    }

    /// `[inetaddr]`.
    pub(crate) fn address(&mut self) -> Result<IpAddr, ProtocolError> {
        match self.byte()? {
            4 => self.array::<4>().map(IpAddr::from),
            16 => self.array::<16>().map(IpAddr::from),
            _ => Err(ProtocolError::Invalid("address")),
        }
    }

    /// `[inet]`.
    pub(crate) fn socket_address(&mut self) -> Result<SocketAddr, ProtocolError> {
        let address = self.address()?;
        let port = u16::try_from(self.int()?).map_err(|_| ProtocolError::Invalid("port"))?;
        Ok(SocketAddr::new(address, port))
    }
}

/// The length or count as the protocol's unsigned short.
fn short_length(what: &'static str, length: usize) -> Result<u16, EncodeError> {
    u16::try_from(length).map_err(|_| EncodeError::TooLong { what, length })
}

/// The length or count as the protocol's int.
pub(crate) fn int_length(what: &'static str, length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::TooLong { what, length })
}

pub(crate) fn put_short(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_consistency(out: &mut Vec<u8>, level: Consistency) {
    put_short(out, u16::from(level.code()));
}

pub(crate) fn put_int(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_flags(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_uuid(out: &mut Vec<u8>, value: u128) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A count as `[short]`; `what` names what is counted.
pub(crate) fn put_short_count(out: &mut Vec<u8>, what: &'static str, count: usize) -> Result<(), EncodeError> {
    put_short(out, short_length(what, count)?);
    Ok(())
}

/// A count as `[int]`.
pub(crate) fn put_count(out: &mut Vec<u8>, what: &'static str, count: usize) -> Result<(), EncodeError> {
    put_int(out, int_length(what, count)?);
    Ok(())
}

pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    put_short_bytes(out, text.as_bytes())
}

/// A text for people: one that is too long for a `[string]` is cut at a character's end.
pub(crate) fn put_prose(out: &mut Vec<u8>, text: &str) {
    let cut = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    put_short(out, cut.len() as u16);
    out.extend_from_slice(cut.as_bytes());
}

pub(crate) fn put_long_string(out: &mut Vec<u8>, text: &str) -> Result<(), EncodeError> {
    put_bytes(out, Some(text.as_bytes()))
}

pub(crate) fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    put_short_count(out, "string", bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), EncodeError> {
    match bytes {
        None => put_int(out, -1),
        Some(bytes) => {
            put_count(out, "value", bytes.len())?;
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

pub(crate) fn put_string_list(out: &mut Vec<u8>, list: &[String]) -> Result<(), EncodeError> {
    put_short_count(out, "list of strings", list.len())?;
    list.iter().try_for_each(|text| put_string(out, text))
}

fn put_map<V>(
    out: &mut Vec<u8>,
    map: &BTreeMap<String, V>,
    put: impl Fn(&mut Vec<u8>, &V) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    put_short_count(out, "map", map.len())?;
    map.iter().try_for_each(|(key, value)| put_string(out, key).and_then(|()| put(out, value)))
}

pub(crate) fn put_string_map(out: &mut Vec<u8>, map: &BTreeMap<String, String>) -> Result<(), EncodeError> {
    put_map(out, map, |out, value| put_string(out, value))
}

pub(crate) fn put_string_multimap(out: &mut Vec<u8>, map: &BTreeMap<String, Vec<String>>) -> Result<(), EncodeError> {
    put_map(out, map, |out, value| put_string_list(out, value))
}

pub(crate) fn put_bytes_map(out: &mut Vec<u8>, map: &BTreeMap<String, Option<Bytes>>) -> Result<(), EncodeError> {
    put_map(out, map, |out, value| put_bytes(out, value.as_deref()))
}

pub(crate) fn put_address(out: &mut Vec<u8>, address: &IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(16);
            out.extend_from_slice(&address.octets());
        }
    }
}

pub(crate) fn put_socket_address(out: &mut Vec<u8>, address: &SocketAddr) {
    put_address(out, &address.ip());
    put_int(out, i32::from(address.port()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_bytes_is_an_error_and_costs_nothing() {
        let reader = || Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1]));
        assert_eq!(reader().bytes(), Err(ProtocolError::Truncated));
        assert_eq!(reader().long_string(), Err(ProtocolError::Truncated));
        assert_eq!(reader().string_list(), Err(ProtocolError::Truncated));
        assert_eq!(reader().bytes_map(), Err(ProtocolError::Truncated));
        let negative = Bytes::from_static(&[0xff; 8]);
        assert_eq!(Reader::new(negative.clone()).bytes(), Ok(None));
        assert_eq!(Reader::new(negative.clone()).count("rows"), Err(ProtocolError::Invalid("rows")));
        assert_eq!(Reader::new(negative).address(), Err(ProtocolError::Invalid("address")));
    }

    #[test]
    fn what_does_not_fit_its_field_is_refused_and_prose_is_cut() {
        let mut out = Vec::new();
        let long = "\u{fc}".repeat(40_000);
        let refused = EncodeError::TooLong { what: "string", length: 80_000 };
        assert_eq!(put_string(&mut out, &long), Err(refused));
        out.clear();
        put_prose(&mut out, &long);
        assert_eq!(out.len(), 2 + 65_534, "cut between two characters");
        assert_eq!(Reader::new(Bytes::from(out)).string().unwrap(), "\u{fc}".repeat(32_767));
    }
}
