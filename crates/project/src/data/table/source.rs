//! Bytes of a Parquet file, from whatever the caller opened.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// One place to read from, shared by the columns, each of which reads at its own place in the file.
pub(super) struct Shared<R> {
    reader: Arc<Mutex<R>>,
    length: u64,
}

impl<R: Read + Seek> Shared<R> {
    pub fn new(mut reader: R) -> std::io::Result<Self> {
        let length = reader.seek(SeekFrom::End(0))?;
        Ok(Self {
            reader: Arc::new(Mutex::new(reader)),
            length,
        })
    }
}

impl<R> Length for Shared<R> {
    fn len(&self) -> u64 {
        self.length
    }
}

impl<R: Read + Seek + Send> ChunkReader for Shared<R> {
    type T = BufReader<Place<R>>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        // what is read this way are the headers of pages, which are short
        Ok(BufReader::with_capacity(
            1 << 10,
            Place {
                reader: Arc::clone(&self.reader),
                position: start,
            },
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        // asked before the memory is: a damaged file can name any length
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes are named at byte {start}, and the file has {}",
                self.length
            )));
        }
        let mut buffer = vec![0; length];
        let mut reader = lock(&self.reader);
        reader.seek(SeekFrom::Start(start))?;
        reader.read_exact(&mut buffer)?;
        Ok(buffer.into())
    }
}

/// A place in the file that is read on from.
pub(super) struct Place<R> {
    reader: Arc<Mutex<R>>,
    position: u64,
}

impl<R: Read + Seek> Read for Place<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut reader = lock(&self.reader);
        reader.seek(SeekFrom::Start(self.position))?;
        let count = reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Every use seeks first, so what a panic left behind does no harm.
fn lock<R>(reader: &Mutex<R>) -> MutexGuard<'_, R> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}
