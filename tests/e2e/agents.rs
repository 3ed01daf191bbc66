//! Optimizations by the real Claude Code CLI: its model is played from a script, and everything else is real — the sandbox, the
//! relay, the tools, the gates.

mod contained;
mod reader;
mod whole;

use std::path::PathBuf;

use fapo_e2e::{Project, Ran};
use fapo_testkit::messages::{Conversation, Move, Script, ScriptedMessages};
use serde_json::{Value, json};

/// The provider's key.
const KEY: &str = "sk-ant-api03-canary-of-the-key";
/// Planted beside every held-out case.
const VAL_CANARY: &str = "canary-of-val";
const TEST_CANARY: &str = "canary-of-test";

/// The structure-fault example with Claude Code as its proposer, and canaries in val and test.
struct Stage {
    project: Project,
    claude: ScriptedMessages,
    program: PathBuf,
}

impl Stage {
    /// `None` where the CLI is not installed.
    fn new(test: &str, script: Script) -> Option<Self> {
        let program = fapo_testkit::claude_or_skip(test)?;
        let claude = ScriptedMessages::start(script).unwrap();
        let project = Project::example("missing-hop").unwrap();
        project
            .edit(
                "fapo.yaml",
                "models:\n",
                &format!(
                    "models:\n  proposer: {{ provider: anthropic, model: claude-opus-4-5, base_url: \"{}\", price: {{ input: 5, output: 25 }} }}\n",
                    claude.base_url()
                ),
            )
            .unwrap();
        project
            .edit(
                "fapo.yaml",
                "model: sim-small, world: sim.json",
                "model: sim-small, world: sim.json, price: { input: 0.1, output: 0.1 }",
            )
            .unwrap();
        project
            .edit("fapo.yaml", "proposals: 20", "proposals: 12, usd: 50")
            .unwrap();
        project
            .edit(
                "fapo.yaml",
                "proposer: { backend: catalogue }",
                "proposer: { backend: claude-code, turns: 20, minutes: 3, usd: 5 }",
            )
            .unwrap();
        for (split, canary) in [("val", VAL_CANARY), ("test", TEST_CANARY)] {
            plant(&project, split, canary);
        }
        Some(Self {
            project,
            claude,
            program,
        })
    }

    fn env(&self) -> [(&str, &str); 3] {
        [
            ("ANTHROPIC_API_KEY", KEY),
            ("FAPO_CLAUDE", self.program.to_str().unwrap()),
            ("TMPDIR", "/tmp"),
        ]
    }

    fn optimize(&self) -> Value {
        self.fapo("optimize", &["--json"]).json().unwrap()
    }

    fn fapo(&self, command: &str, args: &[&str]) -> Ran {
        self.project
            .fapo_with_env(command, args, &self.env())
            .unwrap()
    }

    fn sessions(&self) -> Vec<Value> {
        let listed = self.fapo("session", &["--json"]).json().unwrap();
        listed.as_array().unwrap().clone()
    }

    /// The sessions' whole transcripts.
    fn transcripts(&self) -> String {
        self.sessions()
            .iter()
            .map(|session| {
                let id = session["id"].as_str().unwrap().to_owned();
                self.fapo("session", &[&id, "--json"]).stdout()
            })
            .collect()
    }

    /// The variants that cases were run for, besides the baseline.
    fn evaluated(&self) -> usize {
        self.lineage()
            .iter()
            .filter(|row| row["outcome"] != "baseline" && !row["train"].is_null())
            .count()
    }

    /// The attempts and their fates, by `fapo lineage`.
    fn lineage(&self) -> Vec<Value> {
        let listed = self.fapo("lineage", &["--json"]).json().unwrap();
        listed.as_array().unwrap().clone()
    }

    /// What was decided, in words: the report's page.
    fn report(&self, summary: &Value) -> String {
        let page = std::path::Path::new(summary["report"].as_str().unwrap()).with_extension("md");
        std::fs::read_to_string(page).unwrap()
    }

    /// Nothing of val or test, and no key, reached the model's endpoint or a transcript.
    fn nothing_leaked(&self) {
        let all = self.claude.all_text();
        assert!(all.contains("Your task"), "the endpoint was asked");
        let train = self.project.read("data/train.jsonl").unwrap();
        for split in ["val", "test"] {
            let lines = self.project.read(&format!("data/{split}.jsonl")).unwrap();
            for line in lines.lines() {
                let case: Value = serde_json::from_str(line).unwrap();
                let question = case["input"]["question"].as_str().unwrap();
                assert!(!train.contains(question), "{question} is in train, too");
                assert!(!all.contains(question), "{question} of {split}");
            }
        }
        let transcripts = self.transcripts();
        for canary in [VAL_CANARY, TEST_CANARY] {
            assert!(!all.contains(canary), "{canary}");
            assert!(!transcripts.contains(canary), "{canary}");
        }
        assert!(!transcripts.contains(KEY));
        // it is in the header that the relay sets, and in no body
        assert!(
            self.claude
                .requests()
                .iter()
                .all(|request| !request.text.contains(KEY))
        );
    }
}

fn plant(project: &Project, split: &str, canary: &str) {
    let file = format!("data/{split}.jsonl");
    let planted: Vec<String> = project
        .read(&file)
        .unwrap()
        .lines()
        .map(|line| {
            let mut case: Value = serde_json::from_str(line).unwrap();
            case["metadata"] = json!({ "note": canary });
            case["expected"]["note"] = json!(canary);
            case.to_string()
        })
        .collect();
    project.write(&file, planted.join("\n")).unwrap();
}

const PIPELINE: &str = "/session/work/pipeline";
const ANSWER: &str = "/session/work/pipeline/prompts/answer.md";

fn read(path: &str) -> Move {
    Move::call("Read", json!({ "file_path": path }))
}

fn edit(path: &str, old: &str, new: &str) -> Move {
    Move::call(
        "Edit",
        json!({"file_path": path, "old_string": old, "new_string": new}),
    )
}

fn tool(name: &str, input: Value) -> Move {
    Move::call(format!("mcp__fapo__{name}"), input)
}

/// The structured answer of a proposer. Where the task does not offer the technique, because the strategy is another, it is
/// the first that it offers.
fn changed(technique: &str, idea: &str) -> Move {
    let (technique, idea) = (technique.to_owned(), idea.to_owned());
    Move::react(move |request| {
        let task = request.first_user();
        let offered = task
            .rsplit_once("Techniques: ")
            .and_then(|(_, rest)| rest.split_once('.'))
            .map_or("", |(names, _)| names);
        let mut names = offered.split(", ");
        let technique = match names.clone().find(|name| *name == technique) {
            Some(name) => name,
            None => names.next().unwrap_or_default(),
        };
        Move::answer(json!({
            "outcome": "changed",
            "hypothesis": "The second page is never found, because its words are not in the question.",
            "technique": technique,
            "idea": idea,
            "target_cluster": "retrieval_partial@retrieve",
            "expected_gain": 0.3,
            "expected_cost_ratio": 1.0,
        }))
    })
}

fn no_idea() -> Move {
    Move::answer(json!({
        "outcome": "no_idea", "hypothesis": "Nothing sensible is left.", "technique": "other_structure",
        "idea": "none", "target_cluster": "", "expected_gain": 0.0, "expected_cost_ratio": 1.0,
    }))
}

/// A proposer's session at a level.
fn proposer(name: &str, level: &str) -> Conversation {
    Conversation::new(name)
        .system_contains("You improve a pipeline")
        .first_user_contains(format!("The deepest level that is open: {level}."))
}

/// One that reads the evidence through its tools, adds a sentence to the prompt, checks, and answers.
fn prompt_edit(technique: &str, sentence: &str) -> Conversation {
    proposer(technique, "prompt")
        .then(tool("clusters", json!({})))
        .then(Move::react(|request| {
            let clusters = request.last_tool_result().unwrap_or_default().text;
            let clusters: Value = serde_json::from_str(&clusters).unwrap_or_default();
            let case = clusters["clusters"][0]["cases"][0].clone();
            tool("case", json!({ "case_id": case }))
        }))
        .then(read(ANSWER))
        .then(edit(
            ANSWER,
            "You answer questions about companies and people.",
            &format!("You answer questions about companies and people. {sentence}"),
        ))
        .then(tool("check", json!({})))
        .then(changed(technique, sentence))
}

/// The one that finds what is missing: a second search, written from what the first found.
fn second_hop() -> Conversation {
    let steps = "  - id: answer\n";
    proposer("second hop", "structure")
        .then(tool("clusters", json!({})))
        .then(tool("history", json!({})))
        .then(read(&format!("{PIPELINE}/pipeline.yaml")))
        .then(edit(
            &format!("{PIPELINE}/pipeline.yaml"),
            steps,
            "  - id: next_query\n    kind: llm\n    prompt: prompts/next_query.md\n\n  - id: second\n    kind: retrieve\n    query: \"{{ steps.next_query.text }}\"\n    k: 3\n    include: [retrieve]\n\n  - id: answer\n",
        ))
        .then(edit(
            &format!("{PIPELINE}/prompts/next_query.md"),
            "",
            "system:\nYou write search queries for a search that matches words.\n\nuser:\nQuestion: {{ question }}\n\nPassages found so far:\n{{ steps.retrieve.docs | passages }}\n\nWrite one short search query for what is still missing.\n",
        ))
        .then(read(ANSWER))
        .then(edit(ANSWER, "steps.retrieve.docs", "steps.second.docs"))
        .then(tool("check", json!({})))
        .then(tool("try", json!({ "count": 4 })))
        .then(changed("extra_hop", "second search from what the first found"))
}

/// A reviewer's session with a verdict.
fn reviewer(verdict: &str, findings: Value) -> Conversation {
    Conversation::new(format!("reviewer: {verdict}"))
        .system_contains("You review one change")
        .then(read(ANSWER))
        .then(Move::answer(json!({
            "verdict": verdict, "findings": findings, "summary": "It was looked at.",
        })))
}

/// Sentences that say nothing to the simulated model, each another technique.
const SENTENCES: [(&str, &str); 6] = [
    ("instruction_clarity", "Read every passage to its end."),
    ("role", "You are a careful historian of firms."),
    ("decomposition", "First find the company, then its founder."),
    ("negative_examples", "Do not guess from a similar name."),
    (
        "synthetic_few_shot",
        "Example: a bakery of a painter; the painter grew up in a harbour town.",
    ),
    ("ablation", "Keep calm."),
];

fn prompts_then_hop(reviews: usize) -> Script {
    let mut script = Script::new();
    for (technique, sentence) in SENTENCES {
        script = script.conversation(prompt_edit(technique, sentence));
    }
    script = script.conversation(second_hop());
    // a second slot at that level has nothing to add
    script = script.conversation(proposer("nothing more", "structure").then(no_idea()).each());
    for _ in 0..reviews {
        script = script.conversation(reviewer("pass", json!([])));
    }
    script
}
