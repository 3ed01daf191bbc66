//! The report as its templates see it: every figure already a text, every drawing already SVG.

use fapo_domain::model::decision::{Decision, DecisionKind, GateOutcome, LevelLeft, StopReason};
use fapo_domain::model::finding::{Attribution, Cluster};
use fapo_domain::model::job::JobStatus;
use fapo_domain::model::level::Level;
use fapo_domain::model::variant::DiffStats;
use serde::Serialize;

use super::data::{Candidate, Outcome, ReportData, Score, Versus};
use super::tree::branches;
use super::verdict::{evidence, verdict};
use crate::output::format;

/// The whole page.
#[derive(Debug, Serialize)]
pub struct View {
    pub project: String,
    pub description: Option<String>,
    pub job: String,
    pub status: &'static str,
    pub final_: bool,
    pub created: String,
    pub took: String,
    pub metric: String,
    pub rule: String,
    pub verdict: String,
    pub stopped: Option<String>,
    pub improved: bool,
    pub results: Vec<ResultRow>,
    pub structure: Vec<StructureCard>,
    pub same_best: bool,
    pub candidates: Vec<CandidateRow>,
    pub tree: Vec<TreeNode>,
    pub clusters: Vec<ClusterRow>,
    pub remaining: Vec<ClusterRow>,
    pub ceilings: Vec<CeilingRow>,
    pub levels: Vec<LevelRow>,
    pub decisions: Vec<DecisionRow>,
    pub diffs: Vec<DiffView>,
    pub spending_unit: &'static str,
    pub spend: Vec<SpendRow>,
    pub spend_total: SpendRow,
    pub facts: Vec<(String, String)>,
}

/// Baseline against best on one split.
#[derive(Debug, Serialize)]
pub struct ResultRow {
    pub split: &'static str,
    pub note: &'static str,
    pub baseline: String,
    pub baseline_interval: String,
    pub best: String,
    pub best_interval: String,
    pub gain: String,
    pub gain_interval: String,
    pub p: String,
    pub pairs: String,
    pub cost_ratio: String,
    pub metrics: Vec<(String, String, String)>,
}

/// One of the two answers: with the structure kept, and free.
#[derive(Debug, Serialize)]
pub struct StructureCard {
    pub title: &'static str,
    pub note: &'static str,
    pub variant: String,
    pub name: String,
    pub val: String,
    pub val_interval: String,
    pub test: Option<String>,
    pub path: Vec<String>,
}

/// A row of the table of candidates.
#[derive(Debug, Serialize)]
pub struct CandidateRow {
    pub iteration: u32,
    pub variant: String,
    pub parent: String,
    pub level: String,
    pub technique: String,
    pub train: String,
    pub val: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub reason: String,
    pub hypothesis: String,
    pub diff: String,
    pub best: bool,
}

/// A line of the lineage.
#[derive(Debug, Serialize)]
pub struct TreeNode {
    pub row: CandidateRow,
    pub rails: String,
    pub depth: usize,
    pub bar: u32,
}

/// A failure pattern.
#[derive(Debug, Serialize)]
pub struct ClusterRow {
    pub label: String,
    pub step: String,
    pub rule: String,
    pub level: &'static str,
    pub before: String,
    pub after: String,
    pub count: u64,
    pub points: String,
    pub interval: String,
    pub direction: String,
    pub cases: String,
}

/// What a level could bring, before and after.
#[derive(Debug, Serialize)]
pub struct CeilingRow {
    pub level: &'static str,
    pub before: String,
    pub after: String,
}

/// A step of the path through the levels.
#[derive(Debug, Serialize)]
pub struct LevelRow {
    pub when: String,
    pub level: &'static str,
    pub verb: String,
    pub reason: String,
    pub evidence: String,
}

/// A decision.
#[derive(Debug, Serialize)]
pub struct DecisionRow {
    pub seq: u32,
    pub iteration: u32,
    pub what: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub reason: String,
    pub figures: String,
    pub evidence: String,
}

/// A difference between two variants.
#[derive(Debug, Serialize)]
pub struct DiffView {
    pub title: String,
    pub outcome: &'static str,
    pub class: &'static str,
    pub hypothesis: String,
    pub stats: String,
    pub open: bool,
    pub lines: Vec<DiffLine>,
    pub patch: String,
}

/// A line of a difference.
#[derive(Debug, Serialize)]
pub struct DiffLine {
    pub class: &'static str,
    pub text: String,
}

/// One role's spending.
#[derive(Debug, Default, Serialize)]
pub struct SpendRow {
    pub role: String,
    pub cost: String,
    pub calls: String,
    pub input: String,
    pub output: String,
    pub share: u32,
}

impl View {
    /// The report's texts.
    pub fn new(data: &ReportData) -> Self {
        let fixed = data.fixed_structure_best();
        Self {
            project: data.project.clone(),
            description: data.description.clone(),
            job: data.job.short(),
            status: status(data.status),
            final_: data.status.is_final(),
            created: format::moment(data.created_at),
            took: format::duration(data.updated_at.since(data.created_at)),
            metric: data.metric.clone(),
            rule: data.rule.clone(),
            verdict: verdict(data),
            stopped: data
                .stopped()
                .map(|(why, reason)| format!("{}: {reason}", stop(why))),
            improved: data.improved(),
            results: results(data),
            structure: structure(data, fixed),
            same_best: fixed.is_some_and(|candidate| candidate.variant == data.best),
            candidates: data.candidates.iter().map(|c| row(c, data)).collect(),
            tree: tree(data),
            clusters: clusters(data.before.as_ref(), data.after.as_ref()),
            remaining: data
                .after
                .as_ref()
                .or(data.before.as_ref())
                .map_or_else(Vec::new, |left| clusters(Some(left), None)),
            ceilings: ceilings(data),
            levels: data.decisions.iter().filter_map(level_row).collect(),
            decisions: data.decisions.iter().map(decision_row).collect(),
            diffs: diffs(data),
            spending_unit: if data.balance.total().cost.0 == 0 {
                "Model calls"
            } else {
                "Dollars"
            },
            spend: spend(data),
            spend_total: spend_total(data),
            facts: data.facts.clone(),
        }
    }
}

/// A job's status for people.
pub const fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Running => "running",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "cancelled",
    }
}

/// A stop reason for people.
pub const fn stop(why: StopReason) -> &'static str {
    match why {
        StopReason::TargetMet => "target met",
        StopReason::BudgetSpent => "budget spent",
        StopReason::LevelsExhausted => "levels exhausted",
        StopReason::NothingToFix => "nothing to fix",
        StopReason::Cancelled => "cancelled",
        StopReason::TaskDead => "a task died",
        StopReason::NotMeasured => "the baseline could not be measured",
    }
}

fn results(data: &ReportData) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    if let Some(val) = &data.val {
        rows.push(result("validation", "chose the winner", val, data));
    }
    if let Some(test) = &data.test {
        rows.push(result("sealed test", "opened once", test, data));
    }
    rows
}

fn result(
    split: &'static str,
    note: &'static str,
    versus: &Versus,
    data: &ReportData,
) -> ResultRow {
    let interval = |score: &Score| format::percent_interval(score.low, score.high);
    let comparison = versus.comparison.as_ref().filter(|_| data.improved());
    let none = || "–".to_owned();
    let mut names: Vec<&String> = versus.baseline.metrics.keys().collect();
    names.retain(|name| **name != data.metric);
    let value = |score: &Score, name: &String| {
        score
            .metrics
            .get(name)
            .map_or_else(none, |value| format::percent(*value))
    };
    ResultRow {
        split,
        note,
        baseline: format::percent(versus.baseline.mean),
        baseline_interval: interval(&versus.baseline),
        best: format::percent(versus.best.mean),
        best_interval: interval(&versus.best),
        gain: comparison.map_or_else(none, |c| format::points(c.gain)),
        gain_interval: comparison.map_or_else(none, |c| {
            format::points_interval(c.interval.0, c.interval.1)
        }),
        p: comparison.map_or_else(none, |c| format::p_value(c.p_value)),
        pairs: comparison.map_or_else(
            || format::counted(versus.baseline.counted, "case"),
            |c| {
                format!(
                    "{}, {} won, {} lost",
                    format::counted(c.pairs, "pair"),
                    c.wins,
                    c.losses
                )
            },
        ),
        cost_ratio: comparison
            .and_then(|c| c.cost_ratio)
            .map_or_else(none, format::ratio),
        metrics: names
            .into_iter()
            .map(|name| {
                (
                    name.clone(),
                    value(&versus.baseline, name),
                    value(&versus.best, name),
                )
            })
            .collect(),
    }
}

fn structure(data: &ReportData, fixed: Option<&Candidate>) -> Vec<StructureCard> {
    let card = |title, note, candidate: &Candidate| {
        let test = data.test.as_ref().and_then(|test| {
            if candidate.variant == data.best {
                Some(&test.best)
            } else if candidate.parent.is_none() {
                Some(&test.baseline)
            } else {
                None
            }
        });
        StructureCard {
            title,
            note,
            variant: candidate.variant.short(),
            name: name(candidate),
            val: candidate
                .val
                .as_ref()
                .map_or_else(|| "–".to_owned(), |score| format::percent(score.mean)),
            val_interval: candidate.val.as_ref().map_or_else(String::new, |score| {
                format::percent_interval(score.low, score.high)
            }),
            test: test.map(|score| format::percent(score.mean)),
            path: data
                .path_to(candidate.variant)
                .iter()
                .skip(1)
                .map(|step| name(step))
                .collect(),
        }
    };
    let mut cards = Vec::new();
    if let Some(fixed) = fixed {
        cards.push(card(
            "Structure kept",
            "the best reached by prompts and parameters alone",
            fixed,
        ));
    }
    if let Some(free) = data.find(data.best) {
        cards.push(card("Structure free", "the best of all", free));
    }
    cards
}

fn name(candidate: &Candidate) -> String {
    candidate.technique.map_or_else(
        || candidate.outcome.label().to_owned(),
        |technique| technique.to_string().replace('_', " "),
    )
}

fn row(candidate: &Candidate, data: &ReportData) -> CandidateRow {
    let score = |score: &Option<Score>| score.as_ref().map_or_else(|| "–".to_owned(), Score::shown);
    CandidateRow {
        iteration: candidate.iteration,
        variant: candidate.variant.short(),
        parent: candidate.parent.map(|id| id.short()).unwrap_or_default(),
        level: candidate
            .level
            .map(|level| level.to_string())
            .unwrap_or_default(),
        technique: name(candidate),
        train: score(&candidate.train),
        val: score(&candidate.val),
        outcome: candidate.outcome.label(),
        class: candidate.outcome.class(),
        reason: candidate.reason.clone(),
        hypothesis: candidate.hypothesis.clone(),
        diff: stats(candidate.diff),
        best: candidate.variant == data.best,
    }
}

/// The size of a difference for people.
pub fn stats(diff: DiffStats) -> String {
    if diff.files == 0 {
        return String::new();
    }
    format!(
        "{}, +{} −{}",
        format::counted(u64::from(diff.files), "file"),
        diff.added,
        diff.removed
    )
}

fn tree(data: &ReportData) -> Vec<TreeNode> {
    branches(data)
        .into_iter()
        .map(|branch| TreeNode {
            row: row(branch.candidate, data),
            rails: branch.rails,
            depth: branch.depth,
            bar: branch
                .candidate
                .val
                .as_ref()
                .or(branch.candidate.train.as_ref())
                .map_or(0, |score| (score.mean * 100.0).round() as u32),
        })
        .collect()
}

fn clusters(before: Option<&Attribution>, after: Option<&Attribution>) -> Vec<ClusterRow> {
    let first = before.map_or(&[][..], |attribution| &attribution.clusters);
    let second = after.map_or(&[][..], |attribution| &attribution.clusters);
    let find = |list: &[Cluster], id: &str| {
        list.iter()
            .find(|cluster| cluster.id == id)
            .map_or_else(|| "0".to_owned(), |cluster| cluster.count.to_string())
    };
    first
        .iter()
        .chain(
            second
                .iter()
                .filter(|b| !first.iter().any(|a| a.id == b.id)),
        )
        .map(|cluster| ClusterRow {
            label: cluster.label.clone(),
            step: cluster.step.to_string(),
            rule: cluster.rule.name(),
            level: cluster.level.as_str(),
            before: find(first, &cluster.id),
            after: find(second, &cluster.id),
            count: cluster.count,
            points: format!("{:.1}", cluster.recoverable.estimate * 100.0),
            interval: format!(
                "{:.1} to {:.1}",
                cluster.recoverable.low * 100.0,
                cluster.recoverable.high * 100.0
            ),
            direction: cluster.direction.clone(),
            cases: cluster
                .cases
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect()
}

fn ceilings(data: &ReportData) -> Vec<CeilingRow> {
    let value = |attribution: Option<&Attribution>, level: Level| {
        attribution.map_or_else(
            || "–".to_owned(),
            |attribution| {
                attribution.ceilings.get(&level).map_or_else(
                    || "0.0".to_owned(),
                    |points| {
                        format!(
                            "{:.1} ({:.1} to {:.1})",
                            points.estimate * 100.0,
                            points.low * 100.0,
                            points.high * 100.0
                        )
                    },
                )
            },
        )
    };
    if data.before.is_none() && data.after.is_none() {
        return Vec::new();
    }
    Level::ALL
        .into_iter()
        .map(|level| CeilingRow {
            level: level.as_str(),
            before: value(data.before.as_ref(), level),
            after: value(data.after.as_ref(), level),
        })
        .collect()
}

/// Why a level was left, for people.
pub const fn left(why: LevelLeft) -> &'static str {
    match why {
        LevelLeft::Resolved => "left: resolved",
        LevelLeft::Plateau => "left: plateau",
        LevelLeft::Ceiling => "left: ceiling",
        LevelLeft::Exhausted => "left: exhausted",
    }
}

/// A decision's reason without its first words where they only repeat what was decided.
pub fn bare_reason(decision: &Decision) -> &str {
    let (first, rest) = decision
        .reason
        .split_once(": ")
        .unwrap_or(("", &decision.reason));
    let repeats = match &decision.what {
        DecisionKind::LevelLeft { level, .. }
        | DecisionKind::LevelOpened { level }
        | DecisionKind::LevelSkipped { level } => first
            .strip_prefix(level.as_str())
            .is_some_and(|word| matches!(word, " left" | " opened" | " skipped")),
        DecisionKind::Gate { split, .. } => first
            .strip_prefix(split.as_str())
            .is_some_and(|word| matches!(word, " screen" | " gate")),
        DecisionKind::Refusal { .. } | DecisionKind::Stopped { .. } => false,
    };
    if repeats { rest } else { &decision.reason }
}

fn level_row(decision: &Decision) -> Option<LevelRow> {
    let (level, verb) = match decision.what {
        DecisionKind::LevelLeft { level, why } => (level, left(why).to_owned()),
        DecisionKind::LevelOpened { level } => (level, "opened".to_owned()),
        DecisionKind::LevelSkipped { level } => (level, "passed over".to_owned()),
        DecisionKind::Gate { .. } | DecisionKind::Refusal { .. } | DecisionKind::Stopped { .. } => {
            return None;
        }
    };
    Some(LevelRow {
        when: match decision.iteration {
            0 => "at the start".to_owned(),
            iteration => format!("after iteration {iteration}"),
        },
        level: level.as_str(),
        verb,
        reason: bare_reason(decision).to_owned(),
        evidence: pretty(&decision.evidence),
    })
}

fn decision_row(decision: &Decision) -> DecisionRow {
    let (what, outcome, class, figures) = match &decision.what {
        DecisionKind::Gate {
            candidate,
            split,
            outcome,
            comparison,
            ..
        } => {
            let (label, class) = gate(*outcome);
            (
                format!("gate on {split} · {}", candidate.short()),
                label,
                class,
                comparison.as_ref().map(evidence).unwrap_or_default(),
            )
        }
        DecisionKind::Refusal { candidate } => (
            candidate.map_or_else(
                || "lint".to_owned(),
                |candidate| format!("lint · {}", candidate.short()),
            ),
            "refused",
            "refused",
            String::new(),
        ),
        DecisionKind::LevelLeft { level, why } => {
            (format!("level {level}"), left(*why), "level", String::new())
        }
        DecisionKind::LevelOpened { level } => {
            (format!("level {level}"), "opened", "level", String::new())
        }
        DecisionKind::LevelSkipped { level } => (
            format!("level {level}"),
            "passed over",
            "level",
            String::new(),
        ),
        DecisionKind::Stopped { why } => ("search".to_owned(), stop(*why), "stop", String::new()),
    };
    DecisionRow {
        seq: decision.seq,
        iteration: decision.iteration,
        what,
        outcome,
        class,
        reason: bare_reason(decision).to_owned(),
        figures,
        evidence: pretty(&decision.evidence),
    }
}

/// A gate's outcome for people and for style sheets.
pub const fn gate(outcome: GateOutcome) -> (&'static str, &'static str) {
    match outcome {
        GateOutcome::Pass => ("passed", "open"),
        GateOutcome::Reject => ("rejected", "out"),
        GateOutcome::Branch => ("kept, no claim", "maybe"),
        GateOutcome::Promote => ("promoted", "good"),
        GateOutcome::Undecided => ("undecided", "open"),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    if value.is_null() {
        return String::new();
    }
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn diffs(data: &ReportData) -> Vec<DiffView> {
    let path: Vec<_> = data
        .path_to(data.best)
        .iter()
        .map(|step| step.variant)
        .collect();
    let mut shown: Vec<&Candidate> = data
        .candidates
        .iter()
        .filter(|candidate| candidate.parent.is_some() && !candidate.patch.is_empty())
        .collect();
    // the way to the best first, in its order; then the rest in order of creation
    shown.sort_by_key(|candidate| (!path.contains(&candidate.variant), candidate.iteration));
    shown
        .into_iter()
        .map(|candidate| DiffView {
            title: format!(
                "{} · {} · {}",
                candidate.iteration,
                name(candidate),
                candidate.variant.short()
            ),
            outcome: candidate.outcome.label(),
            class: candidate.outcome.class(),
            hypothesis: candidate.hypothesis.clone(),
            stats: stats(candidate.diff),
            open: candidate.outcome == Outcome::Promoted && path.contains(&candidate.variant),
            lines: candidate.patch.lines().map(diff_line).collect(),
            patch: candidate.patch.clone(),
        })
        .collect()
}

/// Tells apart the lines of a patch.
pub fn diff_line(line: &str) -> DiffLine {
    let class = if line.starts_with("+++")
        || line.starts_with("---")
        || line.starts_with("diff ")
        || line.starts_with("index ")
        || line.starts_with("new file")
        || line.starts_with("deleted file")
    {
        "file"
    } else if line.starts_with("@@") {
        "hunk"
    } else if line.starts_with('+') {
        "add"
    } else if line.starts_with('-') {
        "del"
    } else {
        "same"
    };
    DiffLine {
        class,
        text: line.to_owned(),
    }
}

fn spend(data: &ReportData) -> Vec<SpendRow> {
    let total = data.balance.total();
    let share = |cost: u64, calls: u64| {
        let (part, whole) = if total.cost.0 > 0 {
            (cost, total.cost.0)
        } else {
            (calls, total.model_calls)
        };
        (part as f64 / whole.max(1) as f64 * 100.0).round() as u32
    };
    let mut rows: Vec<SpendRow> = data
        .balance
        .spent
        .iter()
        .filter(|(_, spend)| spend.model_calls > 0 || spend.cost.0 > 0)
        .map(|(role, spend)| SpendRow {
            role: role.as_str().to_owned(),
            cost: spend.cost.to_string(),
            calls: format::count(spend.model_calls),
            input: format::count(spend.usage.input_tokens),
            output: format::count(spend.usage.output_tokens),
            share: share(spend.cost.0, spend.model_calls),
        })
        .collect();
    let lost = data.balance.lost;
    if lost.model_calls > 0 || lost.cost.0 > 0 {
        rows.push(SpendRow {
            role: "lost to crashes (worst case)".to_owned(),
            cost: lost.cost.to_string(),
            calls: format::count(lost.model_calls),
            input: "–".to_owned(),
            output: "–".to_owned(),
            share: share(lost.cost.0, lost.model_calls),
        });
    }
    rows
}

fn spend_total(data: &ReportData) -> SpendRow {
    let total = data.balance.total();
    SpendRow {
        role: "total".to_owned(),
        cost: total.cost.to_string(),
        calls: format::count(total.model_calls),
        input: format::count(total.usage.input_tokens),
        output: format::count(total.usage.output_tokens),
        share: 100,
    }
}
