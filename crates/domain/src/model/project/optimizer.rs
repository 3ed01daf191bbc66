//! `proposer:`, `reviewer:`, `acceptance:`, `escalation:` and `diagnosis:`: how the optimizer judges.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Provider;

/// Who writes proposals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposerSpec {
    /// The backend.
    #[serde(default)]
    pub backend: ProposerBackend,
    /// An entry of `models:`, or, for a coding agent, the name of a model of its provider, such as `opus`. Where absent: for
    /// `reflect` the entry `proposer`, else `task`; for a coding agent the entry `proposer`, else the agent's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For coding agents: most turns of a session's first prompt; the one continuation gets half of them.
    #[serde(default = "default_turns")]
    #[schemars(range(min = 2, max = 500))]
    pub turns: u32,
    /// For coding agents: minutes after which a session is killed.
    #[serde(default = "default_minutes")]
    #[schemars(range(min = 0.05, max = 240.0))]
    pub minutes: f64,
    /// For coding agents: most dollars of one session, within `budget.usd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// For coding agents: most train cases that a session may run its change on, paid by the job.
    #[serde(default = "default_tries")]
    pub tries: u32,
    /// For coding agents: most analyses in Python that a session may make of the train runs.
    #[serde(default = "default_analyses")]
    pub analyses: u32,
    /// For `replay`: the file of recorded proposals, relative to the project folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// Proposals from one state at the same time.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1, max = 16))]
    pub parallel: u32,
    /// Most tokens of evidence given to a model.
    #[serde(default = "default_evidence_tokens")]
    #[schemars(range(min = 500))]
    pub evidence_tokens: u32,
}

const fn default_turns() -> u32 {
    40
}
const fn default_minutes() -> f64 {
    15.0
}
const fn default_tries() -> u32 {
    40
}
const fn default_analyses() -> u32 {
    20
}
const fn default_parallel() -> u32 {
    1
}
const fn default_evidence_tokens() -> u32 {
    12_000
}

impl Default for ProposerSpec {
    fn default() -> Self {
        Self {
            backend: ProposerBackend::default(),
            model: None,
            turns: default_turns(),
            minutes: default_minutes(),
            usd: None,
            tries: default_tries(),
            analyses: default_analyses(),
            recording: None,
            parallel: default_parallel(),
            evidence_tokens: default_evidence_tokens(),
        }
    }
}

/// A way of writing proposals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposerBackend {
    /// No model: tries techniques from a catalogue, prompts first. Offline and free.
    Catalogue,
    /// One structured call to a model, given compiled evidence.
    Reflect,
    /// Recorded proposals.
    Replay,
    /// Claude Code, in a sandbox, over the variant's files. The default.
    #[default]
    ClaudeCode,
    /// Codex, likewise.
    Codex,
}

impl ProposerBackend {
    /// The name in files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Reflect => "reflect",
            Self::Replay => "replay",
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }

    /// The provider whose protocol a coding agent speaks.
    pub const fn provider(self) -> Provider {
        match self {
            Self::Codex => Provider::Openai,
            Self::Catalogue | Self::Reflect | Self::Replay | Self::ClaudeCode => {
                Provider::Anthropic
            }
        }
    }

    /// The model that a coding agent is called with where the project names none.
    pub const fn usual_model(self) -> &'static str {
        match self {
            Self::Codex => "gpt-5-codex",
            Self::Catalogue | Self::Reflect | Self::Replay | Self::ClaudeCode => "opus",
        }
    }

    /// Whether it is a coding agent.
    pub const fn is_agent(self) -> bool {
        matches!(self, Self::ClaudeCode | Self::Codex)
    }
}

/// Who reviews proposals that the lints let pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewerSpec {
    /// The backend.
    #[serde(default)]
    pub backend: ReviewerBackend,
    /// An entry of `models:`; `reviewer` where absent, else the proposer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For an agent: most turns of one review.
    #[serde(default = "default_review_turns")]
    #[schemars(range(min = 1))]
    pub turns: u32,
    /// For an agent: most minutes of one review.
    #[serde(default = "default_review_minutes")]
    #[schemars(range(min = 0.1))]
    pub minutes: f64,
    /// For an agent: most dollars of one review, within the job's own cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

const fn default_review_turns() -> u32 {
    20
}
const fn default_review_minutes() -> f64 {
    10.0
}

impl Default for ReviewerSpec {
    fn default() -> Self {
        Self {
            backend: ReviewerBackend::default(),
            model: None,
            turns: default_review_turns(),
            minutes: default_review_minutes(),
            usd: None,
        }
    }
}

impl ReviewerSpec {
    /// The backend that `auto` stands for beside a proposer: none for `catalogue` and `replay`, whose proposals a person
    /// wrote or will read; the model for `reflect`; the same agent for an agent. Any other stands for itself.
    pub const fn resolved(&self, proposer: ProposerBackend) -> ReviewerBackend {
        match (self.backend, proposer) {
            (ReviewerBackend::Auto, ProposerBackend::Catalogue | ProposerBackend::Replay) => {
                ReviewerBackend::None
            }
            (ReviewerBackend::Auto, ProposerBackend::Reflect) => ReviewerBackend::Model,
            (ReviewerBackend::Auto, ProposerBackend::ClaudeCode) => ReviewerBackend::ClaudeCode,
            (ReviewerBackend::Auto, ProposerBackend::Codex) => ReviewerBackend::Codex,
            (backend, _) => backend,
        }
    }
}

/// A way of reviewing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewerBackend {
    /// As fits the proposer: none for `catalogue` and `replay`, `model` for `reflect`, the same agent for an agent.
    #[default]
    Auto,
    /// The lints alone.
    None,
    /// One structured call to a model.
    Model,
    /// Claude Code, in a sandbox of its own that it cannot write in.
    ClaudeCode,
    /// Codex, in a sandbox of its own that it cannot write in.
    Codex,
}

impl ReviewerBackend {
    /// The reviewer that is this coding agent; `None` for what is no agent.
    pub const fn of(agent: ProposerBackend) -> Option<Self> {
        match agent {
            ProposerBackend::ClaudeCode => Some(Self::ClaudeCode),
            ProposerBackend::Codex => Some(Self::Codex),
            ProposerBackend::Catalogue | ProposerBackend::Reflect | ProposerBackend::Replay => None,
        }
    }

    /// The coding agent that it is, where it is one.
    pub const fn agent(self) -> Option<ProposerBackend> {
        match self {
            Self::ClaudeCode => Some(ProposerBackend::ClaudeCode),
            Self::Codex => Some(ProposerBackend::Codex),
            Self::Auto | Self::None | Self::Model => None,
        }
    }

    /// The name in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Model => "model",
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }
}

/// Who reads failures that the rules leave unclear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReaderSpec {
    /// The backend.
    #[serde(default)]
    pub backend: ReaderBackend,
    /// An entry of `models:`, and for an agent any name that it knows; `reader` where absent, else the proposer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Most failures read for one attribution: by a model with one call each, by an agent in one session, which takes at
    /// most 40. Which ones is chosen by the seed.
    #[serde(default = "default_reader_cases")]
    #[schemars(range(min = 1, max = 1000))]
    pub cases: u32,
}

const fn default_reader_cases() -> u32 {
    20
}

impl ReaderSpec {
    /// Most failures that one session of an agent reads: its context holds no more of them.
    pub const MOST_OF_A_SESSION: u32 = 40;
}

impl Default for ReaderSpec {
    fn default() -> Self {
        Self {
            backend: ReaderBackend::default(),
            model: None,
            cases: default_reader_cases(),
        }
    }
}

/// A way of reading failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReaderBackend {
    /// The rules alone.
    #[default]
    None,
    /// One structured call to a model for each failure.
    Model,
    /// Claude Code: one session for all of them, in a sandbox that it cannot write in.
    ClaudeCode,
    /// Codex, likewise.
    Codex,
}

impl ReaderBackend {
    /// The reader that is this coding agent; `None` for what is no agent.
    pub const fn of(agent: ProposerBackend) -> Option<Self> {
        match agent {
            ProposerBackend::ClaudeCode => Some(Self::ClaudeCode),
            ProposerBackend::Codex => Some(Self::Codex),
            ProposerBackend::Catalogue | ProposerBackend::Reflect | ProposerBackend::Replay => None,
        }
    }

    /// The coding agent that it is, where it is one.
    pub const fn agent(self) -> Option<ProposerBackend> {
        match self {
            Self::ClaudeCode => Some(ProposerBackend::ClaudeCode),
            Self::Codex => Some(ProposerBackend::Codex),
            Self::None | Self::Model => None,
        }
    }

    /// The name in files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Model => "model",
            Self::ClaudeCode => "claude-code",
            Self::Codex => "codex",
        }
    }
}

/// When a candidate is accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptanceSpec {
    /// The rule.
    #[serde(default)]
    pub rule: AcceptanceRule,
    /// For `paired_bootstrap`: one-sided error rate of one promotion.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub alpha: f64,
    /// Smallest mean gain on validation that is worth a promotion.
    #[serde(default = "default_min_gain")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_gain: f64,
    /// Smallest share of pairs that must be there for any decision.
    #[serde(default = "default_coverage")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub coverage: f64,
    /// A candidate is dropped before all cases are run once its chance of being no better (bootstrap) is at least this:
    /// on train, and with `paired_bootstrap` on validation.
    #[serde(default = "default_screen")]
    #[schemars(range(min = 0.5, max = 1.0))]
    pub screen: f64,
    /// Times each case is run in the sealed test, for the baseline and for the best.
    #[serde(default = "default_test_repeats")]
    #[schemars(range(min = 1, max = 20))]
    pub test_repeats: u32,
}

const fn default_alpha() -> f64 {
    0.05
}
const fn default_min_gain() -> f64 {
    0.01
}
const fn default_coverage() -> f64 {
    0.9
}
const fn default_screen() -> f64 {
    0.9
}
const fn default_test_repeats() -> u32 {
    1
}

impl Default for AcceptanceSpec {
    fn default() -> Self {
        Self {
            rule: AcceptanceRule::default(),
            alpha: default_alpha(),
            min_gain: default_min_gain(),
            coverage: default_coverage(),
            screen: default_screen(),
            test_repeats: default_test_repeats(),
        }
    }
}

/// A rule of acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcceptanceRule {
    /// The one-sided bootstrap p-value of the paired differences is at most `alpha`, and the gain at least `min_gain`.
    #[default]
    PairedBootstrap,
    /// The mean over all of validation is higher, by at least `min_gain`, whatever the noise: the paper's rule.
    Mean,
}

/// When a level is left and the next one opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationSpec {
    /// Candidates in a row without a promotion that make a plateau.
    #[serde(default = "default_plateau")]
    #[schemars(range(min = 1))]
    pub plateau: u32,
    /// Different techniques that must be among those tried on the incumbent before a plateau counts.
    #[serde(default = "default_techniques")]
    #[schemars(range(min = 1))]
    pub techniques: u32,
    /// Points that attribution must give a level before it is opened.
    #[serde(default = "default_min_recoverable")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_recoverable: f64,
}

const fn default_plateau() -> u32 {
    3
}
const fn default_techniques() -> u32 {
    3
}
const fn default_min_recoverable() -> f64 {
    0.02
}

impl Default for EscalationSpec {
    fn default() -> Self {
        Self {
            plateau: default_plateau(),
            techniques: default_techniques(),
            min_recoverable: default_min_recoverable(),
        }
    }
}

/// Thresholds of the attribution rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiagnosisSpec {
    /// A case below this score is a failure.
    #[serde(default = "default_failure_below")]
    pub failure_below: f64,
    /// The key of `expected` that lists gold documents (ids or titles); found by itself where it is called
    /// `supporting_titles`, `gold_titles`, `gold_docs` or `doc_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold_documents: Option<String>,
    /// `retrieval_low_overlap` fires below this share of query words found in what was retrieved.
    #[serde(default = "default_overlap")]
    pub overlap: f64,
    /// `answer_buried` fires when the output is longer than this multiple of the answer.
    #[serde(default = "default_buried")]
    pub buried_ratio: f64,
    /// How many documents beyond `k` a `retrieve` step notes down for diagnosis.
    #[serde(default = "default_probe")]
    #[schemars(range(min = 0, max = 1000))]
    pub probe_depth: u32,
    /// Who reads failures that the rules leave unclear.
    #[serde(default)]
    pub reader: ReaderSpec,
}

const fn default_failure_below() -> f64 {
    1.0
}
const fn default_overlap() -> f64 {
    0.2
}
const fn default_buried() -> f64 {
    1.5
}
const fn default_probe() -> u32 {
    50
}

impl Default for DiagnosisSpec {
    fn default() -> Self {
        Self {
            failure_below: default_failure_below(),
            gold_documents: None,
            overlap: default_overlap(),
            buried_ratio: default_buried(),
            probe_depth: default_probe(),
            reader: ReaderSpec::default(),
        }
    }
}
