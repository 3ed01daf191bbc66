//! Scores of runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::scores::{ScoredCase, Scores};
use fapo_domain::{CaseId, EvaluationId, MicroUsd};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::codec::{from_json, to_text};
use crate::error::Failure;
use crate::sqlite::sql::{self, Args, Columns, Insert, args};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::traces;
use crate::sqlite::writer::check_fence;

static INSERT: Insert = Insert::new(
    "INSERT INTO scores (evaluation, ordinal, case_id, status, score, breakdown, feedback, scorer) VALUES",
    8,
    "ON CONFLICT (evaluation, ordinal) DO UPDATE SET case_id = excluded.case_id, status = excluded.status, \
     score = excluded.score, breakdown = excluded.breakdown, feedback = excluded.feedback, scorer = excluded.scorer \
     WHERE scores.status = 'missing'",
);

fn bind((evaluation, score, breakdown): (i64, CaseScore, String), arguments: &mut Args) {
    arguments
        .int(evaluation)
        .number(score.ordinal)
        .text(score.case_id.as_str())
        .text(sql::score_status(score.status))
        .real(score.score)
        .text(breakdown)
        .text(score.feedback)
        .hash(&score.scorer);
}

#[async_trait]
impl Scores for SqliteStore {
    async fn record_scores(
        &self,
        fence: Option<Fence>,
        scores: Vec<CaseScore>,
    ) -> Result<(), StoreError> {
        self.run("record scores", async {
            let mut by_evaluation: BTreeMap<EvaluationId, Vec<CaseScore>> = BTreeMap::new();
            for score in scores {
                sql::check_score(&score)?;
                by_evaluation
                    .entry(score.evaluation)
                    .or_default()
                    .push(score);
            }
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            check_fence(&mut tx, fence).await?;
            for (evaluation, scores) in by_evaluation {
                let id = traces::intern(&mut tx, evaluation).await?;
                refuse_other_scorer(&mut tx, id, &scores).await?;
                let rows = scores
                    .into_iter()
                    .map(|score| {
                        let breakdown = to_text(&score.breakdown)?;
                        Ok((id, score, breakdown))
                    })
                    .collect::<Result<Vec<_>, Failure>>()?;
                INSERT.run(&mut tx, rows, bind).await?;
            }
            tx.commit().await
        })
        .await
    }

    async fn scores(
        &self,
        evaluation: EvaluationId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<ScoredCase>, StoreError> {
        self.run("read scores", async {
            let rows = args()
                .hash(&evaluation.0)
                .number(from)
                .number(u64::from(limit))
                .query(
                    "SELECT s.ordinal, s.case_id, s.status, s.score, s.breakdown, s.feedback, s.scorer, \
                     coalesce(r.full_cost, 0), CASE WHEN r.cached = 0 THEN r.duration_ms END, r.full_duration_ms \
                     FROM scores AS s LEFT JOIN runs AS r ON r.evaluation = s.evaluation AND r.ordinal = s.ordinal \
                     WHERE s.evaluation = (SELECT id FROM evaluations WHERE hash = ?1) AND s.ordinal >= ?2 \
                     ORDER BY s.ordinal LIMIT ?3",
                )
                .fetch_all(&mut *self.reader().await)
                .await?;
            let time = |row, n| -> Result<Option<u32>, Failure> {
                let known: Option<i64> = SqliteRow::column(row, n)?;
                known.map(|_| SqliteRow::number32(row, n)).transpose()
            };
            rows.iter()
                .map(|row| {
                    Ok(ScoredCase {
                        score: CaseScore {
                            evaluation,
                            ordinal: row.number(0)?,
                            case_id: CaseId::new(row.column::<&str>(1)?),
                            status: sql::to_score_status(row.column(2)?)?,
                            score: row.column(3)?,
                            breakdown: from_json(row.column::<&str>(4)?.as_bytes())?,
                            feedback: row.column(5)?,
                            scorer: row.hash(6)?,
                        },
                        full_cost: MicroUsd(row.number(7)?),
                        uncached_ms: time(row, 8)?,
                        full_ms: time(row, 9)?,
                    })
                })
                .collect()
        })
        .await
    }
}

/// Scores of two scorers never meet in one evaluation.
async fn refuse_other_scorer(
    tx: &mut SqliteConnection,
    evaluation: i64,
    scores: &[CaseScore],
) -> Result<(), Failure> {
    let wanted: Vec<(u64, String)> = scores
        .iter()
        .filter(|score| score.status != ScoreStatus::Missing)
        .map(|score| (score.ordinal, sql::to_hex(score.scorer.as_bytes())))
        .collect();
    let other = args()
        .int(evaluation)
        .text(to_text(&wanted)?)
        .query(
            "SELECT s.case_id FROM json_each(?2) AS new CROSS JOIN scores AS s \
             ON s.evaluation = ?1 AND s.ordinal = new.value ->> 0 \
             WHERE s.status <> 'missing' AND s.scorer <> unhex(new.value ->> 1) LIMIT 1",
        )
        .fetch_optional(tx)
        .await?;
    match other {
        None => Ok(()),
        Some(row) => Err(StoreError::AlreadyExists {
            kind: "score of case",
            id: row.column(0)?,
        }
        .into()),
    }
}
