//! The bad proposals.

use fapo_domain::model::level::Level;
use fapo_domain::model::proposal::Lint;
use fapo_domain::model::variant::VariantTree;

use super::trees::{PROMPT, bytes, code, key_like, parent, pipeline, prompt, say, with};

/// Name, open level, child, and the lint that must refuse it.
pub(super) fn bad() -> Vec<(&'static str, Level, VariantTree, Lint)> {
    use Level::{Parameter, Prompt, Structure};
    let removed = {
        let mut tree = parent();
        tree.remove("prompts/answer.md");
        tree
    };
    let sampled = |n: u32| {
        pipeline(
            "  - id: answer\n    kind: llm\n    prompt: prompts/answer.md\n    max_tokens: 64\n",
            &format!(
                "  - id: answer\n    kind: sample\n    n: {n}\n    combine: {{method: vote}}\n    steps:\n      - id: draft\n        kind: llm\n        prompt: prompts/answer.md\n        temperature: 0.7\n"
            ),
        )
    };
    vec![
        ("nothing changed", Prompt, parent(), Lint::NoChange),
        (
            "only a comment",
            Prompt,
            pipeline("steps:\n", "# a comment\nsteps:\n"),
            Lint::NoChange,
        ),
        (
            "only white space",
            Prompt,
            prompt(&PROMPT.replace("\n\n", "\n\n\n")),
            Lint::Duplicate,
        ),
        (
            "an earlier variant again",
            Prompt,
            prompt(&PROMPT.replace("Use the passages only", "Read  the passages first")),
            Lint::Duplicate,
        ),
        (
            "a parameter while prompts are open",
            Prompt,
            pipeline("k: 3", "k: 9"),
            Lint::ScopeLevel,
        ),
        (
            "a step while parameters are open",
            Parameter,
            sampled(2),
            Lint::ScopeLevel,
        ),
        (
            "a value out of its range",
            Parameter,
            pipeline("k: 3", "k: 21"),
            Lint::ScopeRange,
        ),
        (
            "a temperature out of its range",
            Parameter,
            pipeline("max_tokens: 64", "max_tokens: 64\n    temperature: 1.5"),
            Lint::ScopeRange,
        ),
        (
            "a model that is not allowed",
            Parameter,
            pipeline("max_tokens: 64", "max_tokens: 64\n    model: large"),
            Lint::ScopeRange,
        ),
        (
            "a file outside the globs",
            Structure,
            with("notes/readme.txt", "Remember the names.\n"),
            Lint::ScopeFile,
        ),
        (
            "the question is gone",
            Prompt,
            prompt(&PROMPT.replace("Question: {{ question }}\n", "")),
            Lint::VariableDropped,
        ),
        (
            "the passages are gone",
            Prompt,
            prompt(&PROMPT.replace("{{ steps.hop.docs }}\n", "")),
            Lint::VariableDropped,
        ),
        (
            "a misspelt variable",
            Prompt,
            prompt(&PROMPT.replace("{{ question }}", "{{ question }} {{ qestion }}")),
            Lint::VariableUnknown,
        ),
        (
            "another language's placeholder",
            Prompt,
            say("Think about ${question} first."),
            Lint::VariableUnknown,
        ),
        (
            "an unknown step",
            Prompt,
            prompt(&PROMPT.replace("Answer:", "{{ steps.hop2.text }}\nAnswer:")),
            Lint::InvalidPipeline,
        ),
        (
            "broken YAML",
            Parameter,
            pipeline("k: 3", "k: [3"),
            Lint::InvalidPipeline,
        ),
        (
            "a cycle",
            Structure,
            pipeline(
                "query: \"{{ question }}\"",
                "query: \"{{ question }} {{ steps.answer.text }}\"",
            ),
            Lint::InvalidPipeline,
        ),
        (
            "a prompt that is not there",
            Structure,
            removed,
            Lint::InvalidPipeline,
        ),
        (
            "an unknown key",
            Parameter,
            pipeline("k: 3", "k: 3\n    depth: 2"),
            Lint::InvalidPipeline,
        ),
        (
            "an unknown filter",
            Prompt,
            prompt(&PROMPT.replace("{{ question }}", "{{ question | shout }}")),
            Lint::InvalidPipeline,
        ),
        (
            "the rest left out",
            Prompt,
            prompt(
                "system:\nReply with a name only.\n[rest of the prompt unchanged]\n\nuser:\n{{ steps.hop.docs }}\n{{ question }}\n",
            ),
            Lint::Unfinished,
        ),
        (
            "an ellipsis for the old text",
            Prompt,
            prompt(
                "system:\nReply with a name only.\n... existing instructions ...\n\nuser:\n{{ steps.hop.docs }}\n{{ question }}\n",
            ),
            Lint::Unfinished,
        ),
        (
            "a note to oneself",
            Prompt,
            say("TODO: say what a name is."),
            Lint::Unfinished,
        ),
        (
            "a place to fill in",
            Prompt,
            say("Good replies look like <insert examples here>."),
            Lint::Unfinished,
        ),
        (
            "same as before",
            Prompt,
            say("Keep the usual rules, etc. (same as before)"),
            Lint::Unfinished,
        ),
        (
            "an open code fence",
            Prompt,
            say("Reply in this form:\n```\nname"),
            Lint::Unfinished,
        ),
        (
            "an open template tag",
            Prompt,
            prompt(&PROMPT.replace("{{ question }}", "{{ question")),
            Lint::Unfinished,
        ),
        (
            "the end is cut off",
            Prompt,
            prompt(
                PROMPT
                    .trim_end()
                    .trim_end_matches("Answer:")
                    .trim_end()
                    .trim_end_matches("{{ question }}"),
            ),
            Lint::Unfinished,
        ),
        (
            "ends in the middle of a sentence",
            Prompt,
            prompt(&PROMPT.replace("Answer:\n", "Reply with a name, and never with the\n")),
            Lint::Unfinished,
        ),
        ("an emptied prompt", Prompt, prompt("\n"), Lint::Unfinished),
        (
            "a huge file",
            Prompt,
            say(&"Be careful and exact. ".repeat(200)),
            Lint::TooLarge,
        ),
        (
            "a huge tree",
            Structure,
            with(
                "prompts/more.md",
                &"Be careful and exact. ".repeat(170).repeat(2),
            ),
            Lint::TooLarge,
        ),
        (
            "no UTF-8",
            Structure,
            bytes("prompts/answer.md", b"user: \xff\xfe {{ question }}"),
            Lint::NotText,
        ),
        (
            "control characters",
            Prompt,
            say("Reply\u{0} with a name."),
            Lint::NotText,
        ),
        (
            "a train question copied",
            Prompt,
            say("For instance: which engineer designed the stone bridge across the river Morwen?"),
            Lint::TrainLeak,
        ),
        (
            "a short train question copied whole",
            Prompt,
            say("Be ready for: Name the composer of the Tidewater suite!"),
            Lint::TrainLeak,
        ),
        (
            "a validation question copied",
            Prompt,
            say("For instance: Which gardener bred the blue Kestrel rose in the palace nursery?"),
            Lint::HeldOutLeak,
        ),
        (
            "a part of a test question copied",
            Prompt,
            say("Look for the harbour did the schooner Petrel leave on its voyage."),
            Lint::HeldOutLeak,
        ),
        (
            "a train question in a template's string",
            Prompt,
            say(
                "{% set ex = \"Which engineer designed the stone bridge across the river Morwen?\" %}{{ ex }}",
            ),
            Lint::TrainLeak,
        ),
        (
            "a train question put together from strings",
            Prompt,
            say(
                "{{ \"Which engineer designed\" ~ ' the stone\\nbridge' ~ \" across the river\" ~ ' Morwen' }}",
            ),
            Lint::TrainLeak,
        ),
        (
            "a train question cut over several tags",
            Prompt,
            say(
                "{% set a = \"Which engineer designed the\" %}Be exact. {% set b = \"stone bridge across the river\" %}{{ a ~ b }}",
            ),
            Lint::TrainLeak,
        ),
        (
            "a train question partly in a tag",
            Prompt,
            say("Which engineer designed {{ \"the stone bridge across\" }} the river Morwen?"),
            Lint::TrainLeak,
        ),
        (
            "a validation question in the list of a loop",
            Prompt,
            say(
                "{% for word in [\"which gardener bred the blue\", \"Kestrel rose in the palace nursery\"] %}{{ word }}{% endfor %}",
            ),
            Lint::HeldOutLeak,
        ),
        (
            "a test question in a template of the pipeline",
            Structure,
            pipeline(
                "query: \"{{ question }}\"",
                "query: \"{{ question }} {{ \\\"harbour did the schooner Petrel leave on its final\\\" }}\"",
            ),
            Lint::HeldOutLeak,
        ),
        (
            "an answer beside its question's words",
            Prompt,
            say("If it is about the Harrow lighthouse, reply 1911."),
            Lint::HardCodedAnswer,
        ),
        (
            "an answer in a condition",
            Prompt,
            say("{% if \"Tidewater\" in question %}Say Otto Lindqvist.{% endif %}"),
            Lint::HardCodedAnswer,
        ),
        (
            "a test answer beside its question's words",
            Prompt,
            say("The schooner Petrel belongs to Port Calder."),
            Lint::HardCodedAnswer,
        ),
        (
            "a case by its id",
            Prompt,
            say("Take special care with tr-003."),
            Lint::HardCodedCase,
        ),
        (
            "a condition on the case's id",
            Prompt,
            say("{% if case_id == \"x\" %}Reply with yes.{% endif %}"),
            Lint::HardCodedCase,
        ),
        (
            "a validation case by its id",
            Prompt,
            say("Take special care with va-001."),
            Lint::HardCodedCase,
        ),
        (
            "a key",
            Prompt,
            say(&format!("Use the key {} for it.", key_like("sk-"))),
            Lint::Secret,
        ),
        (
            "a password",
            Prompt,
            say(&format!("password: {}", key_like(""))),
            Lint::Secret,
        ),
        (
            "code that opens a shell",
            Structure,
            code("import os\n\ndef run(inputs):\n    return {\"text\": os.popen(\"id\").read()}\n"),
            Lint::ForbiddenCode,
        ),
        (
            "code that evaluates text",
            Structure,
            code(
                "def run(inputs):\n    return {\"text\": eval(inputs[\"input\"][\"question\"])}\n",
            ),
            Lint::ForbiddenCode,
        ),
        (
            "code that reads a file",
            Structure,
            code("def run(inputs):\n    return open(\"/etc/hostname\").read()\n"),
            Lint::ForbiddenCode,
        ),
        (
            "code that calls out",
            Structure,
            code(
                "def run(inputs):\n    from urllib import request\n    return request.urlopen(\"http://a.example\").read()\n",
            ),
            Lint::ForbiddenCode,
        ),
        (
            "code that climbs through its classes",
            Structure,
            code("def run(inputs):\n    return str(().__class__.__base__.__subclasses__())\n"),
            Lint::ForbiddenCode,
        ),
        (
            "code beside the steps that nothing runs yet",
            Structure,
            with("steps/later.py", "import socket\n"),
            Lint::ForbiddenCode,
        ),
        (
            "a shell script",
            Structure,
            with("steps/form.sh", "echo yes\n"),
            Lint::ForbiddenCode,
        ),
        (
            "code that is not Python",
            Structure,
            code("def run(inputs):\n    return {\"text\": \"yes\"\n"),
            Lint::InvalidPipeline,
        ),
        (
            "code without its function",
            Structure,
            code("def main(inputs):\n    return \"yes\"\n"),
            Lint::InvalidPipeline,
        ),
        (
            "code while prompts are open",
            Prompt,
            code("def run(inputs):\n    return inputs[\"steps\"][\"answer\"][\"text\"]\n"),
            Lint::ScopeLevel,
        ),
        (
            "code that is not finished",
            Structure,
            code(
                "def run(inputs):\n    text = inputs[\"steps\"][\"answer\"][\"text\"]\n    ...\n    return text\n",
            ),
            Lint::Unfinished,
        ),
        (
            "a table of answers in code",
            Structure,
            code(
                "TABLE = {\n    \"Tidewater\": \"Otto Lindqvist\",\n}\n\ndef run(inputs):\n    return TABLE.get(\"Tidewater\", \"\")\n",
            ),
            Lint::HardCodedAnswer,
        ),
        (
            "a train question in code, cut into pieces",
            Structure,
            code(
                "A = \"Which engineer designed the sto\" \"ne bridge across\"\nB = \" the river Morwen?\"\n\ndef run(inputs):\n    return A + B\n",
            ),
            Lint::TrainLeak,
        ),
        (
            "a validation question in braces in code",
            Structure,
            code(
                "Q = \"{# Which gardener bred the blue Kestrel rose in the palace nursery? #}\"\n\ndef run(inputs):\n    return Q\n",
            ),
            Lint::HeldOutLeak,
        ),
        (
            "a case's id in code",
            Structure,
            code("def run(inputs):\n    return \"x\" if \"tr-003\" in str(inputs) else \"y\"\n"),
            Lint::HardCodedCase,
        ),
        (
            "code that asks which case it is given",
            Structure,
            code("def run(inputs):\n    return inputs[\"case_id\"]\n"),
            Lint::HardCodedCase,
        ),
        (
            "a key in code",
            Structure,
            code(&format!(
                "KEY = \"{}\"\n\ndef run(inputs):\n    return KEY\n",
                key_like("sk-")
            )),
            Lint::Secret,
        ),
        (
            "six times the cost",
            Structure,
            sampled(6),
            Lint::PredictedCost,
        ),
        (
            "many more documents",
            Parameter,
            pipeline("k: 3", "k: 20"),
            Lint::PredictedCost,
        ),
        (
            "too many calls for one case",
            Structure,
            sampled(20),
            Lint::CaseCap,
        ),
        (
            "too many documents for one case",
            Parameter,
            pipeline("k: 3", "k: 41"),
            Lint::CaseCap,
        ),
    ]
}
