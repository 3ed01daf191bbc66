use fapo_domain::model::finding::{Cluster, Rule};

use super::*;

const START: f64 = 0.4;

fn attribution(prompt: f64, parameter: f64, structure: f64) -> Attribution {
    let given = [
        (Level::Prompt, prompt, Rule::AnswerForm),
        (Level::Parameter, parameter, Rule::RetrievalTooShallow),
        (Level::Structure, structure, Rule::RetrievalMiss),
    ];
    let spread = |estimate: f64| Points {
        estimate,
        low: (estimate - 0.05).max(0.0),
        high: estimate + 0.05,
    };
    Attribution {
        cases: 100,
        failures: 60,
        missing: 0,
        mean: START,
        clusters: given
            .iter()
            .filter(|(_, estimate, _)| *estimate > 0.0)
            .map(|(level, estimate, rule)| Cluster {
                id: format!("{}@answer", rule.name()),
                label: rule.name(),
                step: "answer".into(),
                rule: *rule,
                level: *level,
                count: (*estimate * 100.0) as u64,
                cases: Vec::new(),
                confidence: 0.8,
                recoverable: spread(*estimate),
                direction: String::new(),
                readings: Vec::new(),
            })
            .collect(),
        ceilings: given
            .iter()
            .map(|(level, estimate, _)| (*level, spread(*estimate)))
            .collect(),
        reader: None,
    }
}

struct Fixture {
    scope: ScopeSpec,
    escalation: EscalationSpec,
    levels: Levels,
}

impl Fixture {
    fn new(allow: &[Level]) -> Self {
        Self {
            scope: ScopeSpec {
                allow: allow.to_vec(),
                ..ScopeSpec::default()
            },
            escalation: EscalationSpec::default(),
            levels: Levels::default(),
        }
    }

    fn settle(&mut self, attribution: &Attribution, mean: f64) -> Vec<(Level, LevelStatus)> {
        let rules = Rules {
            scope: &self.scope,
            escalation: &self.escalation,
        };
        self.levels
            .settle(rules, attribution, mean)
            .into_iter()
            .map(|step| (step.level, step.to))
            .collect()
    }

    fn try_one(&mut self, technique: Technique, level: Level, outcome: AttemptOutcome) {
        self.levels.record(&[Try {
            technique: Some(technique),
            level: Some(level),
            outcome,
            strategy: Strategy::Free,
        }]);
    }

    fn lose(&mut self, techniques: &[Technique]) {
        for technique in techniques {
            self.try_one(
                *technique,
                technique.level(),
                AttemptOutcome::RejectedOnTrain,
            );
        }
    }
}

const THREE: [Technique; 3] = [
    Technique::InstructionClarity,
    Technique::OutputConstraint,
    Technique::Decomposition,
];

fn left(why: LevelLeft) -> LevelStatus {
    LevelStatus::Left { why }
}

#[test]
fn the_lowest_allowed_level_opens_whatever_attribution_says() {
    let mut fixture = Fixture::new(&Level::ALL);
    let steps = fixture.settle(&attribution(0.0, 0.0, 0.5), START);
    assert_eq!(steps, vec![(Level::Prompt, LevelStatus::Open)]);

    let mut deep = Fixture::new(&[Level::Structure]);
    let steps = deep.settle(&attribution(0.3, 0.0, 0.0), START);
    assert_eq!(
        steps,
        vec![
            (Level::Prompt, LevelStatus::Skipped),
            (Level::Parameter, LevelStatus::Skipped),
            (Level::Structure, LevelStatus::Open),
        ]
    );
    let mut nothing = Fixture::new(&[]);
    assert!(
        nothing
            .settle(&attribution(0.3, 0.0, 0.0), START)
            .is_empty()
    );
    assert_eq!(nothing.levels.open, None);
}

#[test]
fn a_level_without_points_is_resolved_only_after_several_techniques() {
    let mut fixture = Fixture::new(&Level::ALL);
    let none_here = attribution(0.0, 0.01, 0.5);
    fixture.settle(&none_here, START);
    fixture.escalation.plateau = 100;
    fixture.lose(&THREE[..2]);
    assert!(fixture.settle(&none_here, START).is_empty());
    fixture.lose(&THREE[..1]);
    assert!(
        fixture.settle(&none_here, START).is_empty(),
        "the same technique again"
    );
    fixture.lose(&THREE[2..]);
    assert_eq!(
        fixture.settle(&none_here, START),
        vec![
            (Level::Prompt, left(LevelLeft::Resolved)),
            (Level::Parameter, LevelStatus::Skipped),
            (Level::Structure, LevelStatus::Open),
        ]
    );
    assert_eq!(fixture.levels.open, Some(Level::Structure));
    assert!(fixture.levels.techniques.is_empty(), "fresh counts");
}

#[test]
fn a_plateau_needs_candidates_in_a_row_and_different_techniques() {
    let mut fixture = Fixture::new(&Level::ALL);
    let here = attribution(0.3, 0.2, 0.1);
    fixture.settle(&here, START);
    fixture.lose(&[Technique::Role; 6]);
    assert!(
        fixture.settle(&here, START).is_empty(),
        "one technique is no plateau"
    );
    fixture.lose(&THREE[..2]);
    assert_eq!(
        fixture.settle(&here, START),
        vec![
            (Level::Prompt, left(LevelLeft::Plateau)),
            (Level::Parameter, LevelStatus::Open),
        ]
    );
}

#[test]
fn refusals_count_as_tries_and_five_in_a_row_as_one_candidate() {
    let mut fixture = Fixture::new(&[Level::Prompt]);
    let here = attribution(0.3, 0.0, 0.0);
    fixture.settle(&here, START);
    for round in 0..14 {
        let technique = THREE[round % 3];
        fixture.try_one(technique, Level::Prompt, AttemptOutcome::Refused);
    }
    assert_eq!(fixture.levels.without_promotion, 2);
    assert!(fixture.settle(&here, START).is_empty());
    fixture.try_one(Technique::Role, Level::Prompt, AttemptOutcome::Refused);
    assert_eq!(fixture.levels.without_promotion, 3);
    assert_eq!(
        fixture.settle(&here, START)[0],
        (Level::Prompt, left(LevelLeft::Plateau))
    );
    assert_eq!(fixture.levels.open, None);
}

#[test]
fn an_evaluated_candidate_ends_a_row_of_refusals() {
    let mut fixture = Fixture::new(&[Level::Prompt]);
    fixture.settle(&attribution(0.3, 0.0, 0.0), START);
    for _ in 0..4 {
        fixture.try_one(Technique::Role, Level::Prompt, AttemptOutcome::Refused);
    }
    fixture.lose(&[Technique::Role]);
    fixture.try_one(Technique::Role, Level::Prompt, AttemptOutcome::Refused);
    assert_eq!(fixture.levels.without_promotion, 1);
    assert_eq!(fixture.levels.refused_in_row, 1);
}

#[test]
fn a_level_that_gave_all_it_could_is_left_at_its_ceiling() {
    let mut fixture = Fixture::new(&Level::ALL);
    fixture.settle(&attribution(0.0, 0.2, 0.3), START);
    fixture.lose(&THREE);
    fixture.settle(&attribution(0.0, 0.2, 0.3), START); // resolved, parameter opens
    assert_eq!(fixture.levels.open, Some(Level::Parameter));
    fixture.try_one(
        Technique::RetrievalDepth,
        Level::Parameter,
        AttemptOutcome::Promoted,
    );
    let after = attribution(0.0, 0.05, 0.3);
    assert!(fixture.settle(&after, START + 0.24).is_empty());
    assert_eq!(
        fixture.settle(&after, START + 0.26),
        vec![
            (Level::Parameter, left(LevelLeft::Ceiling)),
            (Level::Structure, LevelStatus::Open),
        ]
    );
}

#[test]
fn the_lowest_level_is_not_at_its_ceiling_before_several_techniques() {
    let mut fixture = Fixture::new(&Level::ALL);
    let hint_was_wrong = attribution(0.01, 0.0, 0.5);
    fixture.settle(&hint_was_wrong, START);
    fixture.try_one(Technique::Role, Level::Prompt, AttemptOutcome::Promoted);
    assert!(fixture.settle(&hint_was_wrong, START + 0.3).is_empty());
    fixture.lose(&THREE);
    assert_eq!(
        fixture.settle(&hint_was_wrong, START + 0.3)[0],
        (Level::Prompt, left(LevelLeft::Ceiling))
    );
}

#[test]
fn without_ideas_a_level_is_exhausted_and_levels_without_points_are_skipped() {
    let mut fixture = Fixture::new(&[Level::Prompt, Level::Structure]);
    let here = attribution(0.3, 0.4, 0.019);
    fixture.settle(&here, START);
    fixture.levels.exhaust();
    assert_eq!(
        fixture.settle(&here, START),
        vec![
            (Level::Prompt, left(LevelLeft::Exhausted)),
            (Level::Parameter, LevelStatus::Skipped),
            (Level::Structure, LevelStatus::Skipped),
        ]
    );
    assert_eq!(fixture.levels.open, None);
}

#[test]
fn the_lowest_level_reopens_after_a_structural_promotion() {
    let mut fixture = Fixture::new(&Level::ALL);
    let deep = attribution(0.0, 0.0, 0.5);
    fixture.settle(&deep, START);
    fixture.lose(&THREE);
    fixture.settle(&deep, START);
    assert_eq!(fixture.levels.open, Some(Level::Structure));
    fixture.try_one(
        Technique::ExtraHop,
        Level::Structure,
        AttemptOutcome::Promoted,
    );
    let steps = fixture.settle(&attribution(0.1, 0.0, 0.02), 0.8);
    assert_eq!(steps, vec![(Level::Prompt, LevelStatus::Open)]);
    assert_eq!(
        fixture.levels.status.len(),
        1,
        "what was left before is open to be reached again"
    );
    assert!((fixture.levels.start_mean - 0.8).abs() < 1e-12);
}

#[test]
fn a_promotion_below_structure_keeps_the_level_with_fresh_counts() {
    let mut fixture = Fixture::new(&Level::ALL);
    let here = attribution(0.3, 0.2, 0.1);
    fixture.settle(&here, START);
    fixture.lose(&THREE[..2]);
    fixture.levels.record(&[
        Try {
            technique: Some(Technique::Role),
            level: Some(Level::Prompt),
            outcome: AttemptOutcome::Promoted,
            strategy: Strategy::Free,
        },
        Try {
            technique: Some(Technique::Ablation),
            level: Some(Level::Prompt),
            outcome: AttemptOutcome::RejectedOnVal,
            strategy: Strategy::Free,
        },
    ]);
    assert_eq!(fixture.levels.open, Some(Level::Prompt));
    assert_eq!(fixture.levels.without_promotion, 0);
    assert!(fixture.levels.techniques.is_empty());
}

#[test]
fn techniques_of_other_levels_do_not_count_for_the_open_one() {
    let mut fixture = Fixture::new(&[Level::Parameter]);
    fixture.settle(&attribution(0.0, 0.2, 0.0), START);
    fixture.lose(&THREE); // prompt edits
    assert!(fixture.levels.techniques.is_empty());
    fixture.try_one(
        Technique::Role,
        Level::Parameter,
        AttemptOutcome::RejectedOnVal,
    );
    assert_eq!(
        fixture.levels.techniques.len(),
        1,
        "its diff reached the level"
    );
}

#[test]
fn reasons_name_the_clusters_and_the_numbers() {
    let mut fixture = Fixture::new(&Level::ALL);
    let here = attribution(0.0, 0.0, 0.42);
    fixture.settle(&here, START);
    fixture.lose(&THREE);
    let rules = Rules {
        scope: &fixture.scope,
        escalation: &fixture.escalation,
    };
    let steps = fixture.levels.settle(rules, &here, START);
    assert_eq!(
        steps[0].reason,
        "prompt left: attribution gives it and the levels below no points, after 3 techniques"
    );
    assert_eq!(
        steps[2].reason,
        "structure opened: attribution gives it 0.420 points (0.370 to 0.470), at least the 0.02 needed: retrieval_miss@answer (42 cases, 0.420)"
    );
    assert_eq!(
        steps[2].evidence["clusters"][0]["id"],
        "retrieval_miss@answer"
    );
}
