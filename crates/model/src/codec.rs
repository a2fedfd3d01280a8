//! The compact binary form of everything that Helenus stores or sends between nodes.
//!
//! Integers are LEB128 varints, byte strings are a varint length and the bytes, sequences a varint
//! count and the items. Decoding never trusts a length: it checks it against the bytes that are left
//! before it allocates, and refuses a varint that is not in its shortest form, so that one value has
//! one encoding.
//!
//! What reads and writes single fields is inlined, always where the compiler would not: it is called for each field of
//! each cell, and a call costs more than the work.

use bytes::Bytes;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a value.
    #[error("the bytes end too early")]
    Truncated,
    /// Bytes are left after the value.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A field has a value that its type does not have; it names the field.
    #[error("the field '{0}' is not valid")]
    Invalid(&'static str),
    /// Written by a newer version of Helenus.
    #[error("format version {0} is not known to this version of Helenus")]
    Version(u8),
}

/// Something with a binary form.
pub trait Encode {
    /// Appends the binary form to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The binary form alone.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        Bytes::from(out)
    }
}

/// Something that can be read back from its binary form.
pub trait Decode: Sized {
    /// Reads one value and leaves `reader` behind it.
    ///
    /// # Errors
    /// When the bytes are not the binary form of a value.
    fn decode(reader: &mut Reader) -> Result<Self, CodecError>;

    /// Reads a value that fills `bytes` exactly.
    ///
    /// # Errors
    /// When the bytes are not the binary form of one value.
    fn from_bytes(bytes: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes.clone());
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Reads values from the front of a byte string. Byte strings come out as slices that share memory
/// with it.
#[derive(Clone, Debug)]
pub struct Reader {
    source: Bytes,
    /// Bytes read; at most the length of `source`.
    position: usize,
}

impl Reader {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Reader {
        Reader { source: bytes, position: 0 }
    }

    #[inline(always)]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.source[self.position..]
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.source.len() - self.position
    }

    /// Bytes read.
    #[inline(always)]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Passes the next `length` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    #[inline(always)]
    pub(crate) fn skip(&mut self, length: usize) -> Result<(), CodecError> {
        if length > self.remaining() {
            return Err(CodecError::Truncated);
        }
        self.position += length;
        Ok(())
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(self) -> Result<(), CodecError> {
        self.finish_source().map(|_| ())
    }

    /// Ends the reading; what was read.
    pub(crate) fn finish_source(self) -> Result<Bytes, CodecError> {
        if self.remaining() == 0 { Ok(self.source) } else { Err(CodecError::Trailing(self.remaining())) }
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    #[inline(always)]
    pub fn take(&mut self, length: usize) -> Result<Bytes, CodecError> {
        let start = self.position;
        self.skip(length)?;
        Ok(self.source.slice(start..self.position))
    }

    /// Passes the next `length` bytes, which are there.
    #[inline(always)]
    pub(crate) fn pass(&mut self, length: usize) {
        debug_assert!(length <= self.remaining(), "the caller has looked at them");
        self.position += length;
    }

    /// One byte.
    ///
    /// # Errors
    /// When none is left.
    #[inline(always)]
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        let byte = *self.source.get(self.position).ok_or(CodecError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let array = self.rest().first_chunk::<N>().copied().ok_or(CodecError::Truncated)?;
        self.position += N;
        Ok(array)
    }

    /// Eight bytes, most significant first, two's complement.
    ///
    /// # Errors
    /// When fewer are left.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, CodecError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Sixteen bytes, most significant first.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn u128(&mut self) -> Result<u128, CodecError> {
        self.array().map(u128::from_be_bytes)
    }

    /// A varint of up to 64 bits.
    ///
    /// # Errors
    /// When it is cut short, longer than 64 bits or not in its shortest form.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let (value, length) = first_varint(self.rest())?;
        self.position += length;
        Ok(value)
    }

    /// A varint that fits 32 bits.
    ///
    /// # Errors
    /// As [`Reader::varint`], and when it does not fit.
    #[inline(always)]
    pub fn varint_u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError::Invalid("varint"))
    }

    /// The count of a sequence whose items take at least one byte each, so it can be allocated for.
    ///
    /// # Errors
    /// As [`Reader::varint`], and when more items are announced than bytes are left.
    #[inline(always)]
    pub fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => Err(CodecError::Truncated),
        }
    }

    /// A byte string.
    ///
    /// # Errors
    /// When it is cut short.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let length = self.count()?;
        self.take(length)
    }

    /// A byte string that is UTF-8 text.
    ///
    /// # Errors
    /// When it is cut short or not UTF-8.
    pub fn text(&mut self) -> Result<String, CodecError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| CodecError::Invalid("text"))
    }

    /// A boolean: one byte, 0 or 1.
    ///
    /// # Errors
    /// When the byte is neither.
    pub fn bool(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid("bool")),
        }
    }

    /// A sequence of values.
    ///
    /// # Errors
    /// When an item cannot be read.
    pub fn sequence<T: Decode>(&mut self) -> Result<Vec<T>, CodecError> {
        // Not `with_capacity(count)`: an item in memory may be far larger than its one byte here.
        let count = self.count()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Pairs of texts, as [`put_pairs`] writes them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn pairs<C: FromIterator<(String, String)>>(&mut self) -> Result<C, CodecError> {
        let count = self.count()?;
        (0..count).map(|_| Ok((self.text()?, self.text()?))).collect()
    }

    /// A value that may be absent: a boolean, then the value.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn option<T: Decode>(&mut self) -> Result<Option<T>, CodecError> {
        if self.bool()? { T::decode(self).map(Some) } else { Ok(None) }
    }
}

/// The varint at the front of `bytes` and its length: the one rule of what a varint is.
#[inline(always)]
pub fn first_varint(bytes: &[u8]) -> Result<(u64, usize), CodecError> {
    // Most are lengths, counts and differences of one byte.
    match bytes.first() {
        Some(byte) if *byte < 0x80 => Ok((u64::from(*byte), 1)),
        _ => long_varint(bytes),
    }
}

#[inline(never)]
fn long_varint(bytes: &[u8]) -> Result<(u64, usize), CodecError> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).copied().enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(CodecError::Invalid("varint"));
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(CodecError::Invalid("varint"));
            }
            return Ok((value, index + 1));
        }
    }
    Err(if bytes.len() < 10 { CodecError::Truncated } else { CodecError::Invalid("varint") })
}

/// Walks over encoded values without building them: no allocation, no reference counts. For checks of
/// bytes that are then stored or sent on as they are.
#[derive(Clone, Debug)]
pub(crate) struct Walker<'a> {
    rest: &'a [u8],
}

impl<'a> Walker<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Walker<'a> {
        Walker { rest: bytes }
    }

    #[inline(always)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// As [`Reader::pass`].
    #[inline(always)]
    pub(crate) fn pass(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }

    pub(crate) fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.rest.len())) }
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self) -> Result<u8, CodecError> {
        let (byte, rest) = self.rest.split_first().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Result<i64, CodecError> {
        let (array, rest) = self.rest.split_first_chunk::<8>().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(i64::from_be_bytes(*array))
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let (value, length) = first_varint(self.rest)?;
        self.rest = &self.rest[length..];
        Ok(value)
    }

    #[inline(always)]
    pub(crate) fn varint_u32(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| CodecError::Invalid("varint"))
    }

    /// A count, as [`Reader::count`].
    #[inline(always)]
    pub(crate) fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.varint()?;
        usize::try_from(count).ok().filter(|count| *count <= self.rest.len()).ok_or(CodecError::Truncated)
    }

    /// A byte string.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.count()?;
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(bytes)
    }

    /// Passes a byte string.
    #[inline(always)]
    pub(crate) fn skip_bytes(&mut self) -> Result<(), CodecError> {
        self.bytes().map(|_| ())
    }
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a byte string: its length as a varint, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a sequence: its count as a varint, then the items.
pub fn put_sequence<T: Encode>(out: &mut Vec<u8>, items: &[T]) {
    put_varint(out, items.len() as u64);
    for item in items {
        item.encode(out);
    }
}

/// Appends pairs of texts: their count as a varint, then each.
pub(crate) fn put_pairs<'a>(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>) {
    put_varint(out, pairs.len() as u64);
    for (first, second) in pairs {
        first.encode(out);
        second.encode(out);
    }
}

/// Appends a value that may be absent.
pub fn put_option<T: Encode>(out: &mut Vec<u8>, value: Option<&T>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        value.encode(out);
    }
}

macro_rules! codec_of_primitive {
    ($type:ty, $value:ident, $out:ident => $encode:expr, $reader:ident => $decode:expr) => {
        impl Encode for $type {
            fn encode(&self, $out: &mut Vec<u8>) {
                let $value = self;
                $encode;
            }
        }
        impl Decode for $type {
            fn decode($reader: &mut Reader) -> Result<Self, CodecError> {
                $decode
            }
        }
    };
}
codec_of_primitive!(String, v, out => put_bytes(out, v.as_bytes()), r => r.text());
codec_of_primitive!(Bytes, v, out => put_bytes(out, v), r => r.bytes());
codec_of_primitive!(bool, v, out => out.push(u8::from(*v)), r => r.bool());
codec_of_primitive!(u64, v, out => put_varint(out, *v), r => r.varint());
codec_of_primitive!(u32, v, out => put_varint(out, u64::from(*v)), r => r.varint_u32());
codec_of_primitive!(i64, v, out => out.extend_from_slice(&v.to_be_bytes()), r => r.i64());
codec_of_primitive!(u128, v, out => out.extend_from_slice(&v.to_be_bytes()), r => r.u128());
codec_of_primitive!(crate::id::NodeId, v, out => v.0.encode(out), r => r.u128().map(Self));
codec_of_primitive!(crate::id::TableId, v, out => v.0.encode(out), r => r.u128().map(Self));
codec_of_primitive!(crate::id::ColumnId, v, out => v.0.encode(out), r => r.varint_u32().map(Self));
codec_of_primitive!(crate::id::Epoch, v, out => v.0.encode(out), r => r.varint().map(Self));

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_longer_than_the_input_allocates_nothing() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        let mut reader = Reader::new(Bytes::from(bytes));
        assert_eq!(reader.clone().bytes(), Err(CodecError::Truncated));
        assert_eq!(reader.sequence::<u64>(), Err(CodecError::Truncated));
    }

    #[test]
    fn a_varint_has_one_form() {
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80; 9], &[]] {
            assert!(Reader::new(Bytes::copy_from_slice(bad)).varint().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn values_round_trip(number: u64, signed: i64, wide: u128, text: String, bytes: Vec<u8>) {
            let mut out = Vec::new();
            number.encode(&mut out);
            signed.encode(&mut out);
            wide.encode(&mut out);
            text.encode(&mut out);
            put_sequence(&mut out, &[Bytes::from(bytes.clone()), Bytes::new()]);
            put_option(&mut out, Some(&number));
            let mut reader = Reader::new(Bytes::from(out));
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert_eq!(reader.i64(), Ok(signed));
            prop_assert_eq!(reader.u128(), Ok(wide));
            prop_assert_eq!(reader.text(), Ok(text));
            prop_assert_eq!(reader.sequence::<Bytes>(), Ok(vec![Bytes::from(bytes), Bytes::new()]));
            prop_assert_eq!(reader.option::<u64>(), Ok(Some(number)));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(Bytes::from(bytes));
            let _ = reader.clone().sequence::<String>();
            let _ = reader.clone().option::<u128>();
            let _ = reader.varint();
        }
    }
}
