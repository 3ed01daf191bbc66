//! A look at the end of a file before the library takes it. The library follows the nesting of the schema without a bound,
//! and what overflows the stack cannot be caught; and it does not know an encrypted file whose end is in the clear.
//!
//! The end is a struct in Thrift's compact protocol (thrift-compact-protocol.md), described by parquet.thrift.

use std::io::{Read, Seek};

use parquet::file::reader::{ChunkReader, Length};

use super::source::Shared;
use super::{Damage, ENCRYPTED, data_format};
use crate::data::Fault;

/// Deepest nesting of a schema. A list takes two levels more than its elements.
const MAX_DEPTH: usize = 400;
/// Deepest nesting of structs and lists in Thrift; what parquet.thrift has is far below.
const MAX_THRIFT: usize = 64;
/// The length of the end, and magic.
const TAIL: u64 = 8;

/// Fields of `FileMetaData`, and of `SchemaElement`.
const SCHEMA: i64 = 2;
const ENCRYPTION: i64 = 8;
const CHILDREN: i64 = 5;

/// Thrift's types, where they matter here.
const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Looks at the end of a file that has its magic on both sides.
pub(super) fn check<R: Read + Seek + Send>(source: &Shared<R>) -> Result<(), Fault> {
    let tail = source
        .len()
        .checked_sub(TAIL)
        .ok_or_else(|| Damage::new("the file is too short"))?;
    let length = source.get_bytes(tail, 4).map_err(Damage::from)?;
    let length = length
        .iter()
        .rev()
        .fold(0, |length, byte| length << 8 | u64::from(*byte));
    let start = tail
        .checked_sub(length)
        .ok_or_else(|| Damage::new("its end is longer than the file"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let end = source.get_bytes(start, length).map_err(Damage::from)?;
    match look(&end) {
        Some(Found::Good) => Ok(()),
        Some(Found::Encrypted) => Err(data_format(ENCRYPTED)),
        Some(Found::Deep) => Err(Fault::new(
            "bad-header",
            format!("its columns are nested more than {MAX_DEPTH} levels deep"),
        )
        .help("leave such columns out")),
        None => Err(Damage::new("its end makes no sense").into()),
    }
}

enum Found {
    Good,
    Encrypted,
    Deep,
}

/// None if the bytes are no such struct.
fn look(end: &[u8]) -> Option<Found> {
    let mut thrift = Thrift(end);
    let mut field = 0;
    while let Some((id, kind)) = thrift.field(field)? {
        field = id;
        match (id, kind) {
            (SCHEMA, LIST) => {
                if !thrift.schema()? {
                    return Some(Found::Deep);
                }
            }
            (ENCRYPTION, _) => return Some(Found::Encrypted),
            _ => thrift.skip(kind, 0)?,
        }
    }
    Some(Found::Good)
}

/// What is left of the bytes.
struct Thrift<'a>(&'a [u8]);

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pass(&mut self, count: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// The next field's number and type; nothing at the end of a struct.
    #[expect(clippy::option_option, reason = "cut off, or over")]
    fn field(&mut self, before: i64) -> Option<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let id = match byte >> 4 {
            0 => self.signed()?,
            step => before.checked_add(step.into())?,
        };
        Some(Some((id, byte & 0x0f)))
    }

    /// The size of a list and the type of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.number()?,
            size => size.into(),
        };
        // an element has a byte at least
        (size <= self.0.len() as u64).then_some((size, byte & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_THRIFT {
            return None;
        }
        match kind {
            // true and false, which are their types
            1 | 2 => Some(()),
            3 => self.pass(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.pass(8),
            8 => {
                let length = self.number()?;
                self.pass(length)
            }
            LIST | 10 => {
                let (size, kind) = self.list()?;
                (0..size).try_for_each(|_| self.element(kind, depth + 1))
            }
            11 => {
                let size = self.number()?;
                let kinds = if size == 0 { 0 } else { self.byte()? };
                (0..size).try_for_each(|_| {
                    self.element(kinds >> 4, depth + 1)?;
                    self.element(kinds & 0x0f, depth + 1)
                })
            }
            STRUCT => {
                let mut field = 0;
                while let Some((id, kind)) = self.field(field)? {
                    field = id;
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            13 => self.pass(16),
            _ => None,
        }
    }

    /// Passes over an element of a list, where true and false take a byte.
    fn element(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            1 | 2 => self.pass(1),
            kind => self.skip(kind, depth),
        }
    }

    /// Whether the schema is nested no deeper than it may be. Its elements come parents first, each with the count of its
    /// children.
    fn schema(&mut self) -> Option<bool> {
        let (size, STRUCT) = self.list()? else {
            return None;
        };
        // children still to come, of each element that is open
        let mut open: Vec<u64> = Vec::new();
        for _ in 0..size {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(children) = open.last_mut() {
                *children -= 1;
            }
            let (mut field, mut children) = (0, 0);
            while let Some((id, kind)) = self.field(field)? {
                field = id;
                match (id, kind) {
                    (CHILDREN, I32) => children = u64::try_from(self.signed()?).ok()?,
                    _ => self.skip(kind, 0)?,
                }
            }
            if children > size {
                return None;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > MAX_DEPTH {
                return Some(false);
            }
        }
        Some(true)
    }
}
