//! How values become bytes in a column.
//!
//! A packed value is one tag byte and then either the bytes as they are, or their length (four bytes, little-endian)
//! and a zstd frame. Short values are not worth a frame. A *cell* is a packed value or the hash of a blob that holds
//! one: long inputs and outputs of steps repeat from run to run, and are stored once.

use std::cell::RefCell;

use fapo_domain::hash::ContentHash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Failure;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const BLOB: u8 = 2;

/// Values up to this many bytes are stored as they are, in their row: a frame of a shorter one saves little, and making
/// its tables costs more than everything else that is done to store it.
pub(crate) const SMALL: usize = 1024;
/// zstd's fastest regular level: on short JSON the higher ones gain little and cost much.
const LEVEL: i32 = 1;
/// A length beyond this is damage, not data: nothing as large is ever stored in one value.
const LARGEST: usize = 1 << 30;

thread_local! {
    // contexts are costly to make (hundreds of kilobytes) and cheap to reuse
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs `bytes`: compressed when they are long and shrink.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() > SMALL
        && let Ok(length) = u32::try_from(bytes.len())
        && let Some(frame) = compress(bytes)
        && frame.len() + 4 < bytes.len()
    {
        let mut packed = Vec::with_capacity(5 + frame.len());
        packed.push(ZSTD);
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&frame);
        return packed;
    }
    let mut packed = Vec::with_capacity(1 + bytes.len());
    packed.push(PLAIN);
    packed.extend_from_slice(bytes);
    packed
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        slot.as_mut()?.compress(bytes).ok()
    })
}

/// Unpacks a packed value.
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<u8>, Failure> {
    match packed.split_first() {
        Some((&PLAIN, bytes)) => Ok(bytes.to_vec()),
        Some((&ZSTD, rest)) => decompress(rest),
        Some((tag, _)) => Err(Failure::corrupt(format!("unknown tag {tag}"))),
        None => Err(Failure::corrupt("an empty value")),
    }
}

fn decompress(rest: &[u8]) -> Result<Vec<u8>, Failure> {
    let (length, frame) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| Failure::corrupt("a value cut short"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LARGEST {
        return Err(Failure::corrupt(format!("a value of {length} bytes")));
    }
    let bytes = DECOMPRESSOR
        .with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = Some(zstd::bulk::Decompressor::new()?);
            }
            match slot.as_mut() {
                Some(decompressor) => decompressor.decompress(frame, length),
                None => Ok(Vec::new()),
            }
        })
        .map_err(|error| Failure::Corrupt(Box::new(error)))?;
    if bytes.len() != length {
        return Err(Failure::corrupt(format!(
            "a value of {} bytes instead of {length}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// A value as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value)
        .map_err(|error| Failure::invalid(format!("a value cannot be written as JSON: {error}")))
}

/// A value as JSON text.
pub(crate) fn to_text<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::invalid(format!("a value cannot be written as JSON: {error}")))
}

/// Reads JSON that the store wrote.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Corrupt(Box::new(error)))
}

/// A value as packed JSON.
pub(crate) fn pack_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    Ok(pack(&to_json(value)?))
}

/// Reads packed JSON.
pub(crate) fn unpack_json<T: DeserializeOwned>(packed: &[u8]) -> Result<T, Failure> {
    match packed.split_first() {
        // no copy for the many short ones
        Some((&PLAIN, bytes)) => from_json(bytes),
        _ => from_json(&unpack(packed)?),
    }
}

/// What a cell says.
pub(crate) enum Cell<'a> {
    /// A packed value.
    Packed(&'a [u8]),
    /// The value stands in a blob.
    Blob(ContentHash),
}

/// A cell that refers to a blob.
pub(crate) fn blob_cell(hash: &ContentHash) -> Vec<u8> {
    let mut cell = Vec::with_capacity(33);
    cell.push(BLOB);
    cell.extend_from_slice(hash.as_bytes());
    cell
}

/// Reads a cell.
pub(crate) fn read_cell(cell: &[u8]) -> Result<Cell<'_>, Failure> {
    match cell.split_first() {
        Some((&BLOB, hash)) => Ok(Cell::Blob(to_hash(hash)?)),
        _ => Ok(Cell::Packed(cell)),
    }
}

/// Reads a 32-byte column.
pub(crate) fn to_hash(bytes: &[u8]) -> Result<ContentHash, Failure> {
    <[u8; 32]>::try_from(bytes)
        .map(ContentHash::from_bytes)
        .map_err(|_| Failure::corrupt(format!("a hash of {} bytes", bytes.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(unpack(&pack(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn numbers_come_back_bit_for_bit(number in prop::num::f64::NORMAL, share in 0.0f64..1.0) {
            for number in [number, share] {
                let back: f64 = unpack_json(&pack_json(&number).unwrap()).unwrap();
                prop_assert_eq!(back.to_bits(), number.to_bits());
            }
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack(&bytes);
            let _ = read_cell(&bytes);
        }
    }

    #[test]
    fn long_text_shrinks_and_short_text_stays_readable() {
        let long = "the same words again and again ".repeat(100);
        assert!(pack(long.as_bytes()).len() < long.len() / 5);
        assert_eq!(&pack(b"short")[1..], b"short");
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_corrupt() {
        let long = "the same words again and again ".repeat(100);
        let mut packed = pack(long.as_bytes());
        packed[1] ^= 0x40;
        assert!(matches!(unpack(&packed), Err(Failure::Corrupt(_))));
        packed.truncate(40);
        assert!(matches!(unpack(&packed), Err(Failure::Corrupt(_))));
    }
}
