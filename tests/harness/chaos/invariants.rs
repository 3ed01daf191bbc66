//! What must hold once all jobs are final, whatever happened meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fapo_domain::clock::SystemClock;
use fapo_domain::model::case::Split;
use fapo_domain::model::decision::{Decision, DecisionKind, GateOutcome};
use fapo_domain::model::job::{Job, JobStatus};
use fapo_domain::model::score::ScoreSummary;
use fapo_domain::ports::jobs::Jobs as _;
use fapo_domain::ports::ledger::{Amount, Balance, Ledger as _};
use fapo_domain::ports::scores::Scores as _;
use fapo_domain::ports::tasks::Tasks as _;
use fapo_domain::ports::traces::Traces as _;
use fapo_domain::{EvaluationId, JobId, VariantId};
use fapo_store::{PgOptions, PgStore};
use serde_json::Value;

/// How long a process may take to close what it had reserved after its job has ended.
const CLOSED: Duration = Duration::from_secs(30);
/// Rows that are read at once; more than any job here has.
const ALL: u32 = 100_000;

/// What is known from outside the database's rows.
pub(super) struct Known {
    /// The database, past the proxy.
    pub url: String,
    /// Replies that are stored.
    pub replies: u64,
    /// The jobs that clients were told of.
    pub jobs: Vec<String>,
    /// Requests that the models have seen.
    pub requests: u64,
}

/// Holds a store against the invariants.
pub(super) struct Judge {
    store: PgStore,
    violations: Vec<String>,
}

impl Judge {
    /// Checks everything. Returns what does not hold, and each job's lineage hash.
    pub(super) async fn all(known: Known) -> Result<(Vec<String>, Vec<(String, String)>)> {
        let options = PgOptions::new(known.url.parse()?);
        let mut judge = Self {
            store: PgStore::connect(&options, Arc::new(SystemClock)).await?,
            violations: Vec::new(),
        };
        let jobs = judge.store.list_jobs(None, None, ALL).await?;
        judge.each_request_is_one_job(&jobs, &known);
        let mut hashes = Vec::new();
        let (mut spent, mut lost) = (0, 0);
        for job in &jobs {
            let balance = judge.settled(job.id).await?;
            judge.budget(job.id, &balance);
            let calls = |balance: &Balance| {
                balance
                    .spent
                    .iter()
                    .map(|(_, one)| one.model_calls)
                    .sum::<u64>()
            };
            spent += calls(&balance);
            lost += balance.lost.model_calls;
            hashes.push((job.id.to_string(), judge.job(job).await?));
        }
        judge.calls(spent, lost, &known);
        let violations = judge.violations;
        judge.store.disconnect().await;
        Ok((violations, hashes))
    }

    fn hold(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    /// A request that was sent several times is one job, and nothing else became a job.
    fn each_request_is_one_job(&mut self, jobs: &[Job], known: &Known) {
        let stored: BTreeSet<String> = jobs.iter().map(|job| job.id.to_string()).collect();
        let told: BTreeSet<String> = known.jobs.iter().cloned().collect();
        self.hold(stored == told, || {
            format!("clients were told of jobs {told:?}, and there are {stored:?}")
        });
        self.hold(told.len() == known.jobs.len(), || {
            "two requests became the same job".to_owned()
        });
    }

    /// The account, once nothing is reserved any more.
    async fn settled(&mut self, job: JobId) -> Result<Balance> {
        let begun = Instant::now();
        loop {
            let balance = self.store.balance(job).await?;
            let open = balance.reserved != Amount::default();
            if !open || begun.elapsed() > CLOSED {
                self.hold(!open, || {
                    format!("job {job} has {:?} reserved for ever", balance.reserved)
                });
                return Ok(balance);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn budget(&mut self, job: JobId, balance: &Balance) {
        let total = balance.total();
        let caps = balance.caps;
        self.hold(
            caps.model_calls.is_none_or(|cap| total.model_calls <= cap),
            || format!("job {job} spent {total:?} of {caps:?}"),
        );
        self.hold(caps.cost.is_none_or(|cap| total.cost <= cap), || {
            format!("job {job} spent {total:?} of {caps:?}")
        });
    }

    /// Every stored reply was charged, nothing was charged that was not asked for, and every request is accounted for.
    fn calls(&mut self, spent: u64, lost: u64, known: &Known) {
        let Known {
            replies, requests, ..
        } = *known;
        let words = || {
            format!(
                "{spent} calls spent, {lost} lost, {replies} replies stored, {requests} requests"
            )
        };
        self.hold(replies <= spent, || {
            format!("replies that nobody was charged for: {}", words())
        });
        self.hold(spent <= requests, || {
            format!("charged for more than was asked: {}", words())
        });
        self.hold(requests <= spent + lost, || {
            format!("requests that nobody counts: {}", words())
        });
    }

    /// One job's rows; its lineage hash.
    async fn job(&mut self, job: &Job) -> Result<String> {
        let id = job.id;
        self.hold(job.status == JobStatus::Done, || {
            format!("job {id} ended as {:?}", job.status)
        });
        let dead = self.store.dead_tasks(id).await?;
        self.hold(dead.is_empty(), || {
            format!("job {id} has dead tasks: {dead:?}")
        });
        let events = self.store.events(id, 0, ALL).await?;
        let dense = (1_u64..).zip(&events).all(|(seq, event)| event.seq == seq);
        self.hold(dense, || format!("job {id} has gaps in its events"));
        let bodies: Vec<&Value> = events.iter().map(|event| &event.body).collect();
        let mut measured = BTreeMap::new();
        for body in bodies.iter().filter(|body| body["event"] == "stage_done") {
            let stage = Stage::read(body)?;
            let again = measured.insert(stage.evaluation, stage.summary.clone());
            self.hold(again.is_none_or(|before| before == stage.summary), || {
                format!(
                    "job {id} counted {} twice, and differently",
                    stage.evaluation
                )
            });
            if stage.complete {
                self.stage(job, &stage).await?;
            }
        }
        self.hold(!measured.is_empty(), || {
            format!("job {id} measured nothing")
        });
        let decisions = self.store.decisions(id).await?;
        let lineage = self.store.lineage(id).await?;
        let told = bodies.iter().filter(|body| body["event"] == "decided");
        let told: Vec<Decision> = told
            .map(|body| serde_json::from_value(body["decision"].clone()))
            .collect::<Result<_, _>>()?;
        self.hold(told == decisions, || {
            format!("job {id}: the events tell other decisions than the rows")
        });
        let children: Vec<VariantId> = lineage.iter().map(|row| row.child).collect();
        self.promotions(job, &decisions, &children);
        Ok(fapo_policy::lineage_hash(&lineage, &decisions).to_string())
    }

    /// A complete evaluation has each of its cases once, as a run and as a score, and its sums are theirs.
    async fn stage(&mut self, job: &Job, stage: &Stage) -> Result<()> {
        let Stage {
            evaluation,
            split,
            summary,
            ..
        } = stage;
        let cases = job.spec.cases.get(split).copied().unwrap_or(0);
        let ordinals: Vec<u64> = (0..cases).collect();
        let runs = self.store.finished_ordinals(*evaluation, &ordinals).await?;
        self.hold(runs == ordinals, || {
            format!(
                "{evaluation} has runs of {} of its {cases} cases",
                runs.len()
            )
        });
        let rows = self.store.scores(*evaluation, 0, ALL).await?;
        let scored: Vec<u64> = rows.iter().map(|row| row.score.ordinal).collect();
        self.hold(scored == ordinals, || {
            format!(
                "{evaluation} has scores of {} of its {cases} cases",
                scored.len()
            )
        });
        let mut sums = ScoreSummary::default();
        for row in &rows {
            sums.add(&row.score);
        }
        let equal = sums.counts == summary.counts
            && sums.sum_micro == summary.sum_micro
            && sums.metrics_micro == summary.metrics_micro;
        self.hold(equal, || {
            format!(
                "{evaluation}: the decisions saw {:?} with {} millionths, and the rows have {:?} with {}",
                summary.counts, summary.sum_micro, sums.counts, sums.sum_micro
            )
        });
        Ok(())
    }

    /// Decisions are numbered without gaps; each promotion is of another variant, which is in the lineage once; and the last one
    /// promoted is what the job ended with.
    fn promotions(&mut self, job: &Job, decisions: &[Decision], lineage: &[VariantId]) {
        let id = job.id;
        let dense = (0_u32..).zip(decisions).all(|(seq, one)| one.seq == seq);
        self.hold(dense, || format!("job {id} has gaps in its decisions"));
        let promoted: Vec<VariantId> = decisions
            .iter()
            .filter_map(|decision| match &decision.what {
                DecisionKind::Gate {
                    candidate,
                    outcome: GateOutcome::Promote,
                    ..
                } => Some(*candidate),
                _ => None,
            })
            .collect();
        let different: BTreeSet<&VariantId> = promoted.iter().collect();
        self.hold(different.len() == promoted.len(), || {
            format!("job {id} promoted a variant twice: {promoted:?}")
        });
        for variant in &promoted {
            let rows = lineage.iter().filter(|child| *child == variant).count();
            self.hold(rows == 1, || {
                format!("job {id} promoted {variant}, which has {rows} rows of lineage")
            });
        }
        let last = promoted.last().unwrap_or(&job.spec.baseline).to_string();
        let incumbent = &job.state["incumbent"]["variant"];
        self.hold(incumbent.as_str() == Some(&last), || {
            format!("job {id} promoted {last} last, and ended with {incumbent}")
        });
    }
}

/// A `stage_done` event.
struct Stage {
    evaluation: EvaluationId,
    split: Split,
    complete: bool,
    summary: ScoreSummary,
}

impl Stage {
    fn read(body: &Value) -> Result<Self> {
        let field = |name: &str| {
            body.get(name)
                .cloned()
                .with_context(|| format!("a stage has {name}"))
        };
        Ok(Self {
            evaluation: serde_json::from_value(field("evaluation")?)?,
            split: serde_json::from_value(field("split")?)?,
            complete: serde_json::from_value(field("complete")?)?,
            summary: serde_json::from_value(field("summary")?)?,
        })
    }
}
