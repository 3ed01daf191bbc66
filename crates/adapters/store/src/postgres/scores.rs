//! Scores of runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fapo_domain::model::score::{CaseScore, ScoreStatus};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::scores::{ScoredCase, Scores};
use fapo_domain::{CaseId, EvaluationId, MicroUsd};
use sqlx::postgres::{PgConnection, PgRow};

use crate::codec::{from_json, to_text};
use crate::error::Failure;
use crate::postgres::evaluations::{Place, find, hold, intern};
use crate::postgres::fence::check_fence;
use crate::postgres::sql::{self, Columns, args, without_nul};
use crate::postgres::store::PgStore;
use crate::values::check_score;

const RECORD: &str = "record scores";

/// Scores by evaluation and ordinal: of two with one identity the first that counts.
type Chosen = BTreeMap<EvaluationId, BTreeMap<u64, CaseScore>>;

#[async_trait]
impl Scores for PgStore {
    async fn record_scores(
        &self,
        fence: Option<Fence>,
        scores: Vec<CaseScore>,
    ) -> Result<(), StoreError> {
        let chosen = self.once(RECORD, async { choose(scores) }).await?;
        loop {
            let stored = self
                .run(RECORD, || async {
                    let mut places = Vec::with_capacity(chosen.len());
                    for evaluation in chosen.keys() {
                        places.push(intern(self, *evaluation).await?);
                    }
                    let mut tx = self.begin().await?;
                    check_fence(&mut tx, fence).await?;
                    for (place, scores) in places.into_iter().zip(chosen.values()) {
                        if !hold(&mut tx, place).await? {
                            return Ok(false);
                        }
                        insert(&mut tx, place, scores).await?;
                        refuse_other_scorer(&mut tx, place, scores).await?;
                    }
                    tx.commit().await?;
                    Ok(true)
                })
                .await?;
            // else an evaluation was thrown away in between: it is given a new place
            if stored {
                return Ok(());
            }
        }
    }

    async fn scores(
        &self,
        evaluation: EvaluationId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<ScoredCase>, StoreError> {
        self.run("read scores", || async {
            let mut connection = self.connection().await?;
            let Some(place) = find(&mut connection, evaluation).await? else {
                return Ok(Vec::new());
            };
            let rows = args()
                .int(place.part)
                .int(place.id)
                .number(from)
                .int(i64::from(limit))
                .query(
                    "SELECT s.ordinal, s.case_id, s.status, s.score, s.breakdown, s.feedback, s.scorer, \
                     coalesce(r.full_cost, 0), CASE WHEN NOT r.cached THEN r.duration_ms END, r.full_duration_ms \
                     FROM scores AS s LEFT JOIN runs AS r ON r.part = $1 AND r.evaluation = $2 AND r.ordinal = s.ordinal \
                     WHERE s.evaluation = $2 AND s.ordinal >= $3 ORDER BY s.ordinal LIMIT $4",
                )
                .fetch_all(&mut *connection)
                .await?;
            rows.iter().map(|row| scored(evaluation, row)).collect()
        })
        .await
    }
}

fn choose(scores: Vec<CaseScore>) -> Result<Chosen, Failure> {
    let mut chosen = Chosen::new();
    for score in scores {
        check_score(&score)?;
        let of_evaluation = chosen.entry(score.evaluation).or_default();
        let first = of_evaluation.get(&score.ordinal);
        if first.is_none_or(|first| first.status == ScoreStatus::Missing) {
            of_evaluation.insert(score.ordinal, score);
        }
    }
    Ok(chosen)
}

/// Inserts scores and replaces missing ones, in the order of their ordinals, as all writers do.
async fn insert(
    tx: &mut PgConnection,
    place: Place,
    scores: &BTreeMap<u64, CaseScore>,
) -> Result<(), Failure> {
    let breakdowns = scores
        .values()
        .map(|score| to_text(&score.breakdown))
        .collect::<Result<Vec<_>, _>>()?;
    args()
        .int(place.id)
        .numbers(scores.keys().copied())
        .texts(column(scores, |score| score.case_id.as_str().to_owned()))
        .texts(column(scores, |score| {
            sql::score_status(score.status).to_owned()
        }))
        .reals(column(scores, |score| score.score))
        .texts(breakdowns)
        .texts(column(scores, |score| without_nul(score.feedback.clone())))
        .hashes(scores.values().map(|score| &score.scorer))
        .query(
            "INSERT INTO scores AS s (evaluation, ordinal, case_id, status, score, breakdown, feedback, scorer) \
             SELECT $1, new.* FROM UNNEST($2::bigint[], $3::text[], $4::text[], $5::double precision[], $6::text[], \
             $7::text[], $8::bytea[]) AS new \
             ON CONFLICT (evaluation, ordinal) DO UPDATE SET case_id = excluded.case_id, status = excluded.status, \
             score = excluded.score, breakdown = excluded.breakdown, feedback = excluded.feedback, scorer = excluded.scorer \
             WHERE s.status = 'missing'",
        )
        .execute(tx)
        .await?;
    Ok(())
}

fn column<T>(scores: &BTreeMap<u64, CaseScore>, of: impl Fn(&CaseScore) -> T) -> Vec<T> {
    scores.values().map(of).collect()
}

/// Scores of two scorers never meet in one evaluation. After the insertion, which waited for whoever was at the same rows: those
/// that were inserted have their scorer, those that stayed may have another.
async fn refuse_other_scorer(
    tx: &mut PgConnection,
    place: Place,
    scores: &BTreeMap<u64, CaseScore>,
) -> Result<(), Failure> {
    let counting: Vec<&CaseScore> = scores
        .values()
        .filter(|score| score.status != ScoreStatus::Missing)
        .collect();
    let other = args()
        .int(place.id)
        .numbers(counting.iter().map(|score| score.ordinal))
        .hashes(counting.iter().map(|score| &score.scorer))
        .query(
            "SELECT s.case_id FROM UNNEST($2::bigint[], $3::bytea[]) AS new (ordinal, scorer) \
             JOIN scores AS s ON s.evaluation = $1 AND s.ordinal = new.ordinal \
             WHERE s.status <> 'missing' AND s.scorer <> new.scorer ORDER BY s.ordinal LIMIT 1",
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

fn scored(evaluation: EvaluationId, row: &PgRow) -> Result<ScoredCase, Failure> {
    let time = |n| -> Result<Option<u32>, Failure> {
        let known: Option<i64> = row.column(n)?;
        known.map(|_| row.number32(n)).transpose()
    };
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
        uncached_ms: time(8)?,
        full_ms: time(9)?,
    })
}
