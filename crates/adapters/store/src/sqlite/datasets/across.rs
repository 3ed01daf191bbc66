//! Like cases in different splits: they flatter scores, so an import reports them.

use std::collections::{HashMap, HashSet};

use fapo_domain::CaseId;
use fapo_domain::model::case::Split;
use fapo_domain::ports::datasets::NearDuplicate;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteConnection;

use super::likeness::{BANDS, Shingles};
use super::{read_body, to_split};
use crate::error::Failure;
use crate::sqlite::sql::{Columns, args, number_list};

/// Most near-duplicates in a report.
const MOST_REPORTED: usize = 100;
/// Most rows looked at for the report, per key: enough to fill it many times over.
const MOST_CANDIDATES: u32 = 20_000;
/// Most pairs whose texts are compared for the report.
const MOST_COMPARED: usize = 2_000;
/// Pairs whose texts are loaded at once.
const AT_ONCE: usize = 100;
/// Pairs found by a shared band are reported from this likeness on.
const ALIKE: f64 = 0.8;

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

/// A case, as far as it is compared.
struct Compared {
    split: Split,
    id: CaseId,
    shingles: Shingles,
}

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
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut left = most;
    for (n, query) in SHARED_ACROSS.into_iter().enumerate() {
        let exact = n == 0;
        let mut pairs = candidates(connection, import, query).await?;
        pairs.retain(|pair| seen.insert(*pair));
        if !exact {
            pairs.truncate(left);
            left -= pairs.len();
        }
        for pairs in pairs.chunks(AT_ONCE) {
            let cases = load(connection, pairs).await?;
            for (a, b) in pairs {
                let (a, b) = (get(&cases, *a)?, get(&cases, *b)?);
                if !exact && a.shingles.resemblance(&b.shingles) < ALIKE {
                    continue;
                }
                let (a, b) = if a.split <= b.split { (a, b) } else { (b, a) };
                found.push(NearDuplicate {
                    a: (a.split, a.id.clone()),
                    b: (b.split, b.id.clone()),
                });
                if found.len() >= MOST_REPORTED {
                    return Ok(found);
                }
            }
        }
        if left == 0 {
            break;
        }
    }
    Ok(found)
}

/// Pairs (earlier, later) of rows that share a key: each row with the first one of another split.
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
    let mut pairs = Vec::new();
    // of the current key, the first row of each split
    let mut key = None;
    let mut firsts: Vec<(i64, i64)> = Vec::new();
    for row in &rows {
        let (row_key, seq, split): (i64, i64, i64) =
            (row.column(0)?, row.column(1)?, row.column(2)?);
        if key != Some(row_key) {
            key = Some(row_key);
            firsts.clear();
        }
        if let Some((_, first)) = firsts.iter().find(|(other, _)| *other != split) {
            pairs.push((*first, seq));
        }
        if !firsts.iter().any(|(other, _)| *other == split) {
            firsts.push((split, seq));
        }
    }
    Ok(pairs)
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

fn get(cases: &HashMap<i64, Compared>, seq: i64) -> Result<&Compared, Failure> {
    cases
        .get(&seq)
        .ok_or_else(|| Failure::corrupt(format!("a case without a body: row {seq}")))
}

#[cfg(test)]
mod tests;
