//! Each rule of the table fires on some run, with the table's confidences.

use std::collections::BTreeSet;

use fapo_domain::model::case::Case;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::project::{Metric, ProjectSpec};
use fapo_domain::model::trace::{FinishReason, RunRecord, RunStatus, StepStatus};
use serde_json::json;

use super::super::Flow;
use super::super::table::RULES;
use super::{ask, found, hop_case, single_hop_run, two_hop_run};
use crate::testing::{case_with, flow, project};

/// A run, its rule, and whether that rule is doubtful about it.
type Row = (Rule, bool, Flow, Case, RunRecord);

fn rows() -> Vec<Row> {
    let answered = |text: &str| single_hop_run(found(&["Lake Tarn", "Old Mill"], &[]), text);
    let with = |change: &dyn Fn(&mut RunRecord)| {
        let mut run = answered("Bo Vane");
        change(&mut run);
        run
    };
    let short = |answer: &str| case_with("c0", json!({"question": "q"}), json!({"answer": answer}));
    // of what is asked, only `lake` stands in what was found
    let asked = |question: &str, text: &str| {
        let mut run = single_hop_run(found(&["Lake Tarn"], &[]), text);
        run.steps[0].input = Some(json!({"queries": [question]}));
        run
    };
    let single = |rule, doubtful, run| (rule, doubtful, flow::single_hop(), hop_case(), run);
    vec![
        single(
            Rule::CutOffOutput,
            false,
            with(&|run| run.steps[1].finish = Some(FinishReason::Length)),
        ),
        single(
            Rule::StepFailed,
            false,
            with(&|run| run.steps[1].status = StepStatus::Failed),
        ),
        single(
            Rule::CapHit,
            false,
            with(&|run| run.status = RunStatus::TimedOut),
        ),
        single(Rule::EmptyStep, false, answered("")),
        single(
            Rule::Refusal,
            false,
            with(&|run| run.status = RunStatus::Refused),
        ),
        single(
            Rule::RetrievalTooShallow,
            false,
            single_hop_run(found(&["Lake Tarn"], &["Old Mill"]), "Bo Vane"),
        ),
        single(
            Rule::RetrievalPartial,
            false,
            single_hop_run(found(&["Lake Tarn"], &[]), "Bo Vane"),
        ),
        (
            Rule::RetrievalPartial,
            true,
            flow::two_hop(),
            hop_case(),
            two_hop_run(
                found(&["Lake Tarn"], &[]),
                found(&["Lake Tarn"], &[]),
                "Bo Vane",
            ),
        ),
        single(
            Rule::RetrievalMiss,
            false,
            single_hop_run(found(&["Elm Road"], &[]), "Bo Vane"),
        ),
        (
            Rule::RetrievalMiss,
            true,
            flow::written_query(),
            hop_case(),
            single_hop_run(found(&["Elm Road"], &[]), "Bo Vane"),
        ),
        (
            Rule::RetrievalLowOverlap,
            false,
            flow::single_hop(),
            short("Ada Quill"),
            asked("castle tower", "Bo Vane"),
        ),
        (
            Rule::RetrievalLowOverlap,
            true,
            flow::single_hop(),
            short("Ada Quill"),
            asked("lake castle tower bridge wall gate moat", "Bo Vane"),
        ),
        single(
            Rule::AnswerBuried,
            false,
            answered("It was designed by Ada Quill in her youth."),
        ),
        (
            Rule::AnswerBuried,
            true,
            flow::with_form(),
            short("yes"),
            answered("Yes, because the mill stands there."),
        ),
        single(Rule::AnswerForm, true, answered("ada quill.")),
        single(Rule::Abstained, false, answered("I don't know.")),
        single(Rule::WrongAnswer, false, answered("Bo Vane")),
    ]
}

#[test]
fn every_rule_of_the_table_fires_and_is_as_sure_as_it_says() {
    let mut fired = BTreeSet::new();
    let mut check = |project: &ProjectSpec, (rule, doubtful, flow, case, run): Row| {
        let finding = ask(&flow, project, &case, &run).expect("a finding");
        assert_eq!(finding.rule, rule, "{}", finding.detail);
        let spec = RULES.iter().find(|spec| spec.rule == rule).unwrap();
        let confidence = if doubtful {
            spec.doubtful.unwrap()
        } else {
            spec.confidence
        };
        assert_eq!(finding.confidence, confidence, "{rule:?}");
        fired.insert((rule, doubtful));
    };
    let mut project = project();
    for row in rows() {
        check(&project, row);
    }
    project.scorer.metric = Some(Metric::JsonField);
    let plain = single_hop_run(found(&["Lake Tarn", "Old Mill"], &[]), "label: y");
    check(
        &project,
        (
            Rule::AnswerForm,
            false,
            flow::single_hop(),
            hop_case(),
            plain,
        ),
    );
    let table: BTreeSet<(Rule, bool)> = RULES
        .iter()
        .flat_map(|spec| {
            let doubtful = spec.doubtful.map(|_| (spec.rule, true));
            [Some((spec.rule, false)), doubtful].into_iter().flatten()
        })
        .collect();
    assert_eq!(fired, table);
}
