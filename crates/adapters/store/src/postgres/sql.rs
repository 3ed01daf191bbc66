//! Small helpers over sqlx: typed arguments and columns. Lists are array parameters: `= ANY($1)`, or rows by `UNNEST`.

use fapo_domain::JobId;
use fapo_domain::hash::ContentHash;
use fapo_domain::money::{MicroUsd, Spend, Usage};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Decode, Encode, Postgres, Row, SqlSafeStr, Type};
use uuid::Uuid;

use crate::codec;
use crate::error::Failure;
pub(crate) use crate::values::*;

/// Arguments of one statement, in order.
#[derive(Default)]
pub(crate) struct Args(PgArguments);

impl Args {
    fn push<'t, T: Encode<'t, Postgres> + Type<Postgres>>(&mut self, value: T) -> &mut Self {
        self.0
            .add(value)
            .expect("numbers, texts, bytes and lists of them always encode");
        self
    }

    /// A count, an amount or an ordinal. Saturates at the largest number a column holds (2^63 - 1).
    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        self.push(to_i64(value))
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn flag(&mut self, value: bool) -> &mut Self {
        self.push(value)
    }

    /// A name: kept exactly. One with a NUL character, which a text of Postgres cannot hold, is refused by the server.
    pub(crate) fn text(&mut self, value: impl Into<String>) -> &mut Self {
        self.push(value.into())
    }

    /// A text for people: a NUL character in it becomes its picture (U+2400).
    pub(crate) fn words(&mut self, value: impl Into<String>) -> &mut Self {
        self.push(without_nul(value.into()))
    }

    pub(crate) fn bytes(&mut self, value: impl Into<Vec<u8>>) -> &mut Self {
        self.push(value.into())
    }

    pub(crate) fn hash(&mut self, value: &ContentHash) -> &mut Self {
        self.push(*value.as_bytes())
    }

    pub(crate) fn job(&mut self, value: JobId) -> &mut Self {
        self.push(value.0)
    }

    pub(crate) fn id(&mut self, value: Uuid) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn opt_text(&mut self, value: Option<impl Into<String>>) -> &mut Self {
        self.push(value.map(Into::into))
    }

    pub(crate) fn opt_hash(&mut self, value: Option<&ContentHash>) -> &mut Self {
        self.push(value.map(|hash| *hash.as_bytes()))
    }

    pub(crate) fn opt_job(&mut self, value: Option<JobId>) -> &mut Self {
        self.push(value.map(|job| job.0))
    }

    pub(crate) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn hashes<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a ContentHash>,
    ) -> &mut Self {
        let values: Vec<[u8; 32]> = values.into_iter().map(|hash| *hash.as_bytes()).collect();
        self.push(values)
    }

    pub(crate) fn jobs(&mut self, values: impl IntoIterator<Item = JobId>) -> &mut Self {
        let values: Vec<Uuid> = values.into_iter().map(|job| job.0).collect();
        self.push(values)
    }

    pub(crate) fn numbers(&mut self, values: impl IntoIterator<Item = u64>) -> &mut Self {
        self.push(values.into_iter().map(to_i64).collect::<Vec<i64>>())
    }

    pub(crate) fn texts(&mut self, values: Vec<String>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn opt_texts(&mut self, values: Vec<Option<String>>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn byte_lists(&mut self, values: Vec<Vec<u8>>) -> &mut Self {
        self.push(values)
    }

    /// The statement with these arguments. Its text is one of few, so each connection keeps it prepared.
    pub(crate) fn query(
        &mut self,
        sql: impl SqlSafeStr,
    ) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        sqlx::query_with(sql, std::mem::take(&mut self.0))
    }
}

/// Starts a statement's arguments.
pub(crate) fn args() -> Args {
    Args::default()
}

/// A text as Postgres can hold it.
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{2400}")
    } else {
        text
    }
}

/// Columns by position.
pub(crate) trait Columns {
    fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
        &'r self,
        n: usize,
    ) -> Result<T, Failure>;

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
        self.column(n)
    }

    fn hash(&self, n: usize) -> Result<ContentHash, Failure> {
        codec::to_hash(self.column(n)?)
    }

    fn job(&self, n: usize) -> Result<JobId, Failure> {
        self.column(n).map(JobId)
    }

    /// The six columns of a spend from position `n` on.
    fn spend(&self, n: usize) -> Result<Spend, Failure> {
        Ok(Spend {
            cost: MicroUsd(self.number(n)?),
            model_calls: self.number(n + 1)?,
            usage: Usage {
                input_tokens: self.number(n + 2)?,
                output_tokens: self.number(n + 3)?,
                cached_input_tokens: self.number(n + 4)?,
                reasoning_tokens: self.number(n + 5)?,
            },
        })
    }
}

impl Columns for PgRow {
    fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
        &'r self,
        n: usize,
    ) -> Result<T, Failure> {
        Ok(self.try_get(n)?)
    }
}

/// More kinds of arguments, for rows of data and results.
impl Args {
    pub(crate) fn real(&mut self, value: f64) -> &mut Self {
        self.push(value)
    }

    pub(crate) fn ints(&mut self, values: Vec<i64>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn opt_ints(&mut self, values: Vec<Option<i64>>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn reals(&mut self, values: Vec<f64>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn flags(&mut self, values: Vec<bool>) -> &mut Self {
        self.push(values)
    }

    pub(crate) fn opt_byte_lists(&mut self, values: Vec<Option<Vec<u8>>>) -> &mut Self {
        self.push(values)
    }
}
