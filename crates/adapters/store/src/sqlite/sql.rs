//! Small helpers over sqlx: typed arguments and columns, multi-row inserts.

use std::sync::{Arc, OnceLock};

use fapo_domain::JobId;
use fapo_domain::hash::ContentHash;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Decode, Encode, Row, SqlSafeStr, Sqlite, Type};

use crate::codec;
use crate::error::Failure;
pub(crate) use crate::values::*;

/// Arguments of one statement, in order.
#[derive(Default)]
pub(crate) struct Args(SqliteArguments);

impl Args {
    fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        self.0
            .add(value)
            .expect("numbers, texts and bytes always encode");
        self
    }

    /// A count, an amount or an ordinal. Saturates at the largest number SQLite holds (2^63 - 1).
    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        self.push(to_i64(value))
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn real(&mut self, value: f64) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn opt_real(&mut self, value: Option<f64>) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.push(i64::from(value))
    }

    pub(crate) fn text(&mut self, value: impl Into<String>) -> &mut Self {
        self.push(value.into())
    }

    pub(crate) fn bytes(&mut self, value: impl Into<Vec<u8>>) -> &mut Self {
        self.push(value.into())
    }

    pub(crate) fn hash(&mut self, value: &ContentHash) -> &mut Self {
        self.push(value.as_bytes().to_vec())
    }

    pub(crate) fn job(&mut self, value: JobId) -> &mut Self {
        self.push(value.0.as_bytes().to_vec())
    }

    pub(crate) fn opt_text(&mut self, value: Option<impl Into<String>>) -> &mut Self {
        self.push(value.map(Into::into))
    }

    pub(crate) fn opt_bytes(&mut self, value: Option<Vec<u8>>) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        self.push(value)
    }

    /// The statement (or statements) with these arguments. Its text is one of few, so the connection keeps it prepared.
    pub(crate) fn query(
        &mut self,
        sql: impl SqlSafeStr,
    ) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        sqlx::query_with(sql, std::mem::take(&mut self.0))
    }
}

/// Starts a statement's arguments.
pub(crate) fn args() -> Args {
    Args::default()
}

/// Columns by position.
pub(crate) trait Columns {
    fn column<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, n: usize) -> Result<T, Failure>;

    fn number(&self, n: usize) -> Result<u64, Failure> {
        let value: i64 = self.column(n)?;
        u64::try_from(value).map_err(|_| Failure::corrupt(format!("a negative count: {value}")))
    }

    fn number32(&self, n: usize) -> Result<u32, Failure> {
        let value: i64 = self.column(n)?;
        u32::try_from(value)
            .map_err(|_| Failure::corrupt(format!("a number out of range: {value}")))
    }

    fn flag(&self, n: usize) -> Result<bool, Failure> {
        Ok(self.column::<i64>(n)? != 0)
    }

    fn hash(&self, n: usize) -> Result<ContentHash, Failure> {
        codec::to_hash(self.column(n)?)
    }

    fn job(&self, n: usize) -> Result<JobId, Failure> {
        let bytes: &[u8] = self.column(n)?;
        <[u8; 16]>::try_from(bytes)
            .map(|bytes| JobId(uuid::Uuid::from_bytes(bytes)))
            .map_err(|_| Failure::corrupt(format!("a job id of {} bytes", bytes.len())))
    }
}

impl Columns for SqliteRow {
    fn column<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(&'r self, n: usize) -> Result<T, Failure> {
        Ok(self.try_get(n)?)
    }
}

/// Appends bytes as hex digits.
fn push_hex(bytes: &[u8], text: &mut String) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Bytes as hex digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(bytes, &mut text);
    text
}

/// Hashes as a JSON array of hex texts, for `IN (SELECT unhex(value) FROM json_each(?))`: one statement for any number.
pub(crate) fn hash_list<'a>(hashes: impl IntoIterator<Item = &'a ContentHash>) -> String {
    let mut list = String::from("[");
    for hash in hashes {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        push_hex(hash.as_bytes(), &mut list);
        list.push('"');
    }
    list.push(']');
    list
}

/// Numbers as a JSON array, for `IN (SELECT value FROM json_each(?))`.
pub(crate) fn number_list(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut list = String::from("[");
    for number in numbers {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&to_i64(number).to_string());
    }
    list.push(']');
    list
}

/// Rows per statement, largest first: with so few sizes every statement stays prepared, and any number of rows takes
/// few statements.
const SIZES: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// A multi-row insert.
pub(crate) struct Insert {
    head: &'static str,
    columns: usize,
    tail: &'static str,
    texts: OnceLock<[Arc<str>; SIZES.len()]>,
}

impl Insert {
    /// `head` ends with `VALUES`; `tail` is what comes after the rows.
    pub(crate) const fn new(head: &'static str, columns: usize, tail: &'static str) -> Self {
        Self {
            head,
            columns,
            tail,
            texts: OnceLock::new(),
        }
    }

    /// Inserts `rows`; `bind` adds one row's arguments.
    pub(crate) async fn run<T: Send>(
        &self,
        connection: &mut SqliteConnection,
        rows: Vec<T>,
        bind: fn(T, &mut Args),
    ) -> Result<(), Failure> {
        let texts = self.texts.get_or_init(|| SIZES.map(|size| self.text(size)));
        let mut rows = rows.into_iter();
        for (size, text) in SIZES.into_iter().zip(texts) {
            while rows.len() >= size {
                let mut arguments = Args::default();
                arguments.0.reserve(size * self.columns, 0);
                for row in rows.by_ref().take(size) {
                    bind(row, &mut arguments);
                }
                sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments.0)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }

    fn text(&self, rows: usize) -> Arc<str> {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        format!("{} {} {}", self.head, vec![row; rows].join(","), self.tail).into()
    }
}

/// The six numbers of a [`fapo_domain::Spend`], as they stand in rows.
impl Args {
    pub(crate) fn spend(&mut self, spend: &fapo_domain::Spend) -> &mut Self {
        self.number(spend.cost.0)
            .number(spend.model_calls)
            .number(spend.usage.input_tokens)
            .number(spend.usage.output_tokens)
            .number(spend.usage.cached_input_tokens)
            .number(spend.usage.reasoning_tokens)
    }
}

/// Reads the six columns of a spend from position `n` on.
pub(crate) fn to_spend(row: &SqliteRow, n: usize) -> Result<fapo_domain::Spend, Failure> {
    Ok(fapo_domain::Spend {
        cost: fapo_domain::MicroUsd(row.number(n)?),
        model_calls: row.number(n + 1)?,
        usage: fapo_domain::Usage {
            input_tokens: row.number(n + 2)?,
            output_tokens: row.number(n + 3)?,
            cached_input_tokens: row.number(n + 4)?,
            reasoning_tokens: row.number(n + 5)?,
        },
    })
}
