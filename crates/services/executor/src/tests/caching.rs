//! What the step cache spares.

use fapo_domain::model::case::Split;
use fapo_domain::ports::variants::Variants;

use super::house::House;
use super::script::{Script, last, say};
use super::stage::tree;

const CHAIN: &str = "
steps:
  - { id: sort, kind: llm, prompt: prompts/sort.md }
  - { id: think, kind: llm, prompt: prompts/think.md }
  - { id: out, kind: llm, prompt: prompts/out.md }
output: out
";

/// Sorts by the last digit of the question's number; a prompt with `strict` in it sorts the zeros elsewhere.
fn sorter(cache: std::sync::Arc<dyn fapo_domain::ports::cache::StepCache>) -> Script {
    Script::new(|request| {
        let message = last(request);
        let Some(rest) = message.strip_prefix("sort") else {
            return say(format!("<{message}>"));
        };
        let zero = rest.split_whitespace().any(|word| word.ends_with('0'));
        say(if zero && rest.contains("strict") {
            "odd one"
        } else {
            "usual"
        })
    })
    .with_cache(cache)
}

fn chain(sort: &str) -> fapo_domain::model::variant::VariantTree {
    tree(
        CHAIN,
        &[
            ("sort", sort),
            ("think", "think {{ question }} {{ steps.sort.text }}"),
            ("out", "out {{ steps.think.text }}"),
        ],
    )
}

#[tokio::test]
async fn an_edit_that_changes_a_tenth_of_the_outputs_costs_a_tenth_downstream() {
    let house = House::new(20, |_| {}, sorter).await;
    let evaluate = async |sort: &str| {
        let variant = house.store.put_variant(&chain(sort)).await.unwrap();
        let (executed, runs) = house
            .evaluate(&house.evaluation(variant, Split::Train))
            .await;
        let asked = house.script.asked();
        assert_eq!(executed.spend.model_calls, asked.len() as u64);
        let of = |step: &str| {
            asked
                .iter()
                .filter(|message| message.starts_with(step))
                .count()
        };
        assert!(runs.iter().all(|run| run.full_spend.model_calls == 3));
        (of("sort"), of("think"), of("out"))
    };
    assert_eq!(evaluate("sort {{ question }}").await, (20, 20, 20));
    // the sorting prompt is another one, but only questions 0 and 10 are sorted otherwise
    assert_eq!(evaluate("sort strict {{ question }}").await, (20, 2, 2));
    // an edit without effect on what is rendered costs nothing
    assert_eq!(
        evaluate("sort strict {# a note #}{{ question }}").await,
        (0, 0, 0)
    );
    assert_eq!(evaluate("sort {{ question }}").await, (0, 0, 0));
}

#[tokio::test]
async fn an_unchanged_end_is_not_paid_for_when_the_middle_says_the_same() {
    let house = House::new(
        10,
        |_| {},
        |cache| {
            Script::new(|request| {
                let message = last(request);
                say(if message.starts_with("think") {
                    "same".to_owned()
                } else {
                    message
                })
            })
            .with_cache(cache)
        },
    )
    .await;
    let mut asked = Vec::new();
    for wording in ["sort {{ question }}", "sort please {{ question }}"] {
        let variant = house.store.put_variant(&chain(wording)).await.unwrap();
        house.evaluate(&house.evaluation(variant, Split::Val)).await;
        asked.push(house.script.asked().len());
    }
    // `out` sees one text only
    assert_eq!(asked[1], 20);
}

#[tokio::test]
async fn another_sample_index_asks_the_model_again() {
    let house = House::new(3, |_| {}, sorter).await;
    let variant = house
        .store
        .put_variant(&chain("sort {{ question }}"))
        .await
        .unwrap();
    for sample in [0, 1, 2] {
        let mut evaluation = house.evaluation(variant, Split::Train);
        evaluation.sample = sample;
        house.evaluate(&evaluation).await;
        assert_eq!(house.script.asked().len(), 9, "sample {sample}");
    }
    // under another job's evaluation of the same sample everything is there
    let mut evaluation = house.evaluation(variant, Split::Train);
    evaluation.sample = 1;
    evaluation.cases = 2;
    house.evaluate(&evaluation).await;
    assert!(house.script.asked().is_empty());
}

#[tokio::test]
async fn equal_calls_within_one_block_are_made_once() {
    let house = House::new(
        8,
        |spec| spec.project.execution.concurrency = 1,
        |cache| Script::table(&[("sort", "usual")]).with_cache(cache),
    )
    .await;
    let variant = house.store.put_variant(&chain("sort")).await.unwrap();
    house
        .evaluate(&house.evaluation(variant, Split::Train))
        .await;
    let asked = house.script.asked();
    assert_eq!(asked.iter().filter(|message| *message == "sort").count(), 1);
    // only the repeated calls were looked up: 7 of `sort`, 7 of `out`
    assert_eq!(house.script.look_ups(), 14);
}
