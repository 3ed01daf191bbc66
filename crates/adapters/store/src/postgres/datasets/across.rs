//! Like cases in different splits, by the rows of an import.

use std::collections::{HashMap, HashSet};

use fapo_domain::ports::datasets::NearDuplicate;
use sqlx::postgres::PgConnection;

use crate::cases::across::{AT_ONCE, Compared, MOST_CANDIDATES, MOST_COMPARED, Pairs, Report};
use crate::cases::likeness::{BANDS, Shingles};
use crate::cases::{read_body, to_split};
use crate::error::Failure;
use crate::postgres::sql::{Columns, args};

macro_rules! shared_across {
    ($key:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", seq, split FROM import_rows WHERE dataset = $1 AND ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM import_rows WHERE dataset = $1 AND ",
            $key,
            " IS NOT NULL GROUP BY ",
            $key,
            " HAVING min(split) <> max(split)) ORDER BY ",
            $key,
            ", seq LIMIT $2"
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
    connection: &mut PgConnection,
    import: i64,
) -> Result<Vec<NearDuplicate>, Failure> {
    let mut report = Report::new(MOST_COMPARED);
    for (n, query) in SHARED_ACROSS.into_iter().enumerate() {
        let exact = n == 0;
        let pairs = report.choose(exact, candidates(connection, import, query).await?);
        for pairs in pairs.chunks(AT_ONCE) {
            let cases = load(connection, import, pairs).await?;
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
    connection: &mut PgConnection,
    import: i64,
    query: &'static str,
) -> Result<Vec<(i64, i64)>, Failure> {
    let rows = args()
        .int(import)
        .int(i64::from(MOST_CANDIDATES))
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
    connection: &mut PgConnection,
    import: i64,
    pairs: &[(i64, i64)],
) -> Result<HashMap<i64, Compared>, Failure> {
    let wanted: HashSet<i64> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let rows = args()
        .int(import)
        .ints(wanted.into_iter().collect())
        .query(
            "SELECT seq, split, case_id, body FROM cases JOIN case_bodies USING (dataset, seq) \
             WHERE dataset = $1 AND seq = ANY($2)",
        )
        .fetch_all(connection)
        .await?;
    let mut cases = HashMap::with_capacity(rows.len());
    for row in &rows {
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
