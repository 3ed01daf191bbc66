//! A made-up world in which tasks have results: variants with hidden qualities, cases with hidden faults. Everything is
//! a pure function of the world's seed and of what is asked, so two runs of one job meet the same results.

use std::collections::{BTreeMap, BTreeSet};

use fapo_domain::hash::{ContentHash, Hasher};
use fapo_domain::model::case::Split;
use fapo_domain::model::evaluation::{Block, EvaluationSpec};
use fapo_domain::model::finding::{Attribution, Cluster, Points, Rule};
use fapo_domain::model::job::{BlockExecuted, Proposed, Reviewed};
use fapo_domain::model::level::{Level, Technique};
use fapo_domain::model::proposal::{
    Lint, LintFinding, LintReport, Review, ReviewCheck, ReviewFinding, ReviewSeverity,
    ReviewVerdict, Revise,
};
use fapo_domain::model::score::{Comparison, ScoreStatus, ScoreSummary};
use fapo_domain::model::task::{ProposeTask, ReviewTask, TaskPayload};
use fapo_domain::model::variant::DiffStats;
use fapo_domain::{CaseId, MicroUsd, Spend, VariantId};
use serde_json::Value;

/// What a variant is like.
#[derive(Debug, Clone, Default)]
pub struct Quality {
    /// Faults it does not have any more.
    pub mended: BTreeSet<Level>,
    /// Its technique, if it is not the baseline.
    pub technique: Option<Technique>,
    /// Cost of a case over the baseline's.
    pub cost: f64,
    /// Which proposal it was, from 0.
    pub number: usize,
}

/// The world's rules.
#[derive(Debug, Clone)]
pub struct World {
    pub seed: u64,
    /// Share of the cases that have a fault at each level.
    pub faults: BTreeMap<Level, f64>,
    /// Share of a variant's answers that are wrong by chance.
    pub noise: f64,
    /// Chance that a proposal at the right level mends its fault.
    pub skill: f64,
    /// Share of proposals that are refused, unusable, repeated, or none.
    pub trouble: f64,
    /// Shares of proposals that the reviewer fails, warns of, and says nothing usable about; `None` without a reviewer.
    pub reviewer: Option<(f64, f64, f64)>,
    /// Share of case results that are missing at first, and for good.
    pub missing: (f64, f64),
    /// Micro-dollars and calls of a case.
    pub case_cost: u64,
    /// Whether the baseline's answers on train and val are in the step cache.
    pub warm: bool,
    /// Whether the provider is down for a candidate: by the candidate's number, and how often it was run before.
    pub outage: fn(usize, u32) -> bool,
    /// Whether the proposer works through a list, and leaves out what it is told was tried.
    pub catalogue: bool,
    /// Proposals after which the proposer has no more ideas at a level.
    pub ideas: u32,
    pub known: BTreeMap<VariantId, Quality>,
}

pub fn baseline() -> VariantId {
    VariantId(ContentHash::of(b"baseline"))
}

impl World {
    pub fn new(seed: u64) -> Self {
        let first = Quality {
            cost: 1.0,
            ..Quality::default()
        };
        Self {
            seed,
            faults: BTreeMap::from([(Level::Prompt, 0.3)]),
            noise: 0.05,
            skill: 0.6,
            trouble: 0.0,
            reviewer: None,
            missing: (0.0, 0.0),
            case_cost: 100,
            warm: false,
            outage: |_, _| false,
            catalogue: false,
            ideas: u32::MAX,
            known: BTreeMap::from([(baseline(), first)]),
        }
    }

    pub fn with_faults(seed: u64, prompt: f64, parameter: f64, structure: f64) -> Self {
        Self {
            faults: BTreeMap::from([
                (Level::Prompt, prompt),
                (Level::Parameter, parameter),
                (Level::Structure, structure),
            ]),
            ..Self::new(seed)
        }
    }

    pub fn quality(&self, variant: VariantId) -> &Quality {
        &self.known[&variant]
    }

    /// A number in `[0, 1)`. Cheap, because a simulation draws millions: eight bytes of each part through SplitMix64.
    fn chance(&self, purpose: u64, about: &[u64]) -> f64 {
        let mut z = self.seed ^ purpose;
        for part in about {
            z = mix(z ^ *part);
        }
        (mix(z) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn fault(&self, split: Split, case: u64) -> Option<Level> {
        let drawn = self.chance(1, &[split as u64, case]);
        let mut below = 0.0;
        self.faults.iter().find_map(|(level, share)| {
            below += share;
            (drawn < below).then_some(*level)
        })
    }

    /// A case's score under a variant; `None` is missing for good.
    fn score(&self, of: &EvaluationSpec, case: u64) -> Option<u64> {
        let about = [
            number(of.variant),
            of.split as u64,
            case,
            u64::from(of.sample),
        ];
        if self.chance(2, &about) < self.missing.1 {
            return None;
        }
        let quality = self.quality(of.variant);
        if of.variant != baseline() && (self.outage)(quality.number, of.attempt) {
            return None;
        }
        let faulty = self
            .fault(of.split, case)
            .is_some_and(|level| !quality.mended.contains(&level));
        let slip = self.chance(3, &about) < self.noise;
        Some(u64::from(!faulty && !slip))
    }

    /// What a task brings.
    pub fn result(&mut self, payload: &TaskPayload) -> Value {
        let json = |value| serde_json::to_value(value).unwrap();
        match payload {
            TaskPayload::Execute {
                evaluation,
                block,
                round,
            } => json(self.execute(evaluation, *block, *round)),
            TaskPayload::Score { evaluation, block } => {
                serde_json::to_value(self.summary(evaluation, *block)).unwrap()
            }
            TaskPayload::Compare { a, b, upto, .. } => {
                serde_json::to_value(self.compare(a, b, *upto)).unwrap()
            }
            TaskPayload::Attribute { evaluation } => {
                serde_json::to_value(self.attribute(evaluation)).unwrap()
            }
            TaskPayload::Propose(task) => serde_json::to_value(self.propose(task)).unwrap(),
            TaskPayload::Review(task) => serde_json::to_value(self.review(task)).unwrap(),
        }
    }

    fn execute(&self, of: &EvaluationSpec, block: Block, round: u32) -> BlockExecuted {
        let missing = (block.start..block.end)
            .filter(|case| {
                let first = self.chance(4, &[number(of.variant), *case, u64::from(round)]);
                self.score(of, *case).is_none() || (round == 0 && first < self.missing.0)
            })
            .count() as u64;
        BlockExecuted {
            completed: block.len() - missing,
            missing,
            budget_exhausted: false,
            spend: self.spend(of, block.len()),
        }
    }

    /// What running so many cases costs.
    pub fn spend(&self, of: &EvaluationSpec, cases: u64) -> Spend {
        if self.warm && of.variant == baseline() && of.split != Split::Test {
            Spend::default()
        } else {
            self.full_spend(of.variant, cases)
        }
    }

    fn full_spend(&self, variant: VariantId, cases: u64) -> Spend {
        let cost = self.quality(variant).cost * (cases * self.case_cost) as f64;
        Spend {
            cost: MicroUsd(cost as u64),
            model_calls: cases,
            ..Spend::default()
        }
    }

    fn summary(&self, of: &EvaluationSpec, block: Block) -> ScoreSummary {
        let mut summary = ScoreSummary::default();
        for case in block.start..block.end {
            let status = match self.score(of, case) {
                None => ScoreStatus::Missing,
                Some(points) => {
                    summary.sum_micro += points * 1_000_000;
                    ScoreStatus::Scored
                }
            };
            *summary.counts.entry(status).or_default() += 1;
        }
        summary
            .metrics_micro
            .insert("exact_match".to_owned(), summary.sum_micro);
        summary.spend = self.spend(of, block.len());
        summary.full_spend = self.full_spend(of.variant, summary.counted());
        summary
    }

    /// A paired comparison; the p-value is a normal approximation.
    fn compare(&self, a: &EvaluationSpec, b: &EvaluationSpec, upto: u64) -> Comparison {
        let pairs: Vec<(f64, f64)> = (0..upto)
            .filter_map(|case| Some((self.score(a, case)? as f64, self.score(b, case)? as f64)))
            .collect();
        let count = pairs.len().max(1) as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / count;
        let gain = mean(|(a, b)| b - a);
        let variance = pairs
            .iter()
            .map(|(a, b)| (b - a - gain).powi(2))
            .sum::<f64>()
            / count;
        let error = (variance / count).sqrt().max(1e-9);
        Comparison {
            pairs: pairs.len() as u64,
            expected_pairs: upto,
            mean_a: mean(|(a, _)| *a),
            mean_b: mean(|(_, b)| *b),
            gain,
            interval: (gain - 1.64 * error, gain + 1.64 * error),
            confidence: 0.9,
            p_value: if gain == 0.0 {
                1.0
            } else {
                normal_tail(gain / error)
            },
            wins: pairs.iter().filter(|(a, b)| b > a).count() as u64,
            losses: pairs.iter().filter(|(a, b)| b < a).count() as u64,
            resamples: 1000,
            protected_regressions: Vec::new(),
            protected_missing: Vec::new(),
            cost_ratio: Some(self.quality(b.variant).cost / self.quality(a.variant).cost),
            latency_p95_s: Some(1.0),
        }
    }

    fn attribute(&self, of: &EvaluationSpec) -> Attribution {
        let quality = self.quality(of.variant);
        let mut lost: BTreeMap<Level, u64> = BTreeMap::new();
        let (mut cases, mut failures, mut missing) = (0, 0, 0);
        for case in 0..of.cases {
            let Some(points) = self.score(of, case) else {
                missing += 1;
                continue;
            };
            cases += 1;
            if points == 0 {
                failures += 1;
                let fault = self
                    .fault(of.split, case)
                    .filter(|level| !quality.mended.contains(level));
                *lost.entry(fault.unwrap_or(Level::Prompt)).or_default() += 1;
            }
        }
        let total = cases.max(1) as f64;
        let points = |count: u64| Points {
            estimate: count as f64 / total,
            low: count as f64 / total * 0.8,
            high: (count as f64 / total * 1.2 + 0.03).min(1.0),
        };
        let mut clusters: Vec<Cluster> = lost
            .iter()
            .map(|(level, count)| Cluster {
                id: format!("{}@answer", rule(*level).name()),
                label: format!("failures at {level}"),
                step: "answer".into(),
                rule: rule(*level),
                level: *level,
                count: *count,
                cases: vec![CaseId::new("c1")],
                confidence: 0.8,
                recoverable: points(*count),
                direction: "try".to_owned(),
                readings: Vec::new(),
            })
            .collect();
        clusters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
        Attribution {
            cases,
            failures,
            missing,
            mean: (cases - failures) as f64 / total,
            clusters,
            ceilings: Level::ALL
                .into_iter()
                .map(|level| (level, points(lost.get(&level).copied().unwrap_or(0))))
                .collect(),
            reader: None,
        }
    }

    fn propose(&mut self, task: &ProposeTask) -> Proposed {
        let spend = Spend {
            model_calls: 1,
            cost: MicroUsd(self.case_cost * 10),
            ..Spend::default()
        };
        let here = task
            .history
            .iter()
            .filter(|attempt| attempt.parent == task.parent && attempt.level == task.level)
            .count();
        let seed = if self.catalogue {
            here as u64
        } else {
            task.seed
        };
        if let Some(revise) = &task.revise
            && self.chance(10, &[number(revise.candidate)]) < self.trouble
        {
            return self.no_revision(revise, spend);
        }
        let about = [number(task.parent), seed, task.level as u64];
        let trouble = self.chance(5, &about);
        if here >= self.ideas as usize || trouble < self.trouble / 4.0 {
            return Proposed::NoIdea {
                reason: "nothing left to try".to_owned(),
                session: None,
                spend,
            };
        }
        if trouble < self.trouble / 2.0 {
            return Proposed::Unusable {
                reason: "the reply was cut off".to_owned(),
                session: None,
                spend,
            };
        }
        let techniques: Vec<Technique> = TECHNIQUES
            .into_iter()
            .filter(|technique| technique.level() == task.level)
            .collect();
        let drawn = self.chance(6, &about);
        let technique = techniques[(drawn * techniques.len() as f64) as usize];
        let mut hasher = Hasher::new("child");
        hasher.hash(&task.parent.0);
        for part in about {
            hasher.number(part);
        }
        let mut variant = VariantId(hasher.finish());
        if trouble < self.trouble * 0.6 {
            variant = baseline(); // proposes what there was before
        } else {
            let mut quality = self.quality(task.parent).clone();
            quality.number = self.known.len() - 1;
            quality.technique = Some(technique);
            if self.chance(7, &about) < self.skill {
                quality.mended.insert(technique.level());
            }
            if technique.level() == Level::Structure {
                quality.cost *= 1.5;
            }
            self.known.entry(variant).or_insert(quality);
        }
        Proposed::Variant {
            variant,
            technique,
            idea: format!("{technique}/answer"),
            hypothesis: format!("{technique} helps"),
            cluster: task.cluster.as_ref().map(|cluster| cluster.id.clone()),
            expected_gain: Some(0.01),
            expected_cost_ratio: None,
            session: None,
            prompt_hash: Some(ContentHash::of(b"proposer")),
            spend,
        }
    }

    /// What comes back where a revision was asked for and none is made.
    fn no_revision(&self, revise: &Revise, spend: Spend) -> Proposed {
        let drawn = self.chance(11, &[number(revise.candidate)]);
        if drawn < 0.3 {
            return Proposed::NoIdea {
                reason: "nothing to mend".to_owned(),
                session: None,
                spend,
            };
        }
        if drawn < 0.6 {
            return Proposed::Unusable {
                reason: "the reply was cut off".to_owned(),
                session: None,
                spend,
            };
        }
        Proposed::Variant {
            variant: revise.candidate,
            technique: revise.technique,
            idea: revise.idea.clone(),
            hypothesis: revise.hypothesis.clone(),
            cluster: None,
            expected_gain: None,
            expected_cost_ratio: None,
            session: None,
            prompt_hash: None,
            spend,
        }
    }

    /// What the reviewer says of a candidate, also of one that the lints refuse: it must not matter then.
    fn says(&self, candidate: VariantId) -> Option<Review> {
        let (fail, warn, unusable) = self.reviewer?;
        let drawn = self.chance(9, &[number(candidate)]);
        let finding = |severity| ReviewFinding {
            check: ReviewCheck::OverSpecific,
            severity,
            place: "prompts/answer.md".to_owned(),
            message: "names one town".to_owned(),
        };
        let mut review = if drawn < unusable {
            Review::unusable("the reply was cut off")
        } else if drawn < unusable + fail {
            let found = vec![finding(ReviewSeverity::Block)];
            Review::judged(ReviewVerdict::Pass, found, "too narrow")
        } else if drawn < unusable + fail + warn {
            let found = vec![finding(ReviewSeverity::Warn)];
            Review::judged(ReviewVerdict::Warn, found, "a little narrow")
        } else {
            Review::judged(ReviewVerdict::Pass, Vec::new(), "fine")
        };
        review.prompt_hash = Some(ContentHash::of(b"reviewer"));
        Some(review)
    }

    fn review(&self, task: &ReviewTask) -> Reviewed {
        let quality = self.quality(task.candidate);
        let level = quality.technique.map(Technique::level);
        let mut lints = LintReport {
            level,
            ..LintReport::default()
        };
        if self.chance(8, &[number(task.candidate)]) < self.trouble {
            lints.refusals.push(LintFinding {
                lint: Lint::VariableDropped,
                place: "prompts/answer.md".to_owned(),
                message: "`question` is gone".to_owned(),
            });
        }
        Reviewed {
            candidate: task.candidate,
            lints,
            level,
            diff: DiffStats {
                files: 1,
                added: 3,
                removed: 1,
            },
            review: self.says(task.candidate),
            spend: Spend::default(),
        }
    }
}

const TECHNIQUES: [Technique; 14] = [
    Technique::InstructionClarity,
    Technique::OutputConstraint,
    Technique::Decomposition,
    Technique::StepByStep,
    Technique::Role,
    Technique::RetrievalDepth,
    Technique::Temperature,
    Technique::OutputLimit,
    Technique::SampleCount,
    Technique::MultiQuery,
    Technique::ExtraHop,
    Technique::Rerank,
    Technique::Vote,
    Technique::PostProcessor,
];

const fn rule(level: Level) -> Rule {
    match level {
        Level::Prompt => Rule::AnswerForm,
        Level::Parameter => Rule::RetrievalTooShallow,
        Level::Structure => Rule::RetrievalMiss,
    }
}

/// The first eight bytes of a variant's id.
fn number(variant: VariantId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&variant.0.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `P(Z > z)`, by Abramowitz & Stegun 26.2.17.
fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let poly = t
        * (0.319_381_53
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly;
    if z >= 0.0 { tail } else { 1.0 - tail }
}
