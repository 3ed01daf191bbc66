//! Edits at the structure level: which there are, and in which order they are tried.

use fapo_domain::StepId;
use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::Technique;
use fapo_domain::model::pipeline::{
    BestByCombine, Combine, LlmStep, OutputFormat, SampleStep, StepSpec, VoteCombine,
};

use super::context::Context;
use super::{Idea, hops, post};
use crate::proposers::edit::{add_material, context_block, fresh_id, fresh_path, put_text};

/// Temperature of samples where the step has none: without randomness they would all be alike.
const SAMPLE_TEMPERATURE: f64 = 0.7;

/// Every structure edit, in the order of preference.
pub fn ideas(context: &Context<'_>) -> Vec<Idea> {
    let hop = || hops::extra_hop(context);
    let multi = || hops::multi_query(context);
    // a second pattern rarely does what the first did not: other techniques go before it
    let (first_form, other_forms) = {
        let mut forms = post::post_processors(context);
        let rest = forms.split_off(forms.len().min(1));
        (forms, rest)
    };
    let form = || first_form.clone();
    let check = || verify_repair(context);
    let split = || split_step(context);
    let vote = || vote(context);
    let best = || best_of_n(context);
    match context.rule() {
        Some(Rule::RetrievalPartial) => [hop(), multi(), split(), check(), vote(), best(), form()],
        Some(Rule::RetrievalMiss | Rule::RetrievalLowOverlap | Rule::RetrievalTooShallow) => {
            [multi(), hop(), split(), check(), vote(), best(), form()]
        }
        Some(Rule::AnswerBuried | Rule::AnswerForm) => {
            [form(), check(), vote(), split(), best(), hop(), multi()]
        }
        Some(Rule::Abstained) => [hop(), multi(), check(), split(), vote(), best(), form()],
        Some(Rule::StepFailed | Rule::EmptyStep | Rule::Refusal | Rule::CutOffOutput) => {
            [check(), vote(), best(), split(), form(), multi(), hop()]
        }
        Some(Rule::CapHit | Rule::WrongAnswer) | None => {
            [check(), split(), vote(), best(), hop(), multi(), form()]
        }
    }
    .into_iter()
    .flatten()
    .chain(other_forms)
    .collect()
}

/// The top-level `llm` step that writes the answer.
fn answer_step<'a>(context: &'a Context<'_>) -> Option<(&'a LlmStep, &'a StepSpec)> {
    let step = &context.flow.answer().spec;
    match step {
        StepSpec::Llm(llm) => Some((llm, step)),
        StepSpec::Retrieve(_)
        | StepSpec::Template(_)
        | StepSpec::Python(_)
        | StepSpec::Sample(_) => None,
    }
}

/// A new `llm` step with the model settings of another.
pub(super) fn like(llm: &LlmStep, id: &str, prompt: &str) -> LlmStep {
    LlmStep {
        id: StepId::new(id),
        needs: Vec::new(),
        when: None,
        prompt: prompt.to_owned(),
        model: llm.model.clone(),
        temperature: llm.temperature,
        top_p: llm.top_p,
        max_tokens: llm.max_tokens,
        stop: Vec::new(),
        seed: None,
        output: OutputFormat::Text,
        schema: None,
    }
}

/// A second step that checks the answer and writes it again where it is wrong.
fn verify_repair(context: &Context<'_>) -> Vec<Idea> {
    let Some((llm, step)) = answer_step(context) else {
        return Vec::new();
    };
    if context.scored_directly(llm.id.as_str()) {
        return Vec::new();
    }
    let mut tree = context.request.tree.clone();
    let mut spec = context.spec.clone();
    let id = fresh_id(&spec, &format!("{}_check", llm.id));
    let path = fresh_path(&tree, &id);
    let prompt = format!(
        "system:\nYou check answers and correct them.\n\nuser:\n{}\nDraft answer: {{{{ steps.{}.text }}}}\n\n\
         Check the draft answer against everything above. If it is right, repeat it exactly as it is. If it is wrong, \
         incomplete or in the wrong form, write the right answer instead, in the same form. Reply with the answer only, \
         without explanation.\n",
        context_block(&tree, &spec, step),
        llm.id
    );
    put_text(&mut tree, &path, &prompt);
    hops::rewire(&mut spec, &mut tree, llm.id.as_str(), &id);
    let mut checker = like(llm, &id, &path);
    checker.output = llm.output;
    checker.schema = llm.schema.clone();
    spec.steps.push(StepSpec::Llm(checker));
    vec![context.pipeline_idea(
        Technique::VerifyRepair,
        format!("verify_repair/{}/second_look", llm.id),
        format!(
            "a second look at the answer of {} mends slips of the first",
            llm.id
        ),
        &spec,
        tree,
    )]
}

/// A step before the answer that writes down what matters.
fn split_step(context: &Context<'_>) -> Vec<Idea> {
    let Some((llm, step)) = answer_step(context) else {
        return Vec::new();
    };
    let mut tree = context.request.tree.clone();
    let mut spec = context.spec.clone();
    let Some(answer_prompt) = tree.text(&llm.prompt).map(str::to_owned) else {
        return Vec::new();
    };
    let id = fresh_id(&spec, &format!("{}_notes", llm.id));
    let path = fresh_path(&tree, &id);
    let prompt = format!(
        "system:\nYou prepare notes for somebody who will answer.\n\nuser:\n{}\n\
         Do not answer yet. Write down the facts above that the answer needs, one on each line, with every name, number \
         and date exactly as it is written. Where two facts must be joined, write the joined fact too.\n",
        context_block(&tree, &spec, step)
    );
    put_text(&mut tree, &path, &prompt);
    let with_notes = add_material(
        &answer_prompt,
        &format!("Notes:\n{{{{ steps.{id}.text }}}}"),
    );
    put_text(&mut tree, &llm.prompt, &with_notes);
    let mut notes = like(llm, &id, &path);
    notes.needs = llm.needs.clone();
    notes.when = llm.when.clone();
    let at = spec
        .steps
        .iter()
        .position(|step| step.id() == &llm.id)
        .unwrap_or(0);
    spec.steps.insert(at, StepSpec::Llm(notes));
    vec![context.pipeline_idea(
        Technique::SplitStep,
        format!("split_step/{}/notes", llm.id),
        format!(
            "finding the facts apart from answering makes both easier for {}",
            llm.id
        ),
        &spec,
        tree,
    )]
}

/// The answer step inside a sample.
fn sampled(llm: &LlmStep, draft_id: &str, n: u32, combine: Combine) -> StepSpec {
    let mut draft = llm.clone();
    draft.id = StepId::new(draft_id);
    draft.needs = Vec::new();
    draft.when = None;
    draft.seed = None;
    if draft
        .temperature
        .is_none_or(|temperature| temperature == 0.0)
    {
        draft.temperature = Some(SAMPLE_TEMPERATURE);
    }
    StepSpec::Sample(SampleStep {
        id: llm.id.clone(),
        needs: llm.needs.clone(),
        when: llm.when.clone(),
        n,
        steps: vec![StepSpec::Llm(draft)],
        output: None,
        combine,
    })
}

/// Several samples, the most frequent wins (self-consistency, Wang et al. 2022).
fn vote(context: &Context<'_>) -> Vec<Idea> {
    let Some((llm, _)) = answer_step(context) else {
        return Vec::new();
    };
    if llm.output == OutputFormat::Json {
        return Vec::new();
    }
    [5, 3]
        .into_iter()
        .map(|n| {
            let mut spec = context.spec.clone();
            let draft = fresh_id(&spec, &format!("{}_draft", llm.id));
            let sample = sampled(llm, &draft, n, Combine::Vote(VoteCombine::default()));
            replace(&mut spec.steps, &llm.id, sample);
            context.pipeline_idea(
                Technique::Vote,
                format!("vote/{}/{n}", llm.id),
                format!(
                    "the most frequent of {n} answers of {} is steadier than one",
                    llm.id
                ),
                &spec,
                context.request.tree.clone(),
            )
        })
        .collect()
}

/// Several samples, the one a check step likes best wins.
fn best_of_n(context: &Context<'_>) -> Vec<Idea> {
    let Some((llm, step)) = answer_step(context) else {
        return Vec::new();
    };
    if llm.output == OutputFormat::Json {
        return Vec::new();
    }
    let n = 3;
    let mut tree = context.request.tree.clone();
    let mut spec = context.spec.clone();
    let check_id = fresh_id(&spec, &format!("{}_rating", llm.id));
    let path = fresh_path(&tree, &check_id);
    let prompt = format!(
        "system:\nYou rate answers.\n\nuser:\n{}\nProposed answer: {{{{ candidate }}}}\n\n\
         How sure are you that the proposed answer is right and in the form that is asked for? Reply with one whole \
         number from 0 (surely wrong) to 10 (surely right), and nothing else.\n",
        context_block(&tree, &spec, step)
    );
    put_text(&mut tree, &path, &prompt);
    let mut check = like(llm, &check_id, &path);
    check.temperature = Some(0.0);
    let draft = fresh_id(&spec, &format!("{}_draft", llm.id));
    let combine = Combine::BestBy(BestByCombine {
        check: Box::new(StepSpec::Llm(check)),
    });
    let sample = sampled(llm, &draft, n, combine);
    replace(&mut spec.steps, &llm.id, sample);
    vec![context.pipeline_idea(
        Technique::BestOfN,
        format!("best_of_n/{}/{n}", llm.id),
        format!(
            "the best rated of {n} answers of {} is right more often than the first",
            llm.id
        ),
        &spec,
        tree,
    )]
}

fn replace(steps: &mut [StepSpec], id: &StepId, with: StepSpec) {
    if let Some(step) = steps.iter_mut().find(|step| step.id() == id) {
        *step = with;
    }
}
