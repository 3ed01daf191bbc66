//! What attribution found: findings, clusters, and the rest of an attribution.

use async_trait::async_trait;
use fapo_domain::model::finding::{Attribution, Cluster, Finding};
use fapo_domain::model::task::Fence;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::jobs::Findings;
use fapo_domain::{CaseId, EvaluationId, StepId};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use crate::codec::{pack_json, unpack_json};
use crate::error::Failure;
use crate::sqlite::sql::{self, Args, Columns, Insert, args};
use crate::sqlite::store::SqliteStore;
use crate::sqlite::traces;
use crate::sqlite::writer::check_fence;

static FINDINGS: Insert = Insert::new(
    "INSERT INTO findings (evaluation, ordinal, n, case_id, step, rule, level, confidence, lost, detail, reading) VALUES",
    11,
    "",
);

static CLUSTERS: Insert = Insert::new(
    "INSERT INTO clusters (evaluation, n, id, level, failures, points, body) VALUES",
    7,
    "",
);

/// A finding with its evaluation's row id, its place, the names of its rule and level, and its reading packed.
type FindingRow = (i64, u64, Finding, String, String, Option<Vec<u8>>);
type ClusterRow = (i64, u64, Cluster, String, Vec<u8>);

fn bind_finding((evaluation, n, finding, rule, level, reading): FindingRow, arguments: &mut Args) {
    arguments
        .int(evaluation)
        .number(finding.ordinal)
        .number(n)
        .text(finding.case_id.as_str())
        .text(finding.step.as_str())
        .text(rule)
        .text(level)
        .real(finding.confidence)
        .real(finding.lost)
        .text(finding.detail)
        .opt_bytes(reading);
}

fn bind_cluster((evaluation, n, cluster, level, body): ClusterRow, arguments: &mut Args) {
    arguments
        .int(evaluation)
        .number(n)
        .text(cluster.id)
        .text(level)
        .number(cluster.count)
        .real(cluster.recoverable.estimate)
        .bytes(body);
}

#[async_trait]
impl Findings for SqliteStore {
    async fn record_attribution(
        &self,
        fence: Option<Fence>,
        evaluation: EvaluationId,
        findings: Vec<Finding>,
        attribution: &Attribution,
    ) -> Result<(), StoreError> {
        self.run("record an attribution", async {
            let body = pack_json(&Attribution {
                clusters: Vec::new(),
                ceilings: attribution.ceilings.clone(),
                reader: attribution.reader.clone(),
                ..*attribution
            })?;
            let mut writer = self.writer().await;
            let mut tx = writer.begin().await?;
            check_fence(&mut tx, fence).await?;
            let id = traces::intern(&mut tx, evaluation).await?;
            clear(&mut tx, id).await?;
            args()
                .int(id)
                .bytes(body)
                .int(self.now().0)
                .query("INSERT INTO attributions (evaluation, body, created_at) VALUES (?, ?, ?)")
                .execute(&mut *tx)
                .await?;
            let clusters = (0..)
                .zip(&attribution.clusters)
                .map(|(n, cluster)| {
                    let level = sql::serde_name(&cluster.level)?;
                    Ok((id, n, cluster.clone(), level, pack_json(cluster)?))
                })
                .collect::<Result<Vec<ClusterRow>, Failure>>()?;
            CLUSTERS.run(&mut tx, clusters, bind_cluster).await?;
            let findings = (0..)
                .zip(findings)
                .map(|(n, finding)| {
                    let rule = sql::serde_name(&finding.rule)?;
                    let level = sql::serde_name(&finding.level)?;
                    let reading = finding.reading.as_ref().map(pack_json).transpose()?;
                    Ok((id, n, finding, rule, level, reading))
                })
                .collect::<Result<Vec<FindingRow>, Failure>>()?;
            FINDINGS.run(&mut tx, findings, bind_finding).await?;
            tx.commit().await
        })
        .await
    }

    async fn attribution(
        &self,
        evaluation: EvaluationId,
    ) -> Result<Option<Attribution>, StoreError> {
        self.run("read an attribution", async {
            let mut connection = self.reader().await;
            // both queries see one state, even while a new attribution replaces this one
            let mut tx = connection.begin().await?;
            let row = args()
                .hash(&evaluation.0)
                .query("SELECT body, evaluation FROM attributions WHERE evaluation = (SELECT id FROM evaluations WHERE hash = ?)")
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let mut attribution: Attribution = unpack_json(row.column(0)?)?;
            let clusters = args()
                .int(row.column(1)?)
                .query("SELECT body FROM clusters WHERE evaluation = ? ORDER BY n")
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
        self.run("read findings", async {
            let rows = args()
                .hash(&evaluation.0)
                .query(
                    "SELECT ordinal, case_id, step, rule, level, confidence, lost, detail, reading FROM findings \
                     WHERE evaluation = (SELECT id FROM evaluations WHERE hash = ?) ORDER BY ordinal, n",
                )
                .fetch_all(&mut *self.reader().await)
                .await?;
            rows.iter()
                .map(|row| {
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
                        reading: row
                            .column::<Option<&[u8]>>(8)?
                            .map(unpack_json)
                            .transpose()?,
                    })
                })
                .collect()
        })
        .await
    }
}

async fn clear(tx: &mut SqliteConnection, evaluation: i64) -> Result<(), Failure> {
    for statement in [
        "DELETE FROM attributions WHERE evaluation = ?",
        "DELETE FROM clusters WHERE evaluation = ?",
        "DELETE FROM findings WHERE evaluation = ?",
    ] {
        args()
            .int(evaluation)
            .query(statement)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
