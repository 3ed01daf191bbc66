//! The groups of an import by its rows, and the move of some of them.

use fapo_domain::model::case::Split;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteConnection;

use crate::cases::groups::{Groups, Sizes, Union};
use crate::cases::likeness::BANDS;
use crate::cases::split_number;
use crate::error::Failure;
use crate::sqlite::sql::{Columns, args};

macro_rules! shared_in_train {
    ($key:literal) => {
        concat!(
            "SELECT ",
            $key,
            ", ordinal FROM import_rows JOIN cases USING (seq) \
             WHERE import_rows.dataset = ?1 AND import_rows.split = 0 AND ",
            $key,
            " IN \
             (SELECT ",
            $key,
            " FROM import_rows WHERE dataset = ?1 AND split = 0 AND ",
            $key,
            " IS NOT NULL \
             GROUP BY ",
            $key,
            " HAVING count(*) > 1) ORDER BY ",
            $key,
            ", seq"
        )
    };
}

/// For each key, the train cases that share it with another, together.
const SHARED_IN_TRAIN: [&str; BANDS + 1] = [
    shared_in_train!("exact"),
    shared_in_train!("band0"),
    shared_in_train!("band1"),
    shared_in_train!("band2"),
    shared_in_train!("band3"),
];

/// Chooses the ordinals of train cases to be moved, in the random order that `seed` names: whole groups, passing over
/// those that are too large for what is left to move. In ascending order.
pub(super) async fn choose(
    connection: &mut SqliteConnection,
    import: i64,
    cases: u32,
    fraction: f64,
    seed: u64,
) -> Result<Vec<u64>, Failure> {
    let mut exact = Union::new(cases);
    join_shared(connection, import, SHARED_IN_TRAIN[0], &mut exact).await?;
    let mut near = exact.clone();
    for query in &SHARED_IN_TRAIN[1..] {
        join_shared(connection, import, query, &mut near).await?;
    }
    let sizes = Sizes::new(cases, fraction);
    Ok(Groups::from_unions(exact, near, sizes).choose(sizes, seed))
}

async fn join_shared(
    connection: &mut SqliteConnection,
    import: i64,
    query: &'static str,
    union: &mut Union,
) -> Result<(), Failure> {
    let mut shared = union.shared();
    let mut arguments = args();
    let mut rows = arguments.int(import).query(query).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        shared.meet(row.column(0)?, row.number32(1)?)?;
    }
    Ok(())
}

/// Moves train cases to val and numbers both parts anew in the order of the import.
pub(super) async fn apply(
    tx: &mut SqliteConnection,
    import: i64,
    moved: &[u64],
) -> Result<(), Failure> {
    let list = crate::sqlite::sql::number_list(moved.iter().copied());
    for statement in [
        "UPDATE import_rows SET split = 1 WHERE seq IN (SELECT seq FROM cases \
         WHERE dataset = ?1 AND split = 0 AND ordinal IN (SELECT value FROM json_each(?2)))",
        "UPDATE cases SET split = 1 \
         WHERE dataset = ?1 AND split = 0 AND ordinal IN (SELECT value FROM json_each(?2))",
    ] {
        args()
            .int(import)
            .text(list.clone())
            .query(statement)
            .execute(&mut *tx)
            .await?;
    }
    for split in [Split::Train, Split::Val] {
        args()
            .int(import)
            .int(split_number(split))
            .query(
                "UPDATE cases SET ordinal = place FROM \
                 (SELECT seq AS moved, row_number() OVER (ORDER BY seq) - 1 AS place FROM cases \
                 WHERE dataset = ?1 AND split = ?2) WHERE seq = moved AND ordinal <> place",
            )
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
