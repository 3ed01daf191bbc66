//! Like cases in different splits, by the rows of an import.

use std::collections::{HashMap, HashSet};

use fapo_domain::ports::datasets::NearDuplicate;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteConnection;

use crate::cases::across::{AT_ONCE, Compared, MOST_CANDIDATES, MOST_COMPARED, Pairs, Report};
use crate::cases::likeness::{BANDS, Shingles};
use crate::cases::{read_body, to_split};
use crate::error::Failure;
use crate::sqlite::sql::{Columns, args, number_list};

macro_rules! shared_across {
    ($key:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", seq, split FROM import_rows WHERE dataset = ?1 AND ",
            $key,
            " IN \
             (SELECT ",
            $key,
            " FROM import_rows WHERE dataset = ?1 AND ",
            $key,
            " IS NOT NULL \
             GROUP BY ",
            $key,
            " HAVING min(split) <> max(split)) ORDER BY ",
            $key,
            ", seq LIMIT ?2"
        )
    };
}

/// For each key, the cases that share it with one of another split, together.
const SHARED_ACROSS: [&str; BANDS + 1] = [
    shared_across!("exact"),
    shared_across!("band0"),
    shared_across!("band1"),
    shared_across!("band2"),
    shared_across!("band3"),
];

/// Up to 100 pairs of like cases of different splits, exact ones first.
pub(super) async fn across_splits(
    connection: &mut SqliteConnection,
    import: i64,
) -> Result<Vec<NearDuplicate>, Failure> {
    across_splits_within(connection, import, MOST_COMPARED).await
}

/// The same, of which at most `most` pairs are compared, like or not.
async fn across_splits_within(
    connection: &mut SqliteConnection,
    import: i64,
    most: usize,
) -> Result<Vec<NearDuplicate>, Failure> {
    let mut report = Report::new(most);
    for (n, query) in SHARED_ACROSS.into_iter().enumerate() {
        let exact = n == 0;
        let pairs = report.choose(exact, candidates(connection, import, query).await?);
        for pairs in pairs.chunks(AT_ONCE) {
            let cases = load(connection, pairs).await?;
            report.compare(exact, pairs, &cases)?;
            if report.is_full() {
                break;
            }
        }
        if report.is_done() {
            break;
        }
    }
    Ok(report.found())
}

/// Pairs of rows that share a key.
async fn candidates(
    connection: &mut SqliteConnection,
    import: i64,
    query: &'static str,
) -> Result<Vec<(i64, i64)>, Failure> {
    let rows = args()
        .int(import)
        .number(u64::from(MOST_CANDIDATES))
        .query(query)
        .fetch_all(connection)
        .await?;
    let mut pairs = Pairs::default();
    for row in &rows {
        pairs.meet(row.column(0)?, row.column(1)?, row.column(2)?);
    }
    Ok(pairs.found())
}

/// The cases of some pairs, each once, by row.
async fn load(
    connection: &mut SqliteConnection,
    pairs: &[(i64, i64)],
) -> Result<HashMap<i64, Compared>, Failure> {
    let wanted: HashSet<i64> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let list = number_list(wanted.into_iter().map(i64::cast_unsigned));
    let mut arguments = args();
    let mut rows = arguments
        .text(list)
        .query(
            "SELECT seq, split, case_id, body FROM cases JOIN case_bodies USING (seq) \
             WHERE seq IN (SELECT value FROM json_each(?))",
        )
        .fetch(connection);
    let mut cases = HashMap::with_capacity(2 * pairs.len());
    while let Some(row) = rows.try_next().await? {
        let case = read_body(row.column(2)?, row.column(3)?)?;
        let compared = Compared {
            split: to_split(row.column(1)?)?,
            id: case.case_id,
            shingles: Shingles::of(&case.input),
        };
        cases.insert(row.column(0)?, compared);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests;
