//! Rows of a Parquet file.
//!
//! Read are a page of each column at a time, its dictionary, and a batch of rows of about [`BATCH_BYTES`]: memory is bounded by
//! what the writer of the file made of a row group, and mostly far below it. What a row holds is bounded as a line of JSONL is.

mod cursor;
mod footer;
mod guard;
mod plan;
mod source;
#[cfg(test)]
mod tests;
mod value;

use std::io::{Read, Seek};

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetStatisticsPolicy, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use serde_json::Value;

use super::Fault;
use cursor::Cursor;
use guard::guarded;
use plan::{Plan, Planner, Row};
use source::Shared;

/// Bytes of rows that are taken from the pages at a time.
const BATCH_BYTES: u64 = 1 << 20;
/// Most rows that are taken from the pages at a time.
const BATCH_ROWS: u64 = 1024;
/// What all rows together may be larger than the file they stand in: dictionaries and run lengths say the same value any number of
/// times in a few bytes, and a file that is made for it has no end. Honest data stays far below.
const MOST_EXPANSION: u64 = 1000;
/// What any file may hold, however small it is.
const ALWAYS_HELD: u64 = 256 << 20;
/// What a row counts besides its values: rows of nulls are rows, too.
const ROW_BYTES: u64 = 16;
/// The first and the last bytes of a file, and the last ones where the end is encrypted.
const MAGIC: &[u8] = b"PAR1";
const MAGIC_ENCRYPTED: &[u8] = b"PARE";
/// Magic, an empty end, its length, and magic again.
const SHORTEST: u64 = 12;

/// Which columns are read.
pub(super) type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Texts,
    /// Structs or maps.
    Objects,
    /// JSON: each row shows what it is.
    Json,
    /// Nulls only.
    Nothing,
    /// Something else, as a person calls it.
    Other(&'static str),
}

/// A column that is read.
pub(super) struct Column {
    pub name: String,
    pub holds: Holds,
}

/// A stream of rows.
pub(super) struct Table {
    reader: Box<dyn FileReader>,
    columns: Vec<Column>,
    plans: Vec<Plan>,
    /// The stored columns that are read.
    stored: Vec<usize>,
    cursors: Vec<Box<dyn Cursor>>,
    /// The row group that comes next.
    group: usize,
    /// Rows left in the one that is read.
    left: u64,
    /// The row that is read, from 1.
    number: u64,
    /// Bytes that further rows may hold.
    room: u64,
    done: bool,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) struct Damage {
    message: String,
    /// Whether it is the file that is at fault, and not what it lies on.
    inside: bool,
}

impl Damage {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            inside: true,
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        let fault = Self::new("unreadable", format!("cannot be read: {}", damage.message));
        if damage.inside {
            fault.help("the file is damaged: copy or write it again")
        } else {
            fault
        }
    }
}

impl From<ParquetError> for Damage {
    fn from(found: ParquetError) -> Self {
        let message = match found {
            ParquetError::External(source) => {
                return Self {
                    inside: source
                        .downcast_ref::<std::io::Error>()
                        .is_none_or(|found| found.kind() != std::io::ErrorKind::Other),
                    message: source.to_string(),
                };
            }
            ParquetError::General(message)
            | ParquetError::NYI(message)
            | ParquetError::EOF(message) => message,
            other => other.to_string(),
        };
        Self::new(crate::problems::lower_first(&message))
    }
}

impl Table {
    /// Opens a file.
    pub fn open<R: Read + Seek + Send + 'static>(
        source: R,
        wanted: Wanted<'_>,
    ) -> Result<Self, Fault> {
        let source =
            Shared::new(source).map_err(|found| Damage::from(ParquetError::from(found)))?;
        check_magic(&source)?;
        footer::check(&source)?;
        let options = ReadOptionsBuilder::new()
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .build();
        let length = source.len();
        let reader = guarded(|| Ok(SerializedFileReader::new_with_options(source, options)?))?;
        let mut table = Self {
            reader: Box::new(reader),
            columns: Vec::new(),
            plans: Vec::new(),
            stored: Vec::new(),
            cursors: Vec::new(),
            group: 0,
            left: 0,
            number: 0,
            room: length.saturating_mul(MOST_EXPANSION).max(ALWAYS_HELD),
            done: false,
        };
        guarded(|| Ok(table.plan(wanted)))??;
        check_groups(table.reader.metadata(), &table.stored, length)?;
        Ok(table)
    }

    /// Plans the reading of the wanted columns.
    fn plan(&mut self, wanted: Wanted<'_>) -> Result<(), Fault> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let mut planner = Planner::default();
        for column in schema.root_schema().get_fields() {
            let name = column.name();
            if !wanted(name) {
                planner.pass(column);
                continue;
            }
            if self.columns.iter().any(|other| other.name == name) {
                let message = format!("two columns are named `{name}`");
                return Err(Fault::new("bad-header", message).help("rename one of them"));
            }
            let plan = planner.column(column).map_err(|what| {
                Fault::new("bad-header", format!("column `{name}` holds {what}"))
                    .help("cast it to text, or leave it out")
            })?;
            self.columns.push(Column {
                name: name.to_owned(),
                holds: plan.holds(),
            });
            self.plans.push(plan);
        }
        self.stored = planner.needed;
        Ok(())
    }

    /// The columns that are read.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The names of all columns there are.
    pub fn names(&self) -> Vec<String> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields();
        fields.iter().map(|field| field.name().to_owned()).collect()
    }

    /// The next row: its number, and its values in the order of the columns or what is wrong with them. A file that cannot
    /// be gone on with ends after its fault.
    pub fn next_row(&mut self) -> Option<(u64, Result<Vec<Value>, Fault>)> {
        if self.done {
            return None;
        }
        let row = guarded(|| self.advance());
        self.done = !matches!(row, Ok(Some(_)));
        match row {
            Ok(row) => Some((self.number, row?)),
            Err(damage) => Some((self.number, Err(damage.into()))),
        }
    }

    fn advance(&mut self) -> Result<Option<Result<Vec<Value>, Fault>>, Damage> {
        self.number += 1;
        while self.left == 0 {
            if self.cursors.iter().any(|cursor| !cursor.ended()) {
                return Err(Damage::new("a row group holds more rows than it says"));
            }
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            self.open_group()?;
        }
        self.left -= 1;
        let mut row = Row::default();
        let mut values = Vec::with_capacity(self.plans.len());
        for plan in &self.plans {
            values.push(plan.read(&mut self.cursors, &mut row)?);
        }
        if self
            .cursors
            .iter()
            .any(|cursor| !cursor.ended() && cursor.repetition() > 0)
        {
            return Err(Damage::new("the columns do not have the same rows"));
        }
        let bytes = ROW_BYTES + row.bytes();
        self.room = self.room.checked_sub(bytes).ok_or_else(|| {
            Damage::new(format!(
                "its rows are more than {MOST_EXPANSION} times as large as the file"
            ))
        })?;
        Ok(Some(match row.fault {
            Some(fault) => Err(fault),
            None => Ok(values),
        }))
    }

    /// Starts the next row group.
    fn open_group(&mut self) -> Result<(), Damage> {
        self.cursors.clear();
        let group = self.reader.get_row_group(self.group)?;
        self.group += 1;
        let metadata = group.metadata();
        self.left = rows(metadata)?;
        if self.left == 0 {
            return Ok(());
        }
        let bytes = u64::try_from(metadata.total_byte_size()).unwrap_or_default();
        let mean = (bytes / self.left).max(1);
        let batch = usize::try_from((BATCH_BYTES / mean).clamp(1, BATCH_ROWS)).unwrap_or(1);
        for stored in &self.stored {
            let reader = group.get_column_reader(*stored)?;
            let column = metadata.column(*stored).column_descr();
            self.cursors.push(cursor::cursor(reader, column, batch)?);
        }
        Ok(())
    }
}

fn rows(group: &RowGroupMetaData) -> Result<u64, Damage> {
    u64::try_from(group.num_rows()).map_err(|_| Damage::new("a row group has less than no rows"))
}

/// What is wrong with a file as a whole, and what to do.
type Whole = (&'static str, &'static str);

const NOT_PARQUET: Whole = (
    "the file is not Parquet",
    "name it by what it is, such as `.jsonl` or `.csv`",
);
const CUT_OFF: Whole = (
    "the file is cut off: its end is missing",
    "copy or write it again",
);
const ENCRYPTED: Whole = (
    "the file is encrypted",
    "write it without encryption: no keys are kept here",
);

fn data_format((message, help): Whole) -> Fault {
    Fault::new("data-format", message).help(help)
}

/// Whether this is Parquet at all, and whole.
fn check_magic<R: Read + Seek + Send>(source: &Shared<R>) -> Result<(), Fault> {
    let read = |start, length| source.get_bytes(start, length).map_err(Damage::from);
    let length = source.len();
    let short = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(MAGIC.len());
    let start = read(0, short)?;
    if start == MAGIC_ENCRYPTED {
        return Err(data_format(ENCRYPTED));
    }
    if start.is_empty() || !MAGIC.starts_with(&start) {
        return Err(data_format(NOT_PARQUET));
    }
    if length < SHORTEST {
        return Err(data_format(CUT_OFF));
    }
    let end = read(length - MAGIC.len() as u64, MAGIC.len())?;
    if end == MAGIC_ENCRYPTED {
        Err(data_format(ENCRYPTED))
    } else if end != MAGIC {
        Err(data_format(CUT_OFF))
    } else {
        Ok(())
    }
}

/// What can be known to be wrong before a row is read: the codecs, and where the columns are said to lie.
fn check_groups(metadata: &ParquetMetaData, stored: &[usize], length: u64) -> Result<(), Fault> {
    let columns = metadata.file_metadata().schema_descr().num_columns();
    for group in metadata.row_groups() {
        rows(group)?;
        if group.num_columns() != columns {
            return Err(Damage::new("a row group lacks columns").into());
        }
        for column in stored.iter().map(|stored| group.column(*stored)) {
            let data = column.data_page_offset();
            let start = column.dictionary_page_offset().unwrap_or(data).min(data);
            let end = start.checked_add(column.compressed_size());
            let inside = start >= 0
                && column.compressed_size() >= 0
                && end.is_some_and(|end| u64::try_from(end).is_ok_and(|end| end <= length));
            if !inside {
                let name = column.column_path().string();
                let message = format!("column `{name}` is said to lie outside the file");
                return Err(Damage::new(message).into());
            }
            let codec = match column.compression() {
                Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::ZSTD(_) => continue,
                Compression::LZO => "LZO",
                Compression::BROTLI(_) => "Brotli",
                Compression::LZ4 | Compression::LZ4_RAW => "LZ4",
            };
            let name = column.column_path().string();
            let message = format!("column `{name}` is compressed with {codec}, which is not read");
            return Err(Fault::new("data-format", message)
                .help("write it with `snappy`, `zstd` or `gzip`, or uncompressed"));
        }
    }
    Ok(())
}
