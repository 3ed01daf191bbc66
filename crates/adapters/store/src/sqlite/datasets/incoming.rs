//! Cases on their way in: checked against the ids in use, inserted.

use std::collections::HashMap;

use fapo_domain::CaseId;
use fapo_domain::hash::ContentHash;
use fapo_domain::ports::datasets::DuplicateCase;
use sqlx::sqlite::SqliteConnection;

use crate::cases::incoming::{self as cases, Prepared};
use crate::cases::likeness::Likeness;
use crate::cases::split_number;
use crate::codec::to_text;
use crate::error::Failure;
use crate::sqlite::sql::{Args, Columns, Insert, args};

/// Parts cases whose ids are new from those whose ids are used.
pub(super) async fn part_duplicates(
    tx: &mut SqliteConnection,
    import: i64,
    prepared: Vec<Prepared>,
) -> Result<(Vec<Prepared>, Vec<DuplicateCase>), Failure> {
    let ids: Vec<&str> = prepared.iter().map(|case| case.case_id.as_str()).collect();
    let rows = args()
        .int(import)
        .text(to_text(&ids)?)
        .query(
            "SELECT case_id, file, line FROM cases JOIN import_rows USING (seq) \
             WHERE cases.dataset = ?1 AND case_id IN (SELECT value FROM json_each(?2))",
        )
        .fetch_all(tx)
        .await?;
    let mut used: HashMap<CaseId, (String, u64)> = HashMap::new();
    for row in &rows {
        let id = CaseId::new(row.column::<&str>(0)?);
        used.insert(id, (row.column(1)?, row.number(2)?));
    }
    Ok(cases::part_duplicates(prepared, used))
}

static CASES: Insert = Insert::new(
    "INSERT INTO cases (seq, dataset, split, ordinal, case_id, digest) VALUES",
    6,
    "",
);
static BODIES: Insert = Insert::new("INSERT INTO case_bodies (seq, body) VALUES", 2, "");
static IMPORT_ROWS: Insert = Insert::new(
    "INSERT INTO import_rows (seq, dataset, split, file, line, exact, band0, band1, band2, band3) VALUES",
    10,
    "",
);

type CaseRow = (u64, i64, i64, u64, CaseId, ContentHash);
type ImportRow = (u64, i64, i64, String, u64, Likeness);

/// Inserts cases behind those that are there.
pub(super) async fn insert(
    tx: &mut SqliteConnection,
    import: i64,
    cases: Vec<Prepared>,
) -> Result<(), Failure> {
    let row = args()
        .int(import)
        .query(
            "SELECT (SELECT coalesce(max(seq), 0) FROM cases), \
             (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = ?1 AND split = 0), \
             (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = ?1 AND split = 1), \
             (SELECT coalesce(max(ordinal) + 1, 0) FROM cases WHERE dataset = ?1 AND split = 2)",
        )
        .fetch_one(&mut *tx)
        .await?;
    let last = row.number(0)?;
    let mut next = [row.number(1)?, row.number(2)?, row.number(3)?];
    let mut case_rows: Vec<CaseRow> = Vec::with_capacity(cases.len());
    let mut bodies = Vec::with_capacity(cases.len());
    let mut import_rows: Vec<ImportRow> = Vec::with_capacity(cases.len());
    for (seq, case) in (last + 1..).zip(cases) {
        let split = split_number(case.split);
        let place = &mut next[split as usize];
        case_rows.push((seq, import, split, *place, case.case_id, case.digest));
        bodies.push((seq, case.body));
        import_rows.push((seq, import, split, case.file, case.line, case.likeness));
        *place += 1;
    }
    CASES.run(tx, case_rows, bind_case).await?;
    BODIES.run(tx, bodies, bind_body).await?;
    IMPORT_ROWS.run(tx, import_rows, bind_import).await
}

fn bind_case((seq, import, split, ordinal, case_id, digest): CaseRow, arguments: &mut Args) {
    arguments
        .number(seq)
        .int(import)
        .int(split)
        .number(ordinal)
        .text(case_id.as_str())
        .hash(&digest);
}

fn bind_body((seq, body): (u64, Vec<u8>), arguments: &mut Args) {
    arguments.number(seq).bytes(body);
}

fn bind_import((seq, import, split, file, line, likeness): ImportRow, arguments: &mut Args) {
    arguments
        .number(seq)
        .int(import)
        .int(split)
        .text(file)
        .number(line)
        .opt_int(likeness.exact);
    for band in likeness.bands {
        arguments.opt_int(band);
    }
}
