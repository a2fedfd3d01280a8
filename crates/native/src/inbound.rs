//! What arrives on a connection: from bytes, cut anywhere, to envelopes.
//!
//! The version is that of the first envelope. Version 4 has bare envelopes, whose bodies may be compressed; version
//! 5 has bare envelopes up to STARTUP and its answer, and segments from then on.
//!
//! Invariant: what is held is in proportion to what has arrived, whatever lengths it announces.

use crate::compression::Compression;
use crate::envelope::{Envelope, Flags, HEADER_BYTES, Header};
use crate::error::{Fault, ProtocolError};
use crate::segment::{Segment, take_segment};
use crate::version::Version;
use bytes::{Buf, Bytes, BytesMut};

/// One direction of a connection, as its receiver sees it.
#[derive(Debug)]
pub struct Inbound {
    /// Bytes as they came, that are not taken yet.
    buffer: BytesMut,
    /// What is left of the payload of the segment before.
    payload: Bytes,
    /// The parts of an envelope that were split over segments, so far.
    parts: BytesMut,
    /// That of the first envelope.
    version: Option<Version>,
    compression: Option<Compression>,
    segmented: bool,
    limit: usize,
    /// True once something was wrong: what follows cannot be made sense of.
    broken: bool,
}

impl Inbound {
    /// The start of a connection whose bodies may be `limit` bytes long, before and after decompression.
    #[must_use]
    pub fn new(limit: usize) -> Inbound {
        let mut inbound = Inbound {
            buffer: BytesMut::new(),
            payload: Bytes::new(),
            parts: BytesMut::new(),
            version: None,
            compression: None,
            segmented: false,
            limit: 0,
            broken: false,
        };
        inbound.set_limit(limit);
        inbound
    }

    /// Bodies may be `limit` bytes long from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(crate::FRAME_BYTES_MAX);
    }

    /// Where bytes that arrive are to be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len() + self.payload.len() + self.parts.len()
    }

    /// The version of the connection, once an envelope has arrived.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// To be called when STARTUP was taken (by a server) or answered (by a client): what it agreed on holds for
    /// what arrives after it.
    pub fn start(&mut self, compression: Option<Compression>) {
        self.compression = compression;
        self.segmented = self.version == Some(Version::V5);
    }

    /// Takes the next envelope; `None` when it has not arrived as a whole.
    ///
    /// # Errors
    /// When the connection cannot go on. After that there are no more envelopes.
    pub fn next_envelope(&mut self) -> Result<Option<Envelope>, Fault> {
        if self.broken {
            return Ok(None);
        }
        let next = if self.segmented { self.next_in_segments() } else { self.next_bare() };
        self.broken = next.is_err();
        next
    }

    fn fault(&self, error: ProtocolError) -> Fault {
        Fault { stream: 0, version: self.version.unwrap_or(Version::V5), error }
    }

    /// The header at the front of `bytes`; `None` when they are too few for one. `connection` is the version of the
    /// headers before, and is set by the first.
    fn header(connection: &mut Option<Version>, limit: usize, bytes: &[u8]) -> Result<Option<Header>, Fault> {
        // The version alone says what is wrong with a client of another one: its header may be shorter.
        if let Some(first) = bytes.first() {
            let number = first & !crate::version::RESPONSE_BIT;
            let version = Version::nearest(number);
            let stream = match bytes {
                [_, _, high, low, ..] => i16::from_be_bytes([*high, *low]),
                _ if bytes.len() < HEADER_BYTES && Version::of_number(number).is_ok() => return Ok(None),
                _ => 0,
            };
            Version::of_number(number).map_err(|error| Fault { stream, version, error })?;
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::decode(bytes, limit)?;
        let expected = *connection.get_or_insert(header.version);
        if header.version != expected {
            let error = ProtocolError::VersionChanged { found: header.version, expected };
            return Err(Fault { stream: header.stream, version: expected, error });
        }
        Ok(Some(header))
    }

    fn next_bare(&mut self) -> Result<Option<Envelope>, Fault> {
        let Some(header) = Self::header(&mut self.version, self.limit, &self.buffer)? else { return Ok(None) };
        let whole = HEADER_BYTES + header.length as usize;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let mut body = self.buffer.split_to(whole).freeze();
        body.advance(HEADER_BYTES);
        if header.version < Version::V5 && header.flags.contains(Flags::COMPRESSED) {
            body = self.decompressed(&body).map_err(|error| Fault {
                stream: header.stream,
                version: header.version,
                error,
            })?;
        }
        Ok(Some(Envelope { header, body }))
    }

    fn decompressed(&self, body: &Bytes) -> Result<Bytes, ProtocolError> {
        match self.compression {
            // An empty body has nothing to decompress; some clients set the flag all the same.
            Some(_) if body.is_empty() => Ok(Bytes::new()),
            Some(compression) => compression.decompress_body(body, self.limit),
            None => Err(ProtocolError::Compression("without an algorithm that was agreed on")),
        }
    }

    fn next_in_segments(&mut self) -> Result<Option<Envelope>, Fault> {
        loop {
            if !self.payload.is_empty() {
                return self.next_in_payload().map(Some);
            }
            let compressed = self.compression.is_some();
            let segment = take_segment(&mut self.buffer, compressed).map_err(|error| self.fault(error))?;
            let Some(Segment { payload, self_contained }) = segment else { return Ok(None) };
            if payload.is_empty() {
                return Err(self.fault(ProtocolError::Segment("is empty")));
            }
            if !self_contained {
                if let Some(envelope) = self.add_part(&payload)? {
                    return Ok(Some(envelope));
                }
            } else if self.parts.is_empty() {
                self.payload = payload;
            } else {
                return Err(self.fault(ProtocolError::Segment("interrupts an envelope that is split over several")));
            }
        }
    }

    /// Takes an envelope from the payload of a self-contained segment.
    fn next_in_payload(&mut self) -> Result<Envelope, Fault> {
        let header = Self::header(&mut self.version, self.limit, &self.payload)?;
        let cut = || ProtocolError::Segment("says that it is self-contained and holds a part of an envelope");
        let header = header.ok_or_else(|| self.fault(cut()))?;
        let whole = HEADER_BYTES + header.length as usize;
        if self.payload.len() < whole {
            return Err(Fault { stream: header.stream, version: header.version, error: cut() });
        }
        let mut body = self.payload.split_to(whole);
        body.advance(HEADER_BYTES);
        Ok(Envelope { header, body })
    }

    /// Takes the next part of an envelope that is split over segments.
    fn add_part(&mut self, part: &Bytes) -> Result<Option<Envelope>, Fault> {
        self.parts.extend_from_slice(part);
        let Some(header) = Self::header(&mut self.version, self.limit, &self.parts)? else { return Ok(None) };
        let whole = HEADER_BYTES + header.length as usize;
        if self.parts.len() > whole {
            let error = ProtocolError::Segment("goes on after the end of the envelope that it is a part of");
            return Err(Fault { stream: header.stream, version: header.version, error });
        }
        if self.parts.len() < whole {
            return Ok(None);
        }
        let mut body = std::mem::take(&mut self.parts).freeze();
        body.advance(HEADER_BYTES);
        Ok(Some(Envelope { header, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Opcode;
    use crate::segment::{PAYLOAD_BYTES_MAX, put_segment};

    fn envelope(version: Version, stream: i16, body: &[u8]) -> Vec<u8> {
        let (flags, opcode, length) = (Flags::default(), Opcode::Query, body.len() as u32);
        let header = Header { version, is_response: false, flags, stream, opcode, length };
        let mut out = Vec::new();
        header.encode(&mut out);
        out.extend_from_slice(body);
        out
    }

    fn segmented(limit: usize) -> Inbound {
        let mut inbound = Inbound::new(limit);
        inbound.buffer().extend_from_slice(&envelope(Version::V5, 0, b""));
        assert!(inbound.next_envelope().unwrap().is_some());
        inbound.start(None);
        inbound
    }

    fn fault(inbound: &mut Inbound, bytes: &[u8]) -> Fault {
        inbound.buffer().extend_from_slice(bytes);
        let fault = inbound.next_envelope().unwrap_err();
        assert_eq!(inbound.next_envelope(), Ok(None), "nothing comes after a fault");
        fault
    }

    fn segment(payload: &[u8], self_contained: bool) -> Vec<u8> {
        let mut out = Vec::new();
        put_segment(&mut out, payload, self_contained, false);
        out
    }

    #[test]
    fn a_length_of_256_mib_holds_nothing() {
        for version in Version::ALL {
            let mut inbound = Inbound::new(usize::MAX);
            let mut header = envelope(version, 1, b"");
            header[5..9].copy_from_slice(&(256u32 << 20).to_be_bytes());
            inbound.buffer().extend_from_slice(&header);
            assert_eq!(inbound.next_envelope(), Ok(None));
            assert!(inbound.held() <= HEADER_BYTES && inbound.buffer.capacity() < 1_000);
            let error = fault(&mut Inbound::new(16 << 20), &header).error;
            assert_eq!(error, ProtocolError::TooLarge { length: 256 << 20, limit: 16 << 20 });
        }
        let mut inbound = segmented(usize::MAX);
        let mut header = envelope(Version::V5, 1, b"");
        header[5..9].copy_from_slice(&(256u32 << 20).to_be_bytes());
        inbound.buffer().extend_from_slice(&segment(&header, false));
        assert_eq!(inbound.next_envelope(), Ok(None));
        assert!(inbound.held() <= HEADER_BYTES && inbound.parts.capacity() < 1_000);
    }

    #[test]
    fn a_foreign_version_is_known_by_its_first_byte() {
        let cqlsh = fault(&mut Inbound::new(100), &[66, 0, 0, 7, 5, 0, 0, 0, 0]);
        assert_eq!((cqlsh.stream, cqlsh.version), (7, Version::V5));
        let old = fault(&mut Inbound::new(100), &[2]);
        assert_eq!(
            (old.stream, old.version, old.error),
            (0, Version::V4, ProtocolError::UnsupportedVersion { asked: 2 })
        );
        let http = fault(&mut Inbound::new(100), b"GET / HTTP/1.1");
        assert_eq!(http.error, ProtocolError::UnsupportedVersion { asked: b'G' });
    }

    #[test]
    fn the_version_stays_that_of_the_first_envelope() {
        let mut inbound = Inbound::new(100);
        inbound.buffer().extend_from_slice(&envelope(Version::V4, 0, b""));
        assert!(inbound.next_envelope().unwrap().is_some());
        let fault = fault(&mut inbound, &envelope(Version::V5, 3, b""));
        assert_eq!((fault.stream, fault.version), (3, Version::V4));
    }

    #[test]
    fn segments_that_do_not_make_up_envelopes_are_refused() {
        let whole = envelope(Version::V5, 9, b"body");
        let error = |segments: &[Vec<u8>]| fault(&mut segmented(100), &segments.concat()).error;
        let refused = |error: ProtocolError| assert!(matches!(error, ProtocolError::Segment(_)), "{error:?}");
        refused(error(&[segment(b"", true)]));
        refused(error(&[segment(b"", false)]));
        refused(error(&[segment(&whole[..10], true)]));
        refused(error(&[segment(&whole[..5], true)]));
        refused(error(&[segment(&whole[..5], false), segment(&whole, true)]));
        refused(error(&[segment(&[&whole[..], b"x"].concat(), false)]));
        assert_eq!(
            error(&[segment(&envelope(Version::V5, 0, &[0; 101]), false)]),
            ProtocolError::TooLarge { length: 101, limit: 100 }
        );
    }

    #[test]
    fn an_envelope_may_be_split_anywhere() {
        let body: Vec<u8> = (0..2 * PAYLOAD_BYTES_MAX as u32).map(|n| n as u8).collect();
        let whole = envelope(Version::V5, 9, &body);
        for first in [1, 8, 9, 10, 1_000] {
            let mut inbound = segmented(1 << 20);
            let (head, tail) = whole.split_at(first);
            let parts = std::iter::once(head).chain(tail.chunks(PAYLOAD_BYTES_MAX));
            for part in parts {
                assert_eq!(inbound.next_envelope(), Ok(None));
                inbound.buffer().extend_from_slice(&segment(part, false));
            }
            assert_eq!(inbound.next_envelope().unwrap().unwrap().body, body);
            inbound.buffer().extend_from_slice(&segment(&[&envelope(Version::V5, 1, b"a")[..]; 3].concat(), true));
            for _ in 0..3 {
                assert_eq!(&inbound.next_envelope().unwrap().unwrap().body[..], b"a");
            }
            assert_eq!((inbound.next_envelope(), inbound.held()), (Ok(None), 0));
        }
    }

    #[test]
    fn a_compressed_body_needs_an_agreement() {
        let mut compressed = envelope(Version::V4, 2, b"\0\0\0\x01\x10a");
        compressed[1] = Flags::COMPRESSED.0;
        let mut inbound = Inbound::new(100);
        assert!(matches!(fault(&mut inbound, &compressed).error, ProtocolError::Compression(_)));
        let mut inbound = Inbound::new(100);
        inbound.start(Some(Compression::Lz4));
        inbound.buffer().extend_from_slice(&compressed);
        assert_eq!(&inbound.next_envelope().unwrap().unwrap().body[..], b"a");
    }
}
