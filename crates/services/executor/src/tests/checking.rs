//! Looking at a pipeline without running it.

use fapo_domain::ports::questions::PipelineChecker;

use super::house::House;
use super::script::Script;
use super::stage::tree;

#[tokio::test]
async fn a_pipeline_is_checked_under_the_jobs_own_models_and_corpora() {
    let house = House::new(1, |_| {}, |_| Script::echo()).await;
    let check = async |text: &str| {
        let tree = tree(text, &[("p", "Answer {{ question }}")]);
        let checked = house.service.check_pipeline(&house.spec, &tree).await;
        let problems = checked.unwrap();
        let rules: Vec<String> = problems.iter().map(|one| one.rule.to_string()).collect();
        rules
    };
    let good = "steps:\n  - { id: a, kind: llm, prompt: prompts/p.md }\noutput: a\n";
    assert_eq!(check(good).await, Vec::<String>::new());
    let bad = "steps:\n  - { id: a, kind: llm, prompt: prompts/p.md, model: nobody }\n  - { id: r, kind: retrieve, corpus: none, query: x }\noutput: a\n";
    let rules = check(bad).await;
    for wanted in ["unknown-model", "unknown-corpus"] {
        assert!(
            rules.iter().any(|rule| rule == wanted),
            "{wanted}: {rules:?}"
        );
    }
    assert!(house.script.asked_so_far() == 0, "nothing was called");
}
