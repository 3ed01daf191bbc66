//! Bad proposals, each refused by name without a model call; and good ones that pass.

mod bad;
mod good;
mod trees;

use std::collections::BTreeSet;

use fapo_domain::model::case::Split;
use fapo_domain::model::level::Level;
use fapo_domain::model::project::ProjectSpec;
use fapo_domain::model::proposal::{Lint, LintFinding};
use fapo_domain::model::variant::VariantTree;
use serde_json::json;

use super::{Candidate, Leaks, check, tree::normal_hash};
use crate::testing::{case_with, project, tree};
use bad::bad;
use good::good;
use trees::{PIPELINE, PROMPT, cases, limited, parent, pipeline, say};

/// Everything that review says about a child.
fn review(project: &ProjectSpec, open: Level, child: &VariantTree) -> Vec<LintFinding> {
    let parent = parent();
    let earlier = tree(&[
        ("pipeline.yaml", PIPELINE),
        (
            "prompts/answer.md",
            &PROMPT.replace("Use the passages only", "Read the passages first"),
        ),
    ]);
    let keys = BTreeSet::from(["question".to_owned()]);
    let mut refusals = check(&Candidate {
        project,
        open,
        parent: &parent,
        child,
        baseline: Some(&parent),
        earlier: &[normal_hash(&earlier)],
        input_keys: Some(&keys),
    })
    .refusals;
    let mut leaks = Leaks::new(project, &parent, child);
    for (split, case) in cases() {
        leaks.visit(split, &case);
    }
    refusals.extend(leaks.finish());
    refusals
}

#[test]
fn every_bad_proposal_is_refused_by_name() {
    let project = limited();
    let table = bad();
    assert!(table.len() >= 30, "{}", table.len());
    let mut wrong = Vec::new();
    for (name, open, child, lint) in &table {
        let refusals = review(&project, *open, child);
        if !refusals.iter().any(|finding| finding.lint == *lint) {
            wrong.push(format!("{name}: wanted {}, got {refusals:?}", lint.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn steps_outside_the_scope_are_refused() {
    let mut project = limited();
    project.scope.steps = vec!["hop".to_owned()];
    let refusals = review(&project, Level::Prompt, &say("Reply with the name only."));
    assert!(
        refusals
            .iter()
            .any(|finding| finding.lint == Lint::ScopeStep),
        "{refusals:?}"
    );
}

#[test]
fn every_lint_of_the_domain_refuses_something() {
    use Lint as L;
    let all = [
        L::ScopeFile,
        L::ScopeLevel,
        L::ScopeRange,
        L::NoChange,
        L::VariableDropped,
        L::VariableUnknown,
        L::InvalidPipeline,
        L::Unfinished,
        L::TooLarge,
        L::NotText,
        L::Duplicate,
        L::TrainLeak,
        L::HeldOutLeak,
        L::HardCodedAnswer,
        L::HardCodedCase,
        L::Secret,
        L::ForbiddenCode,
        L::PredictedCost,
        L::CaseCap,
    ];
    let tested: BTreeSet<Lint> = bad().into_iter().map(|(_, _, _, lint)| lint).collect();
    // `scope_step` has a test of its own above
    assert_eq!(tested, BTreeSet::from(all));
}

#[test]
fn what_is_too_large_or_no_text_is_looked_at_no_further() {
    let project = limited();
    let mut large = say("TODO");
    large.insert("steps/a.py", "import ".repeat(64 * 1024).into_bytes());
    let mut binary = say("TODO");
    binary.insert("prompts/b.md", vec![0xff]);
    for (child, lint) in [(large, Lint::TooLarge), (binary, Lint::NotText)] {
        let refusals = check(&Candidate {
            project: &project,
            open: Level::Prompt,
            parent: &parent(),
            child: &child,
            baseline: None,
            earlier: &[],
            input_keys: None,
        })
        .refusals;
        assert!(
            !refusals.is_empty() && refusals.iter().all(|finding| finding.lint == lint),
            "{refusals:?}"
        );
    }
}

#[test]
fn a_report_stays_short_whatever_the_files_hold() {
    let mut project = limited();
    project.scope.max_file_bytes = 1 << 20;
    project.scope.max_tree_bytes = 1 << 20;
    let mut child = say("x");
    for number in 0..1000 {
        let path = format!("prompts/{number}{}.sh", "long".repeat(100));
        child.insert(path, format!("TODO {}", "y".repeat(500)).into_bytes());
    }
    let word = "z".repeat(100_000);
    child.insert(
        "pipeline.yaml",
        format!("{PIPELINE}\n{word}: 1\n").into_bytes(),
    );
    let report = check(&Candidate {
        project: &project,
        open: Level::Prompt,
        parent: &parent(),
        child: &child,
        baseline: None,
        earlier: &[],
        input_keys: None,
    });
    assert_eq!(report.refusals.len(), 200);
    for finding in &report.refusals {
        assert!(finding.message.chars().count() <= 400, "{finding:?}");
        assert!(finding.place.chars().count() <= 200, "{finding:?}");
    }
}

#[test]
fn ordinary_edits_raise_no_false_alarm() {
    let project = limited();
    let mut wrong = Vec::new();
    for (name, open, child) in good() {
        let refusals = review(&project, open, &child);
        if !refusals.is_empty() {
            wrong.push(format!("{name}: {refusals:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn held_out_text_is_never_repeated() {
    let project = limited();
    let held_out: Vec<(String, String, String)> = cases()
        .into_iter()
        .filter(|(split, _)| *split != Split::Train)
        .map(|(_, case)| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (
                case.case_id.as_str().to_owned(),
                text(&case.input["question"]),
                text(&case.expected["answer"]),
            )
        })
        .collect();
    for (id, question, answer) in held_out {
        let child = say(&format!("{id}: {question} {answer}"));
        for finding in review(&project, Level::Prompt, &child) {
            let said = finding.message.to_lowercase();
            assert!(!said.contains(&id), "{said}");
            for word in crate::text::words(&question)
                .iter()
                .filter(|word| word.len() > 4)
            {
                assert!(!said.contains(word.as_str()), "{said} holds {word}");
            }
            assert!(
                answer == "yes" || !said.contains(&answer.to_lowercase()),
                "{said}"
            );
        }
    }
}

#[test]
fn what_many_cases_share_is_the_tasks_own_wording() {
    let project = project();
    let child = say("Judge whether the following statement about chemistry is true or false.");
    let mut leaks = Leaks::new(&project, &parent(), &child);
    for number in 0..40 {
        let text = format!(
            "Judge whether the following statement about chemistry is true or false. Item {number}."
        );
        let case = case_with(
            &format!("c-{number}"),
            json!({"question": text}),
            json!({"answer": "true"}),
        );
        leaks.visit(
            if number % 2 == 0 {
                Split::Train
            } else {
                Split::Val
            },
            &case,
        );
    }
    assert_eq!(leaks.finish(), []);
}

#[test]
fn rewired_variables_are_not_lost() {
    let project = project();
    let child = {
        let mut tree = pipeline(
            "output: answer",
            "  - id: hop_query\n    kind: llm\n    prompt: prompts/hop_query.md\n  - id: hop_2\n    kind: retrieve\n    corpus: wiki\n    query: \"{{ steps.hop_query.text }}\"\n    include: [hop]\noutput: answer",
        );
        let query = "Passages: {{ steps.hop.docs }}\nQuestion: {{ question }}\nWrite a query.\n";
        tree.insert("prompts/hop_query.md", query.as_bytes().to_vec());
        let prompt = PROMPT.replace("steps.hop.", "steps.hop_2.");
        tree.insert("prompts/answer.md", prompt.into_bytes());
        tree
    };
    assert_eq!(review(&project, Level::Structure, &child), []);
}

#[test]
fn the_predicted_cost_grows_with_calls() {
    let report = check(&Candidate {
        project: &project(),
        open: Level::Parameter,
        parent: &parent(),
        child: &pipeline("k: 3", "k: 6"),
        baseline: None,
        earlier: &[],
        input_keys: None,
    });
    assert_eq!(report.level, Some(Level::Parameter));
    let ratio = report.predicted_cost_ratio.unwrap();
    assert!(ratio > 1.1 && ratio < 2.0, "{ratio}");
}
