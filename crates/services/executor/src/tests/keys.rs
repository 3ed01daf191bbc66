//! Every part of a key counts.

use std::collections::BTreeMap;

use fapo_domain::StepKey;
use fapo_domain::model::job::JobSpec;
use fapo_domain::model::project::Provider;
use fapo_domain::model::variant::VariantTree;

use super::script::{MemoryCache, Script};
use super::stage::{play_at, question, spec, tree};

const BASE: &str = "
steps:
  - { id: find, kind: retrieve, query: '{{ question }}', k: 2 }
  - id: ask
    kind: llm
    prompt: prompts/ask.md
    temperature: 0.5
    top_p: 0.9
    max_tokens: 100
    stop: [END]
    seed: 1
    output: json
    schema: { type: object, properties: { a: { type: string } } }
    needs: [find]
output: ask
";
const PROMPT: &str = "system: Be brief.\nuser: {{ question }}";

fn variant(pipeline: &str, prompt: &str) -> VariantTree {
    tree(pipeline, &[("ask", prompt)])
}

/// The keys of a run's steps, and how many calls were made for it.
async fn keys(
    spec: &JobSpec,
    tree: &VariantTree,
    script: &Script,
    sample: u32,
) -> (BTreeMap<String, StepKey>, usize) {
    let run = play_at(spec, tree, script, question("who hunts"), sample)
        .await
        .record;
    let keys = run
        .steps
        .iter()
        .filter_map(|step| Some((step.step.to_string(), step.key?)))
        .collect();
    (keys, script.asked().len())
}

#[tokio::test]
async fn changing_any_part_of_a_call_misses() {
    let cache = std::sync::Arc::new(MemoryCache::default());
    let script = Script::table(&[("", "{\"a\": \"b\"}")]).with_cache(cache);
    let base = spec();
    assert_eq!(keys(&base, &variant(BASE, PROMPT), &script, 0).await.1, 1);
    assert_eq!(keys(&base, &variant(BASE, PROMPT), &script, 0).await.1, 0);
    assert_eq!(
        keys(&base, &variant(BASE, PROMPT), &script, 1).await.1,
        1,
        "sample index"
    );

    let pipelines = [
        ("temperature: 0.5", "temperature: 0.6"),
        ("    temperature: 0.5\n", ""),
        ("top_p: 0.9", "top_p: 0.8"),
        ("    top_p: 0.9\n", ""),
        ("max_tokens: 100", "max_tokens: 101"),
        ("stop: [END]", "stop: [End]"),
        ("stop: [END]", "stop: [EN, D]"),
        ("    stop: [END]\n", ""),
        ("seed: 1", "seed: 2"),
        ("    seed: 1\n", ""),
        ("type: string", "type: [string, 'null']"),
        (
            "    schema: { type: object, properties: { a: { type: string } } }\n",
            "",
        ),
    ];
    for (old, new) in pipelines {
        let changed = BASE.replace(old, new);
        assert_ne!(changed, BASE, "{old:?} is in the pipeline");
        assert_eq!(
            keys(&base, &variant(&changed, PROMPT), &script, 0).await.1,
            1,
            "{new:?}"
        );
    }
    for prompt in [
        "system: Be brief!\nuser: {{ question }}",
        "system: Be brief.\nuser: {{ question }}?",
        "user: Be brief.\nuser: {{ question }}",
        "user: {{ question }}",
        "system: Be brief.\nuser: {{ question }}\nassistant: So",
        "system: Be\nuser: brief.{{ question }}",
    ] {
        assert_eq!(
            keys(&base, &variant(BASE, prompt), &script, 0).await.1,
            1,
            "{prompt:?}"
        );
    }
    let specs: [fn(&mut JobSpec); 4] = [
        |spec| model(spec).model = "sim-2".to_owned(),
        |spec| model(spec).base_url = Some("http://elsewhere.example/v1".to_owned()),
        |spec| model(spec).provider = Provider::Openai,
        |spec| model(spec).world = Some("other.yaml".to_owned()),
    ];
    for (number, change) in specs.into_iter().enumerate() {
        let mut spec = base.clone();
        change(&mut spec);
        assert_eq!(
            keys(&spec, &variant(BASE, PROMPT), &script, 0).await.1,
            1,
            "spec {number}"
        );
    }
}

fn model(spec: &mut JobSpec) -> &mut fapo_domain::model::project::ModelSpec {
    spec.project.models.get_mut("task").unwrap()
}

#[tokio::test]
async fn what_does_not_reach_the_model_hits() {
    let cache = std::sync::Arc::new(MemoryCache::default());
    let script = Script::table(&[("", "{\"a\": \"b\"}")]).with_cache(cache);
    keys(&spec(), &variant(BASE, PROMPT), &script, 0).await;
    let renamed = BASE
        .replace("id: ask", "id: asked")
        .replace("output: ask", "output: asked");
    let reordered = BASE.replace(
        "{ type: object, properties: { a: { type: string } } }",
        "{ properties: { a: { type: string } }, type: object }",
    );
    for pipeline in [&renamed, &reordered, &BASE.replace("k: 2", "k: 3")] {
        assert_eq!(
            keys(&spec(), &variant(pipeline, PROMPT), &script, 0)
                .await
                .1,
            0,
            "{pipeline}"
        );
    }
    let mut spec = spec();
    model(&mut spec).timeout_s = 1;
    model(&mut spec).concurrency = 2;
    model(&mut spec).max_tokens = 9;
    assert_eq!(keys(&spec, &variant(BASE, PROMPT), &script, 0).await.1, 0);
}

#[tokio::test]
async fn a_retrieval_key_covers_corpus_k_fields_queries_and_what_is_joined_in() {
    let script = Script::table(&[("", "{}")]);
    let key = async |spec: &JobSpec, pipeline: &str| {
        keys(spec, &variant(pipeline, PROMPT), &script, 0).await.0["find"]
    };
    let base = key(&spec(), BASE).await;
    assert_eq!(key(&spec(), BASE).await, base);
    let before = "steps:\n  - { id: early, kind: retrieve, query: eggs, k: 1 }\n";
    for (old, new) in [
        ("k: 2", "k: 3"),
        ("k: 2", "k: 2, fields: [text]"),
        ("query: '{{ question }}'", "query: '{{ question }} '"),
        (
            "query: '{{ question }}'",
            "query: \"{{ question }}\\nmice\"",
        ),
    ] {
        let changed = BASE.replace(old, new);
        assert_ne!(changed, BASE);
        let same = new.ends_with(" }} '");
        assert_eq!(key(&spec(), &changed).await == base, same, "{new}");
    }
    let joined = BASE
        .replace("steps:\n", before)
        .replace("k: 2", "k: 2, include: [early]");
    assert_ne!(key(&spec(), &joined).await, base);
    let mut other = spec();
    let corpus = other.corpora.get_mut("wiki").unwrap();
    corpus.hash = fapo_domain::ContentHash::of(b"other documents");
    assert_ne!(key(&other, BASE).await, base);
}
