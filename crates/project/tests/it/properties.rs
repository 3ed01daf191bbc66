//! Random pipelines: what is right is read as it is, and the level of a single edit is what it should be.

use fapo_domain::ids::StepId;
use fapo_domain::model::level::Level;
use fapo_domain::model::pipeline::{
    BestByCombine, Combine, DocumentField, LlmStep, MergeCombine, OutputFormat, PipelineSpec,
    RetrieveStep, SampleStep, StepSpec, TemplateStep, VoteCombine,
};
use fapo_domain::model::variant::VariantTree;
use fapo_project::semantic_diff;
use proptest::prelude::*;

use crate::support::{read, tree};

fn llm(id: &str, prompt: &str) -> LlmStep {
    LlmStep {
        id: StepId::from(id),
        needs: Vec::new(),
        when: None,
        prompt: prompt.to_owned(),
        model: None,
        temperature: None,
        top_p: None,
        max_tokens: None,
        stop: Vec::new(),
        seed: None,
        output: OutputFormat::Text,
        schema: None,
    }
}

fn template(id: &str, text: &str) -> StepSpec {
    StepSpec::Template(TemplateStep {
        id: StepId::from(id),
        needs: Vec::new(),
        when: None,
        template: text.to_owned(),
        extract: None,
        pointer: None,
    })
}

/// One step, number `n`, that may need any step before it.
fn step(n: usize) -> impl Strategy<Value = StepSpec> {
    let id = format!("s{n}");
    let needs = proptest::collection::btree_set(0..n.max(1), 0..3).prop_map(move |needs| {
        needs
            .into_iter()
            .filter(|need| *need < n)
            .map(|need| StepId::new(format!("s{need}")))
            .collect::<Vec<_>>()
    });
    (0..4u8, needs, 1..6u32, any::<bool>(), 0..3u8).prop_map(
        move |(kind, needs, number, flag, choice)| {
            let when = flag.then(|| "question != ''".to_owned());
            match kind {
                0 => StepSpec::Llm(LlmStep {
                    needs,
                    when,
                    temperature: flag.then_some(0.5),
                    max_tokens: (choice > 0).then_some(number * 100),
                    stop: if choice == 2 {
                        vec!["END".to_owned()]
                    } else {
                        Vec::new()
                    },
                    ..llm(&id, "prompts/a.md")
                }),
                1 => StepSpec::Retrieve(RetrieveStep {
                    id: StepId::new(&id),
                    needs,
                    when,
                    corpus: None,
                    query: (choice < 2).then(|| "{{ question }}".to_owned()),
                    queries: if choice < 2 {
                        Vec::new()
                    } else {
                        vec!["{{ question }}".to_owned(), "b".to_owned()]
                    },
                    k: number,
                    include: Vec::new(),
                    fields: if choice == 0 {
                        vec![DocumentField::Text]
                    } else {
                        vec![DocumentField::Title, DocumentField::Text]
                    },
                }),
                2 => StepSpec::Template(TemplateStep {
                    id: StepId::new(&id),
                    needs,
                    when,
                    template: "{{ question | upper }}: \"quoted\" # no comment".to_owned(),
                    extract: flag.then(|| r"(\w+)".to_owned()),
                    pointer: None,
                }),
                _ => {
                    let inner = format!("{id}_draft");
                    let judge = format!("{id}_judge");
                    StepSpec::Sample(SampleStep {
                        id: StepId::new(&id),
                        needs,
                        when,
                        n: number,
                        steps: vec![StepSpec::Llm(llm(&inner, "prompts/a.md"))],
                        output: flag.then(|| StepId::new(&inner)),
                        combine: match choice {
                            0 => Combine::Vote(VoteCombine::default()),
                            1 => Combine::BestBy(BestByCombine {
                                check: Box::new(template(&judge, "{{ candidate | length }}")),
                            }),
                            _ => Combine::Merge(MergeCombine {
                                step: Box::new(template(&judge, "{{ samples | join }}")),
                            }),
                        },
                    })
                }
            }
        },
    )
}

fn pipeline() -> impl Strategy<Value = PipelineSpec> {
    (1..7usize)
        .prop_flat_map(|count| (0..count).map(step).collect::<Vec<_>>())
        .prop_map(|steps| PipelineSpec {
            output: format!("s{}", steps.len() - 1),
            steps,
        })
}

fn variant(spec: &PipelineSpec) -> VariantTree {
    tree(&[
        (
            "pipeline.yaml",
            &serde_json::to_string_pretty(spec).unwrap(),
        ),
        ("prompts/a.md", "system: Be short.\nuser: {{ question }}\n"),
        ("prompts/b.md", "user: {{ question }}!\n"),
    ])
}

/// A single edit of one step, and its level. `None` where the edit does not fit the step.
fn edit(step: &mut StepSpec, kind: u8) -> Option<(Level, &'static str)> {
    Some(match (step, kind) {
        (StepSpec::Llm(step), 0) => {
            step.temperature = Some(1.25);
            (Level::Parameter, "temperature")
        }
        (StepSpec::Llm(step), 1) => {
            step.prompt = "prompts/b.md".to_owned();
            (Level::Prompt, "prompt")
        }
        (StepSpec::Llm(step), 2) => {
            step.output = OutputFormat::Json;
            (Level::Structure, "output")
        }
        (StepSpec::Llm(step), 3) => {
            step.model = Some("big".to_owned());
            (Level::Parameter, "model")
        }
        (StepSpec::Retrieve(step), 0) => {
            step.k += 1;
            (Level::Parameter, "k")
        }
        (StepSpec::Retrieve(step), 1) => {
            step.query = None;
            step.queries = vec!["{{ hint }}".to_owned()];
            (Level::Structure, "queries")
        }
        (StepSpec::Retrieve(step), 2) => {
            step.fields = vec![DocumentField::Title];
            (Level::Parameter, "fields")
        }
        (StepSpec::Template(step), 0) => {
            step.template.push('x');
            (Level::Structure, "template")
        }
        (StepSpec::Template(step), 1) => {
            step.when = Some("hint".to_owned());
            (Level::Structure, "when")
        }
        (StepSpec::Sample(step), 0) => {
            step.n += 1;
            (Level::Parameter, "n")
        }
        (StepSpec::Sample(step), 1) => {
            step.combine = Combine::Vote(VoteCombine {
                extract: Some("x".to_owned()),
            });
            (Level::Structure, "combine")
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_right_pipeline_is_read_as_it_is(spec in pipeline()) {
        let (pipeline, problems) = read(&variant(&spec));
        prop_assert!(!problems.contains(": error["), "{}", problems);
        let pipeline = pipeline.unwrap();
        prop_assert_eq!(pipeline.spec(), &spec);
        prop_assert_eq!(pipeline.steps().len(), spec.steps.len());
        for (position, step) in pipeline.steps().iter().enumerate() {
            prop_assert!(step.needs.iter().all(|need| *need < position));
        }
    }

    #[test]
    fn layout_and_order_are_no_change(spec in pipeline(), turn in 0..7usize) {
        let mut turned = spec.clone();
        let count = turned.steps.len();
        turned.steps.rotate_left(turn % count);
        let mut child = variant(&turned);
        child.insert("pipeline.yaml", format!("# note\n{}", serde_json::to_string(&turned).unwrap()).into_bytes());
        let diff = semantic_diff(&variant(&spec), &child).unwrap();
        prop_assert_eq!(diff.level, None);
        prop_assert!(diff.changes.is_empty());
    }

    #[test]
    fn a_single_edit_has_its_level(spec in pipeline(), position in 0..7usize, kind in 0..4u8) {
        let mut edited = spec.clone();
        let position = position % edited.steps.len();
        if let Some((level, key)) = edit(&mut edited.steps[position], kind) {
            prop_assume!(edited != spec);
            let diff = semantic_diff(&variant(&spec), &variant(&edited)).unwrap();
            prop_assert_eq!(diff.level, Some(level), "{:?}", diff.changes);
            let start = format!("steps.s{position}");
            prop_assert!(diff.changes.iter().any(|change| change.path.starts_with(&start) && change.path.contains(key)), "{:?}", diff.changes);
        }
    }

    #[test]
    fn a_step_added_or_removed_is_structure(spec in pipeline()) {
        let mut more = spec.clone();
        more.steps.push(template("extra", "x"));
        for (old, new) in [(&spec, &more), (&more, &spec)] {
            let diff = semantic_diff(&variant(old), &variant(new)).unwrap();
            prop_assert_eq!(diff.level, Some(Level::Structure));
            prop_assert_eq!(diff.changes.len(), 1);
            prop_assert_eq!(diff.changes[0].path.as_str(), "steps.extra");
        }
    }

    #[test]
    fn any_text_is_read_or_told_of(text in "(steps|output|: |- |\n|  |\\{|\\}|\\[|\\]|a|1|\"|'|\t|#|&x |\\*x |id|kind|llm|!|\\||>|%|@){0,40}") {
        let (pipeline, problems) = read(&tree(&[("pipeline.yaml", &text)]));
        prop_assert!(pipeline.is_none());
        prop_assert!(!problems.is_empty());
        let (project, problems) = fapo_project::read_project("fapo.yaml", &text);
        prop_assert!(project.is_none() || problems.has_errors());
    }
}
