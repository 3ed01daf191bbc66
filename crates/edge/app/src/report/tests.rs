use fapo_domain::model::job::JobStatus;

use super::data::Outcome;
use super::fixture::{report, untested, variant};
use super::tree::branches;
use super::verdict::verdict;
use super::*;

#[test]
fn the_page_is_complete_and_escapes_what_cases_and_models_wrote() {
    let page = html(&report()).unwrap();
    assert!(
        !page.contains("<script"),
        "case text reached the page as markup"
    );
    assert!(
        page.contains("&lt;script&gt;alert("),
        "the patch is shown as text"
    );
    assert!(
        !page.contains("<b>sentence</b>"),
        "a label reached the page as markup"
    );
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(
            !page.contains(outside),
            "the page refers to the outside: {outside}"
        );
    }
    for drawing in [
        "Scores of all candidates",
        "Spending by iteration",
        "Points lost by failure",
    ] {
        assert!(page.contains(drawing), "no drawing: {drawing}");
    }
    if let Some(folder) = option_env!("FAPO_SHOW_REPORT") {
        std::fs::write(std::path::Path::new(folder).join("report.html"), &page).unwrap();
    }
}

#[test]
fn the_markdown_report_reads_well() {
    insta::assert_snapshot!(markdown(&report()).unwrap());
}

#[test]
fn what_a_model_read_in_failures_is_told_with_its_proof_and_escaped() {
    use fapo_domain::ContentHash;
    use fapo_domain::model::finding::{CaseReading, FailureKind, ReaderSummary, Reading};
    use fapo_domain::model::session::SessionId;
    let mut data = report();
    let mut before = data.before.take().unwrap();
    before.clusters[0].readings = vec![CaseReading {
        case: "q-014".into(),
        reading: Reading {
            kind: FailureKind::Knowledge,
            step: "retrieve".into(),
            quote: "<script>alert(1)</script>".to_owned(),
            explanation: "the second document was never asked for".to_owned(),
        },
    }];
    before.reader = Some(ReaderSummary {
        unclear: 9,
        asked: 4,
        kept: 2,
        discarded: 1,
        unusable: 1,
        note: Some("no call is left".to_owned()),
        session: Some(SessionId(ContentHash::of(b"session"))),
        ..ReaderSummary::default()
    });
    data.before = Some(before);
    data.after = None;
    let text = markdown(&data).unwrap();
    for part in [
        "a model read 4 of them and proved 2 readings",
        "2 were thrown away: 1 quoted what is not there",
        "left unread: no call is left",
        &format!(
            "It read in session {}.",
            ContentHash::of(b"session").short()
        ),
        "knowledge at retrieve (q-014): the second document was never asked for",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let page = html(&data).unwrap();
    assert!(page.contains("never asked for"));
    assert!(
        !page.contains("<script"),
        "a quote reached the page as markup"
    );
}

#[test]
fn a_report_is_the_same_every_time() {
    assert_eq!(html(&report()).unwrap(), html(&report()).unwrap());
}

#[test]
fn markdown_keeps_untrusted_text_out_of_its_markup() {
    assert_eq!(
        markdown_text("a | b\n<i>*x*</i>"),
        r"a \| b &lt;i&gt;\*x\*&lt;/i&gt;"
    );
    let text = "before\n````\nafter\n";
    let fenced = fence(text, Some("diff"));
    assert!(fenced.starts_with("`````diff\n"), "{fenced}");
    assert!(fenced.ends_with("\n`````"), "{fenced}");
}

#[test]
fn a_report_of_a_job_that_has_only_begun_can_be_rendered() {
    let mut data = report();
    data.status = JobStatus::Running;
    data.candidates.truncate(1);
    data.candidates[0].val = None;
    data.candidates[0].train = None;
    data.best = data.candidates[0].variant;
    data.val = None;
    data.test = None;
    data.before = None;
    data.after = None;
    data.decisions.clear();
    data.spending.clear();
    data.balance = fapo_domain::ports::ledger::Balance::default();
    assert!(html(&data).unwrap().contains("has not ended"));
    assert!(markdown(&data).unwrap().contains("has not ended"));
}

#[test]
fn the_best_with_the_structure_kept_never_comes_from_below_a_structural_change() {
    let data = report();
    // 7 is a prompt edit, but of a variant with another structure
    assert_eq!(data.fixed_structure_best().unwrap().variant, variant(1));
    assert!(!data.keeps_structure(variant(7)));
    assert!(data.keeps_structure(variant(1)));
}

#[test]
fn the_verdict_claims_no_more_than_the_test_shows() {
    let mut data = report();
    assert!(
        verdict(&data).contains("a gain of 41.6 points"),
        "{}",
        verdict(&data)
    );
    let comparison = data.test.as_mut().unwrap().comparison.as_mut().unwrap();
    comparison.p_value = 0.2;
    assert!(
        verdict(&data).contains("could still be chance"),
        "{}",
        verdict(&data)
    );
    let comparison = data.test.as_mut().unwrap().comparison.as_mut().unwrap();
    comparison.gain = -0.01;
    assert!(
        verdict(&data).contains("did not hold"),
        "{}",
        verdict(&data)
    );
    data.test = None;
    assert!(
        verdict(&data).contains("no sealed test"),
        "{}",
        verdict(&data)
    );
    data.best = variant(0);
    assert!(
        verdict(&data).contains("Nothing beat the baseline"),
        "{}",
        verdict(&data)
    );
    // what was never tried was not beaten
    for candidate in data.candidates.iter_mut().skip(1) {
        candidate.outcome = Outcome::Refused;
    }
    assert!(
        verdict(&data).starts_with("Every proposal was refused"),
        "{}",
        verdict(&data)
    );
    data.candidates.truncate(1);
    assert!(
        verdict(&data).starts_with("No change was tried"),
        "{}",
        verdict(&data)
    );
}

#[test]
fn a_report_says_why_the_sealed_test_was_not_run() {
    let data = untested();
    for page in [markdown(&data).unwrap(), html(&data).unwrap()] {
        let words = "No sealed test was run: the dataset has no test cases.";
        assert!(page.contains(words), "{page}");
    }
    assert!(!markdown(&report()).unwrap().contains("No sealed test"));
}

#[test]
fn the_tree_shows_each_variant_once_below_its_parent() {
    let data = report();
    let lines: Vec<String> = branches(&data)
        .iter()
        .map(|branch| format!("{}{}", branch.rails, branch.candidate.iteration))
        .collect();
    let expected = "0\n└─ 1\n   ├─ 2\n   ├─ 3\n   ├─ 4\n   ├─ 5\n   └─ 6\n      └─ 7\n         ├─ 8\n         └─ 9";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn a_damaged_lineage_ends_instead_of_looping() {
    let mut data = report();
    data.candidates[1].parent = Some(variant(7));
    assert_eq!(branches(&data).len(), data.candidates.len());
    assert!(data.path_to(variant(7)).len() <= data.candidates.len());
    assert_eq!(data.candidates[1].outcome, Outcome::Promoted);
}

#[test]
fn a_state_of_another_version_is_said_so_with_its_reason() {
    let mut job = super::fixture::rows::job();
    job.state = serde_json::json!({"of": "another version"});
    let error = super::assemble::read_state(&job).unwrap_err();
    assert!(error.to_string().contains("another version of fapo"));
    let reason = crate::cli::advice::reason(&error);
    assert_eq!(reason.as_deref(), Some("JOB_STATE_UNREADABLE"));
}
