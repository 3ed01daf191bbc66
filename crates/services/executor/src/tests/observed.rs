//! What traces and metrics see of cases.

use fapo_domain::telemetry as names;
use fapo_testkit::observed::Observed;

use super::house::House;
use super::pipelines::{DIAMOND, SIDES};
use super::script::Script;
use super::stage::tree;
use fapo_domain::model::case::Split;
use fapo_domain::ports::variants::Variants;

#[tokio::test]
async fn a_block_is_a_span_per_case_and_per_step_and_counts_them() {
    let house = House::new(2, |_| {}, |cache| Script::echo().with_cache(cache)).await;
    let variant = house
        .store
        .put_variant(&tree(DIAMOND, &SIDES))
        .await
        .unwrap();
    let (observed, _guard) = Observed::on_this_thread(false);
    let evaluation = house.evaluation(variant, Split::Train);
    let (_, runs) = house.evaluate(&evaluation).await;
    let spans = observed.spans();
    let of = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!((of("case"), of("step")), (runs.len(), 3 * runs.len()));
    for case in spans.iter().filter(|span| span.name == "case") {
        assert_eq!(case.fields[names::STATUS], "completed");
        assert_eq!(
            case.fields[names::EVALUATION_ID],
            evaluation.id().to_string()
        );
    }
    for step in spans.iter().filter(|span| span.name == "step") {
        assert_eq!(step.parent.as_deref(), Some("case"));
        assert_eq!(step.fields[names::STATUS], "ok");
        assert_eq!(step.fields[names::CACHE_HIT], "false");
    }
    let completed = [("status", "completed")];
    let count = runs.len() as f64;
    assert_eq!(observed.counted("fapo_cases_total", &completed), count);
    let llm = [("kind", "llm"), ("status", "ok")];
    assert_eq!(observed.counted("fapo_steps_total", &llm), 2.0 * count);
    assert_eq!(observed.measured("fapo_case_seconds"), runs.len());
}
