//! What attribution found: findings, clusters, and the rest of an attribution.

use async_trait::async_trait;
use fapo_domain::model::finding::{Attribution, Cluster, Finding};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::{CaseId, EvaluationId, StepId};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};

use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::postgres::evaluations::{Place, hold_alone, intern};
use crate::postgres::fence::check_fence;
use crate::postgres::sql::{self, Columns, args, without_nul};
use crate::postgres::store::{PgStore, SNAPSHOT};

const RECORD: &str = "record an attribution";

#[async_trait]
impl Findings for PgStore {
    async fn record_attribution(
        &self,
        fence: Option<Fence>,
        evaluation: EvaluationId,
        findings: Vec<Finding>,
        attribution: &Attribution,
    ) -> Result<(), StoreError> {
        let body = self
            .once(RECORD, async {
                pack_json(&Attribution {
                    clusters: Vec::new(),
                    ceilings: attribution.ceilings.clone(),
                    reader: attribution.reader.clone(),
                    ..*attribution
                })
            })
            .await?;
        loop {
            let stored = self
                .run(RECORD, || async {
                    let place = intern(self, evaluation).await?;
                    let mut tx = self.begin().await?;
                    check_fence(&mut tx, fence).await?;
                    // who replaces it at the same time waits
                    if !hold_alone(&mut tx, place).await? {
                        return Ok(false);
                    }
                    clear(&mut tx, place).await?;
                    args()
                        .int(place.id)
                        .bytes(body.clone())
                        .int(self.now().0)
                        .query(
                            "INSERT INTO attributions (evaluation, body, created_at) VALUES ($1, $2, $3)",
                        )
                        .execute(&mut *tx)
                        .await?;
                    insert_clusters(&mut tx, place, &attribution.clusters).await?;
                    insert_findings(&mut tx, place, &findings).await?;
                    tx.commit().await?;
                    Ok(true)
                })
                .await?;
            // else the evaluation was thrown away in between: it is given a new place
            if stored {
                return Ok(());
            }
        }
    }

    async fn attribution(
        &self,
        evaluation: EvaluationId,
    ) -> Result<Option<Attribution>, StoreError> {
        self.run("read an attribution", || async {
            let mut connection = self.connection().await?;
            // both queries see one state, even while a new attribution replaces this one
            let mut tx = connection.begin_with(SNAPSHOT).await?;
            let row = args()
                .hash(&evaluation.0)
                .query(
                    "SELECT body, evaluation FROM attributions \
                     WHERE evaluation = (SELECT id FROM evaluations WHERE hash = $1)",
                )
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let mut attribution: Attribution = unpack_json(row.column(0)?)?;
            let clusters = args()
                .int(row.column(1)?)
                .query("SELECT body FROM clusters WHERE evaluation = $1 ORDER BY n")
                .fetch_all(&mut *tx)
                .await?;
            tx.commit().await?;
            attribution.clusters = clusters
                .iter()
                .map(|row| unpack_json(row.column(0)?))
                .collect::<Result<_, _>>()?;
            Ok(Some(attribution))
        })
        .await
    }

    async fn findings(&self, evaluation: EvaluationId) -> Result<Vec<Finding>, StoreError> {
        self.run("read findings", || async {
            let rows = args()
                .hash(&evaluation.0)
                .query(
                    "SELECT ordinal, case_id, step, rule, level, confidence, lost, detail, reading FROM findings \
                     WHERE evaluation = (SELECT id FROM evaluations WHERE hash = $1) ORDER BY ordinal, n",
                )
                .fetch_all(self.pool())
                .await?;
            rows.iter().map(|row| finding(evaluation, row)).collect()
        })
        .await
    }
}

async fn clear(tx: &mut PgConnection, place: Place) -> Result<(), Failure> {
    for statement in [
        "DELETE FROM findings WHERE evaluation = $1",
        "DELETE FROM clusters WHERE evaluation = $1",
        "DELETE FROM attributions WHERE evaluation = $1",
    ] {
        args()
            .int(place.id)
            .query(statement)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn insert_clusters(
    tx: &mut PgConnection,
    place: Place,
    clusters: &[Cluster],
) -> Result<(), Failure> {
    let levels = clusters
        .iter()
        .map(|cluster| sql::serde_name(&cluster.level))
        .collect::<Result<Vec<_>, _>>()?;
    let bodies = clusters
        .iter()
        .map(pack_json)
        .collect::<Result<Vec<_>, _>>()?;
    args()
        .int(place.id)
        .numbers(0..clusters.len() as u64)
        .texts(clusters.iter().map(|cluster| cluster.id.clone()).collect())
        .texts(levels)
        .numbers(clusters.iter().map(|cluster| cluster.count))
        .reals(
            clusters
                .iter()
                .map(|cluster| cluster.recoverable.estimate)
                .collect(),
        )
        .byte_lists(bodies)
        .query(
            "INSERT INTO clusters (evaluation, n, id, level, failures, points, body) \
             SELECT $1, * FROM UNNEST($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::double precision[], \
             $7::bytea[])",
        )
        .execute(tx)
        .await?;
    Ok(())
}

async fn insert_findings(
    tx: &mut PgConnection,
    place: Place,
    findings: &[Finding],
) -> Result<(), Failure> {
    fn column<T>(
        findings: &[Finding],
        of: impl Fn(&Finding) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        findings.iter().map(of).collect()
    }
    args()
        .int(place.id)
        .numbers(findings.iter().map(|finding| finding.ordinal))
        .numbers(0..findings.len() as u64)
        .texts(column(findings, |one| Ok(one.case_id.as_str().to_owned()))?)
        .texts(column(findings, |one| Ok(one.step.as_str().to_owned()))?)
        .texts(column(findings, |one| sql::serde_name(&one.rule))?)
        .texts(column(findings, |one| sql::serde_name(&one.level))?)
        .reals(column(findings, |one| Ok(one.confidence))?)
        .reals(column(findings, |one| Ok(one.lost))?)
        .texts(column(findings, |one| Ok(without_nul(one.detail.clone())))?)
        .opt_byte_lists(column(findings, |one| {
            one.reading.as_ref().map(pack_json).transpose()
        })?)
        .query(
            "INSERT INTO findings (evaluation, ordinal, n, case_id, step, rule, level, confidence, lost, detail, reading) \
             SELECT $1, * FROM UNNEST($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], \
             $8::double precision[], $9::double precision[], $10::text[], $11::bytea[])",
        )
        .execute(tx)
        .await?;
    Ok(())
}

fn finding(evaluation: EvaluationId, row: &PgRow) -> Result<Finding, Failure> {
    let reading: Option<&[u8]> = row.column(8)?;
    Ok(Finding {
        evaluation,
        ordinal: row.number(0)?,
        case_id: CaseId::new(row.column::<&str>(1)?),
        step: StepId::new(row.column::<&str>(2)?),
        rule: sql::from_serde_name(row.column(3)?)?,
        level: sql::from_serde_name(row.column(4)?)?,
        confidence: row.column(5)?,
        lost: row.column(6)?,
        detail: row.column(7)?,
        reading: reading.map(unpack_json).transpose()?,
    })
}
