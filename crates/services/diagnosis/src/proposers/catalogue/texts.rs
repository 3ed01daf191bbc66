//! The words of the catalogue's prompt edits.

use fapo_domain::model::finding::Rule;
use fapo_domain::model::level::Technique;

use super::context::Purpose;

/// Where the words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Among the instructions.
    Instruction,
    /// In front of everything.
    Front,
}

/// One prompt edit.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Its name within its technique.
    pub name: &'static str,
    /// Its technique.
    pub technique: Technique,
    /// Where the words go.
    pub placement: Placement,
    /// The words.
    pub words: &'static str,
    /// Why they should help.
    pub why: &'static str,
}

const fn text(
    name: &'static str,
    technique: Technique,
    words: &'static str,
    why: &'static str,
) -> Text {
    Text {
        name,
        technique,
        placement: Placement::Instruction,
        words,
        why,
    }
}

const ONLY: Text = text(
    "only",
    Technique::OutputConstraint,
    "Reply with only the final answer, without explanation.",
    "asking for the bare answer removes the words around it",
);
const SHORT: Text = text(
    "short",
    Technique::OutputConstraint,
    "Keep the answer as short as possible: a name, a number, a date or a few words, never a whole sentence.",
    "asking for a few words keeps the answer from being buried",
);
const EXACT_FORM: Text = text(
    "exact_form",
    Technique::OutputConstraint,
    "Write the answer exactly as it is usually written: with its usual spelling and capital letters, without quotation marks, and without a full stop at the end.",
    "naming the form removes differences of case and punctuation",
);
const JSON: Text = text(
    "json",
    Technique::OutputConstraint,
    "Reply with one valid JSON value and nothing else: no code fence, no comment, no text before or after it.",
    "a bare JSON value can be read",
);
const BRIEF: Text = text(
    "brief",
    Technique::OutputConstraint,
    "Use at most 60 words in all.",
    "a shorter reply fits under the token limit",
);
const COMMIT: Text = text(
    "commit",
    Technique::InstructionClarity,
    "Always give an answer. If you are not certain, give the most likely one; never say that it is unknown or cannot be determined.",
    "a model that must commit stops abstaining",
);
const RESTATE: Text = text(
    "restate",
    Technique::InstructionClarity,
    "Make sure what kind of thing is asked for (a person, a place, a time, a number, yes or no, one of several labels), and answer exactly that.",
    "saying what kind of thing is asked for aims the answer",
);
const MATERIAL: Text = text(
    "material",
    Technique::InstructionClarity,
    "Read everything you are given to the end before you answer, and base the answer on it.",
    "reading everything first finds what stands late in the material",
);
const HARMLESS: Text = text(
    "harmless",
    Technique::InstructionClarity,
    "This is an ordinary task from a test collection and harmless to answer. Answer it directly.",
    "knowing that the task is harmless removes the reason to decline",
);
const STEPS: Text = text(
    "steps",
    Technique::StepByStep,
    "Work the answer out step by step in your head, check it once, and then write down only the final answer.",
    "working in steps mends slips of reasoning",
);
const PARTS: Text = text(
    "parts",
    Technique::Decomposition,
    "Go about it in parts: find out what is asked, find each fact that it needs, join the facts, and only then write the answer.",
    "named parts keep a fact from being left out",
);
const EXPERT: Text = Text {
    name: "expert",
    technique: Technique::Role,
    placement: Placement::Front,
    words: "You are a careful expert who answers exactly what is asked.",
    why: "a role sets the tone of a short, exact answer",
};
const DONT: Text = text(
    "dont",
    Technique::NegativeExamples,
    "Do not repeat the question. Do not explain. Do not begin with words such as \"The answer is\".",
    "naming the usual additions removes them",
);
const DONT_GUESS: Text = text(
    "dont_guess",
    Technique::NegativeExamples,
    "Do not take the first thing that looks like an answer. Do not mix up two names that occur together. Do not answer a different question than the one that is asked.",
    "naming the usual confusions avoids them",
);
const EXAMPLE: Text = text(
    "example",
    Technique::SyntheticFewShot,
    "A made-up example of a good reply: to \"What colour is a ripe banana?\" the whole reply is: yellow",
    "one example shows the form of a reply",
);

const QUERY_ONLY: Text = text(
    "query_only",
    Technique::OutputConstraint,
    "Reply with the search query only: a few key words, without quotation marks and without explanation.",
    "the search matches words, so words around the query mislead it",
);
const NEXT_FACT: Text = text(
    "next_fact",
    Technique::InstructionClarity,
    "Write a search query for the one fact that is still missing. Name the person, place, work or thing that leads from what is known to what is asked.",
    "a query that names the link finds the next document",
);
const NO_REPEAT: Text = text(
    "no_repeat",
    Technique::NegativeExamples,
    "Do not repeat the question as the query. Do not search for something that the passages already say.",
    "a repeated question finds the same documents again",
);
const QUERY_PARTS: Text = text(
    "query_parts",
    Technique::Decomposition,
    "First decide which facts the question needs. Then decide which of them are given already. Search for one that is not.",
    "listing the facts shows which one is missing",
);
const LIBRARIAN: Text = Text {
    name: "librarian",
    technique: Technique::Role,
    placement: Placement::Front,
    words: "You are a librarian who writes short, precise search queries.",
    why: "the role asks for key words instead of sentences",
};
const QUERY_EXAMPLE: Text = text(
    "query_example",
    Technique::SyntheticFewShot,
    "A made-up example: asked in which year the designer of the Old Mill was born, with a passage that names Jane Poe as the designer, the query is: Jane Poe born",
    "one example shows how a query names the link",
);

const REPLY: Text = text(
    "reply",
    Technique::OutputConstraint,
    "Always write a reply, even if it is short. Never leave it empty.",
    "an empty reply starves the steps after it",
);
const KEEP_NAMES: Text = text(
    "keep_names",
    Technique::InstructionClarity,
    "Keep every name, number and date that could matter for the task, exactly as it is written.",
    "what is left out here is lost to the steps after it",
);

/// Placeholder for the list of labels, which is built from train.
pub const LABELS: Text = text(
    "labels",
    Technique::OutputConstraint,
    "",
    "naming the allowed answers keeps the model to them",
);

/// The edits for a step, in the order to try them: the different techniques early, so that a plateau is judged on
/// several of them.
pub fn texts(purpose: Purpose, json: bool, rule: Option<Rule>) -> Vec<Text> {
    match purpose {
        Purpose::Query => vec![
            NEXT_FACT,
            QUERY_ONLY,
            NO_REPEAT,
            QUERY_PARTS,
            QUERY_EXAMPLE,
            LIBRARIAN,
        ],
        Purpose::Inner if json => vec![JSON, KEEP_NAMES, PARTS, REPLY],
        Purpose::Inner => match rule {
            Some(Rule::CutOffOutput | Rule::CapHit) => vec![BRIEF, KEEP_NAMES, PARTS],
            Some(Rule::Refusal) => vec![HARMLESS, REPLY, EXPERT, PARTS],
            _ => vec![KEEP_NAMES, REPLY, PARTS, DONT_GUESS, EXPERT],
        },
        Purpose::Answer if json => vec![JSON, LABELS, RESTATE, MATERIAL, PARTS, DONT_GUESS, EXPERT],
        Purpose::Answer => answer_texts(rule),
    }
}

fn answer_texts(rule: Option<Rule>) -> Vec<Text> {
    match rule {
        Some(Rule::AnswerBuried) => vec![
            ONLY, DONT, RESTATE, LABELS, SHORT, EXAMPLE, EXPERT, STEPS, EXACT_FORM,
        ],
        Some(Rule::AnswerForm) => vec![
            LABELS, EXACT_FORM, ONLY, EXAMPLE, DONT, RESTATE, SHORT, EXPERT,
        ],
        Some(Rule::Abstained) => vec![
            COMMIT, STEPS, LABELS, MATERIAL, DONT_GUESS, PARTS, ONLY, EXPERT,
        ],
        Some(Rule::Refusal) => vec![HARMLESS, EXPERT, COMMIT, EXAMPLE, ONLY],
        Some(Rule::CutOffOutput | Rule::CapHit) => vec![ONLY, BRIEF, DONT, STEPS, SHORT],
        Some(Rule::EmptyStep | Rule::StepFailed) => vec![COMMIT, ONLY, EXAMPLE, RESTATE, EXPERT],
        Some(
            Rule::RetrievalTooShallow
            | Rule::RetrievalPartial
            | Rule::RetrievalMiss
            | Rule::RetrievalLowOverlap,
        ) => vec![MATERIAL, ONLY, PARTS, COMMIT, STEPS, DONT_GUESS, EXPERT],
        Some(Rule::WrongAnswer) | None => vec![
            LABELS, RESTATE, STEPS, ONLY, PARTS, DONT_GUESS, MATERIAL, EXAMPLE, EXPERT, EXACT_FORM,
        ],
    }
}
