//! Cached evaluation = uncached evaluation, over random pipelines and random edits.

use std::collections::BTreeMap;
use std::fmt::Write;

use fapo_domain::ContentHash;
use fapo_domain::model::case::Split;
use fapo_domain::model::trace::{FinishReason, RunRecord};
use fapo_domain::model::variant::VariantTree;
use fapo_domain::ports::models::ModelRequest;
use fapo_domain::ports::variants::Variants;
use proptest::prelude::*;

use super::house::{House, cases};
use super::script::{Said, Script};
use super::stage::{play_at, tree};

/// A step of a random pipeline. Numbers stand for choices, so that an edit is another number.
#[derive(Debug, Clone)]
struct Part {
    kind: u8,
    /// Which earlier steps it names.
    refs: Vec<usize>,
    wording: u8,
    /// Temperature, `max_tokens`, `k` or `n`, as its kind has it.
    number: u8,
    when: Option<u8>,
}

#[derive(Debug, Clone)]
enum Edit {
    Wording(u8),
    Number(u8),
    When(Option<u8>),
    Kind(u8),
    Refs(Vec<usize>),
}

fn part() -> impl Strategy<Value = Part> {
    let refs = prop::collection::vec(0usize..8, 0..3);
    let when = prop::option::weighted(0.2, 0u8..30);
    (0u8..8, refs, 0u8..3, 1u8..4, when).prop_map(|(kind, refs, wording, number, when)| Part {
        kind,
        refs,
        wording,
        number,
        when,
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0u8..3).prop_map(Edit::Wording),
        3 => (1u8..4).prop_map(Edit::Number),
        1 => prop::option::of(0u8..30).prop_map(Edit::When),
        1 => (0u8..8).prop_map(Edit::Kind),
        1 => prop::collection::vec(0usize..8, 0..3).prop_map(Edit::Refs),
    ]
}

fn apply(parts: &mut [Part], at: usize, edit: Edit) {
    let position = at % parts.len();
    let part = &mut parts[position];
    match edit {
        Edit::Wording(wording) => part.wording = wording,
        Edit::Number(number) => part.number = number,
        Edit::When(when) => part.when = when,
        Edit::Kind(kind) => part.kind = kind,
        Edit::Refs(refs) => part.refs = refs,
    }
}

/// Writes the pipeline down.
fn write(parts: &[Part]) -> VariantTree {
    let mut pipeline = "steps:\n".to_owned();
    let mut prompts: Vec<(String, String)> = Vec::new();
    for (position, part) in parts.iter().enumerate() {
        let names: Vec<usize> = part
            .refs
            .iter()
            .filter(|_| position > 0)
            .map(|it| it % position.max(1))
            .collect();
        let mut text = format!("w{} {{{{ question }}}}", part.wording);
        for name in &names {
            write!(text, " {{{{ steps.s{name}.text | default('-') }}}}").unwrap();
        }
        let when = match (part.when, names.first()) {
            (Some(length), Some(name)) => {
                format!(", when: \"steps.s{name}.text | default('') | length > {length}\"")
            }
            _ => String::new(),
        };
        let number = part.number;
        let head = format!("id: s{position}{when}");
        prompts.push((format!("p{position}"), text.clone()));
        let prompt = format!("prompt: prompts/p{position}.md");
        let step = match part.kind {
            0 | 1 => format!("{{ {head}, kind: llm, {prompt}, temperature: 0.{number} }}"),
            2 => format!("{{ {head}, kind: llm, {prompt}, output: json, max_tokens: {number} }}"),
            3 => format!("{{ {head}, kind: retrieve, query: \"{text}\", k: {number} }}"),
            4 => format!("{{ {head}, kind: template, template: \"{text}\", extract: '\\w+$' }}"),
            kind => {
                let combine = match kind {
                    5 => "{ method: vote }".to_owned(),
                    6 => {
                        prompts.push((format!("c{position}"), "mark {{ candidate }}".to_owned()));
                        format!(
                            "{{ method: best_by, check: {{ id: c{position}, kind: llm, prompt: prompts/c{position}.md }} }}"
                        )
                    }
                    _ => format!(
                        "{{ method: merge, step: {{ id: c{position}, kind: template, template: \"{{{{ samples | join(' ') }}}}\" }} }}"
                    ),
                };
                let json = if part.wording == 1 { "json" } else { "text" };
                format!(
                    "{{ {head}, kind: sample, n: {number}, steps: [{{ id: i{position}, kind: llm, {prompt}, output: {json}, seed: 5 }}], combine: {combine} }}"
                )
            }
        };
        writeln!(pipeline, "  - {step}").unwrap();
    }
    writeln!(pipeline, "output: s{}", parts.len() - 1).unwrap();
    let prompts: Vec<(&str, &str)> = prompts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    tree(&pipeline, &prompts)
}

/// Answers by everything that is sent, from few words, so that different questions often get one answer.
fn reply(request: &ModelRequest) -> Said {
    let sent = format!(
        "{:?} {:?} {:?} {} {:?} {:?} {:?} {}",
        request.messages,
        request.temperature,
        request.top_p,
        request.max_tokens,
        request.stop,
        request.seed,
        request.schema,
        request.spec.model,
    );
    let hash = ContentHash::of(sent.as_bytes());
    let [first, second, ..] = hash.as_bytes();
    let finish = match second % 32 {
        0 => FinishReason::Refusal,
        1..4 => FinishReason::Length,
        _ => FinishReason::Stop,
    };
    let words = [
        "owl",
        "hunts by night 7",
        "Ünïcode 3",
        "{\"a\": \"x\"}",
        "[2, 1]",
        "```json\n4\n```",
    ];
    let json_only = if request.schema.is_some() && second % 8 != 5 {
        3
    } else {
        0
    };
    let word = words[json_only + usize::from(*first) % (words.len() - json_only)];
    Ok((word.to_owned(), finish))
}

type Shown = (
    String,
    Option<String>,
    Option<serde_json::Value>,
    BTreeMap<String, String>,
);

/// Everything of a run but where its replies came from and how long it took.
fn shown(run: &RunRecord) -> Shown {
    let steps = run
        .steps
        .iter()
        .map(|step| {
            let value = format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                step.status,
                step.input,
                step.output,
                step.finish,
                step.error_kind,
                step.key,
                step.full_spend,
            );
            (step.step.to_string(), value)
        })
        .collect();
    let status = format!("{:?} {:?}", run.status, run.full_spend);
    (
        status,
        run.output_text.clone(),
        run.output_json.clone(),
        steps,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn cached_evaluation_is_uncached_evaluation(
        mut parts in prop::collection::vec(part(), 1..6),
        edits in prop::collection::vec((0usize..8, edit(), 0u32..2), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new(4, |_| {}, |cache| Script::new(reply).with_cache(cache)).await;
            let plain = Script::new(reply);
            let mut sample = 0;
            for step in 0..=edits.len() {
                let variant = write(&parts);
                let id = house.store.put_variant(&variant).await.unwrap();
                let mut evaluation = house.evaluation(id, Split::Train);
                evaluation.sample = sample;
                // an edit that is undone gives a variant that was evaluated already
                let (_, cached) = house.evaluate(&evaluation).await;
                let calls = house.script.asked().len();
                let mut full = 0;
                for (case, run) in cases(4, Split::Train).into_iter().zip(&cached) {
                    let uncached = play_at(&house.spec, &variant, &plain, case, sample).await.record;
                    prop_assert_eq!(shown(run), shown(&uncached));
                    full += uncached.spend.model_calls;
                }
                prop_assert!(calls as u64 <= full);
                if let Some((at, edit, next)) = edits.get(step) {
                    apply(&mut parts, *at, edit.clone());
                    sample = *next;
                }
            }
            Ok(())
        })?;
    }
}
