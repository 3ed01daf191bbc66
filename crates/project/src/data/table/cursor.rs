//! One column of values with their levels, read in batches.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use parquet::schema::types::ColumnDescriptor;

use super::Damage;

/// A value as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Bool(bool),
    Int32(i32),
    Int64(i64),
    /// Nanoseconds of the day, and the Julian day.
    Int96(u64, u32),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
}

/// A column that stands at one of its values (or at a null, or at the end).
pub(super) trait Cursor: Send {
    /// Whether there are no more values.
    fn ended(&self) -> bool;
    /// How much of the path to this value is there: the highest level is a value, all below are nulls and empty lists.
    fn definition(&self) -> i16;
    /// The level of the list that this value goes on with; 0 where a row begins.
    fn repetition(&self) -> i16;
    /// The value, unless it is a null.
    fn value(&self) -> Option<Raw<'_>>;
    /// Goes on to the next value.
    fn advance(&mut self) -> Result<(), Damage>;
}

/// A cursor before the first value of a column, which holds up to `batch` rows.
pub(super) fn cursor(
    reader: ColumnReader,
    column: &ColumnDescriptor,
    batch: usize,
) -> Result<Box<dyn Cursor>, Damage> {
    Ok(match reader {
        ColumnReader::BoolColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::Int32ColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::Int64ColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::Int96ColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::FloatColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::DoubleColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::ByteArrayColumnReader(reader) => start(reader, column, batch)?,
        ColumnReader::FixedLenByteArrayColumnReader(reader) => start(reader, column, batch)?,
    })
}

fn start<T: DataType>(
    reader: ColumnReaderImpl<T>,
    column: &ColumnDescriptor,
    batch: usize,
) -> Result<Box<dyn Cursor>, Damage>
where
    T::T: Stored,
{
    let mut cursor = Batch {
        reader,
        batch,
        highest: column.max_def_level(),
        lists: column.max_rep_level() > 0,
        definitions: Vec::new(),
        repetitions: Vec::new(),
        values: Vec::new(),
        level: 0,
        value: 0,
        levels: 0,
    };
    cursor.fill()?;
    Ok(Box::new(cursor))
}

/// A batch of a column's rows.
struct Batch<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// Most rows in memory.
    batch: usize,
    /// The definition level of a value.
    highest: i16,
    /// Whether there are repetition levels.
    lists: bool,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// The values without the nulls.
    values: Vec<T::T>,
    /// Where this stands: in the levels, and in the values.
    level: usize,
    value: usize,
    /// Levels in the batch; 0 at the end.
    levels: usize,
}

impl<T: DataType> Batch<T> {
    fn fill(&mut self) -> Result<(), Damage> {
        (self.level, self.value, self.levels) = (0, 0, 0);
        self.definitions.clear();
        self.repetitions.clear();
        self.values.clear();
        loop {
            let (rows, values, levels) = self.reader.read_records(
                self.batch,
                Some(&mut self.definitions),
                Some(&mut self.repetitions),
                &mut self.values,
            )?;
            self.levels += levels;
            // the end of a row is seen only when the next one begins, so a batch can hold a row and no new levels
            if self.levels > 0 || (rows == 0 && values == 0) {
                break;
            }
        }
        let whole = self.values.len() <= self.levels
            && (self.highest == 0 || self.definitions.len() == self.levels)
            && (!self.lists || self.repetitions.len() == self.levels);
        if whole {
            Ok(())
        } else {
            Err(Damage::new("levels and values do not fit together"))
        }
    }
}

impl<T: DataType> Cursor for Batch<T>
where
    T::T: Stored,
{
    fn ended(&self) -> bool {
        self.levels == 0
    }

    fn definition(&self) -> i16 {
        let level = self.definitions.get(self.level);
        level.copied().unwrap_or(self.highest)
    }

    fn repetition(&self) -> i16 {
        let level = self.repetitions.get(self.level);
        level.copied().unwrap_or_default()
    }

    fn value(&self) -> Option<Raw<'_>> {
        if self.definition() < self.highest {
            return None;
        }
        self.values.get(self.value).map(Stored::raw)
    }

    fn advance(&mut self) -> Result<(), Damage> {
        if self.ended() {
            return Err(Damage::new("a column ends before the others"));
        }
        if self.definition() == self.highest {
            self.value += 1;
        }
        self.level += 1;
        if self.level >= self.levels {
            self.fill()?;
        }
        Ok(())
    }
}

/// The stored types as one.
trait Stored: Send {
    fn raw(&self) -> Raw<'_>;
}

impl Stored for bool {
    fn raw(&self) -> Raw<'_> {
        Raw::Bool(*self)
    }
}

impl Stored for i32 {
    fn raw(&self) -> Raw<'_> {
        Raw::Int32(*self)
    }
}

impl Stored for i64 {
    fn raw(&self) -> Raw<'_> {
        Raw::Int64(*self)
    }
}

impl Stored for Int96 {
    fn raw(&self) -> Raw<'_> {
        match *self.data() {
            [low, high, day] => Raw::Int96(u64::from(high) << 32 | u64::from(low), day),
            _ => Raw::Int96(0, 0),
        }
    }
}

impl Stored for f32 {
    fn raw(&self) -> Raw<'_> {
        Raw::Float(*self)
    }
}

impl Stored for f64 {
    fn raw(&self) -> Raw<'_> {
        Raw::Double(*self)
    }
}

impl Stored for ByteArray {
    fn raw(&self) -> Raw<'_> {
        Raw::Bytes(self.data())
    }
}

impl Stored for FixedLenByteArray {
    fn raw(&self) -> Raw<'_> {
        Raw::Bytes(self.data())
    }
}
