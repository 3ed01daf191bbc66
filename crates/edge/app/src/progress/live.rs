//! What a job is at right now, folded from its events: the words and the running score that its summary does not have.

use fapo_domain::EvaluationId;
use fapo_domain::model::job::JobEvent;
use fapo_domain::model::level::Technique;
use fapo_policy::stage::StagePurpose;
use fapo_policy::{Event, Phase, ProposalAnswer};

/// An evaluation under way.
#[derive(Debug, Clone, PartialEq)]
struct Running {
    evaluation: EvaluationId,
    purpose: StagePurpose,
    mean: Option<f64>,
}

/// The end of a job's history, as far as the progress line shows it. Events are to be given from the first one on, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    iteration: u32,
    /// What was tried in each slot of the iteration.
    tried: Vec<(u32, Technique)>,
    stages: Vec<Running>,
}

impl Live {
    /// Takes in one more event. One of a newer program is passed over.
    pub fn take(&mut self, event: &JobEvent) {
        if let Ok(event) = <Event as serde::Deserialize>::deserialize(&event.body) {
            self.fold(event);
        }
    }

    fn fold(&mut self, event: Event) {
        match event {
            Event::StageStarted {
                evaluation,
                purpose,
                ..
            } => self.stages.push(Running {
                evaluation,
                purpose,
                mean: None,
            }),
            Event::BlockScored {
                evaluation, mean, ..
            } => {
                let mut stages = self.stages.iter_mut();
                if let Some(stage) = stages.find(|stage| stage.evaluation == evaluation) {
                    stage.mean = mean;
                }
            }
            Event::StageDone { evaluation, .. } => {
                self.stages.retain(|stage| stage.evaluation != evaluation);
            }
            Event::ProposalAsked { iteration, .. } if iteration != self.iteration => {
                self.iteration = iteration;
                self.tried.clear();
            }
            Event::Proposed {
                slot,
                answer: ProposalAnswer::Variant { technique, .. },
                ..
            } => {
                self.tried.retain(|(known, _)| *known != slot);
                self.tried.push((slot, technique));
            }
            Event::Stopped { .. } | Event::Finished { .. } => self.stages.clear(),
            Event::Submitted { .. }
            | Event::Attributed { .. }
            | Event::ProposalAsked { .. }
            | Event::Proposed { .. }
            | Event::Linted { .. }
            | Event::Reviewed { .. }
            | Event::Compared { .. }
            | Event::Decided { .. }
            | Event::TestOpened { .. }
            | Event::TestSkipped { .. }
            | Event::TestDone { .. }
            | Event::TaskDied { .. }
            | Event::Revived { .. } => {}
        }
    }

    /// The running mean, where one evaluation is under way.
    pub fn mean(&self) -> Option<f64> {
        match self.stages.as_slice() {
            [one] => one.mean,
            _ => None,
        }
    }

    /// What is being done in `phase`, in words.
    pub fn doing(&self, phase: Option<Phase>) -> String {
        let Some(phase) = phase else {
            return "working".to_owned();
        };
        match phase {
            Phase::Submitted => "starting".to_owned(),
            Phase::Evaluating => "evaluating".to_owned(),
            Phase::Baseline => "baseline".to_owned(),
            Phase::Attributing => "finding what fails".to_owned(),
            Phase::Proposing => format!("writing proposal {}", self.iteration),
            Phase::Reviewing => format!("checking proposal {}", self.iteration),
            Phase::Gating => self.gating(),
            Phase::Testing => "sealed test".to_owned(),
            Phase::ComparingTest => "comparing".to_owned(),
            Phase::Finished => "done".to_owned(),
        }
    }

    fn gating(&self) -> String {
        let Some(stage) = self.stages.first() else {
            return format!("deciding on candidate {}", self.iteration);
        };
        let (slot, split) = match stage.purpose {
            StagePurpose::Screen { slot, .. } => (slot, "train"),
            StagePurpose::Validate { slot, .. } => (slot, "val"),
            StagePurpose::Baseline | StagePurpose::Test | StagePurpose::Evaluate => {
                return "evaluating".to_owned();
            }
        };
        let technique = self
            .tried
            .iter()
            .find(|(known, _)| *known == slot)
            .map_or_else(String::new, |(_, technique)| {
                format!(" ({})", technique.to_string().replace('_', " "))
            });
        format!("candidate {}{technique} on {split}", self.iteration)
    }
}

#[cfg(test)]
mod tests {
    use fapo_domain::ContentHash;
    use fapo_domain::clock::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn fold(bodies: Vec<Value>) -> Live {
        let mut live = Live::default();
        for (body, seq) in bodies.into_iter().zip(1..) {
            live.take(&JobEvent {
                seq,
                at: Timestamp(0),
                body,
            });
        }
        live
    }

    fn hash(name: &str) -> Value {
        json!(ContentHash::of(name.as_bytes()))
    }

    fn started(purpose: &Value) -> Value {
        let mut event = json!({
            "event": "stage_started", "evaluation": hash("e"), "variant": hash("v"), "split": "val",
            "sample": 0, "cases": 40, "blocks": 4
        });
        for (key, value) in purpose.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    }

    #[test]
    fn a_candidate_is_named_with_what_was_tried_and_where_it_runs() {
        let purpose = serde_json::to_value(StagePurpose::Validate {
            iteration: 3,
            slot: 0,
        })
        .unwrap();
        let history = vec![
            json!({"event": "proposal_asked", "iteration": 3, "slot": 0, "parent": hash("p"), "level": "prompt",
                "cluster": null}),
            json!({"event": "proposed", "iteration": 3, "slot": 0, "answer": "variant", "variant": hash("v"),
                "technique": "output_constraint", "idea": "i", "hypothesis": "h"}),
            started(&purpose),
            json!({"event": "block_scored", "evaluation": hash("e"), "block": 0, "cases_done": 10, "cases": 40,
                "mean": 0.25, "missing": 0}),
        ];
        let live = fold(history.clone());
        assert_eq!(
            live.doing(Some(Phase::Gating)),
            "candidate 3 (output constraint) on val"
        );
        assert_eq!(live.mean(), Some(0.25));
        let mut done = fold(history);
        done.stages.clear();
        assert_eq!(done.doing(Some(Phase::Gating)), "deciding on candidate 3");
        assert_eq!(done.mean(), None);
        assert_eq!(done.doing(Some(Phase::Reviewing)), "checking proposal 3");
    }

    #[test]
    fn an_event_and_a_phase_of_a_newer_program_are_passed_over() {
        let live = fold(vec![json!({"event": "from_the_future", "x": 1})]);
        assert_eq!(live, Live::default());
        assert_eq!(live.doing(None), "working");
    }
}
