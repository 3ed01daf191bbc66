//! What the simulated model says: a pure function of the world and the request (apart from `once` scripts, which
//! remember the request that took them).

use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::file::{Case, FormFile};
use crate::text::{count_tokens, cut_at_stop, cut_to_tokens, falls_into, hash_of, normalize};
use crate::world::{Fact, Form, Labels, World};

/// A request, whatever protocol it came in.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// The model asked for.
    pub(crate) model: String,
    /// All messages, joined.
    pub(crate) prompt: String,
    /// Tokens of all messages.
    pub(crate) input_tokens: u64,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stop: Vec<String>,
    /// Schema of a structured reply; `true` where any JSON will do.
    pub(crate) structured: Option<Value>,
    /// Hash of the whole request.
    pub(crate) hash: u64,
    /// Hash of the messages and the seed only.
    pub(crate) sample: u64,
}

/// Why the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is complete.
    Done,
    /// A stop text was met.
    StopText,
    /// It is cut off.
    Length,
    /// The model declined.
    Refusal,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) ending: Ending,
    pub(crate) output_tokens: u64,
}

impl Answer {
    pub(crate) fn refusal() -> Self {
        let text = "I can't help with that.".to_owned();
        Self {
            output_tokens: count_tokens(&text),
            text,
            ending: Ending::Refusal,
        }
    }
}

/// The world with what it must remember.
pub(crate) struct Brain {
    pub(crate) world: World,
    taken: Vec<OnceLock<u64>>,
}

impl Brain {
    pub(crate) fn new(world: World) -> Self {
        Self {
            taken: world.scripted.iter().map(|_| OnceLock::new()).collect(),
            world,
        }
    }

    pub(crate) fn answer(&self, ask: &Ask) -> Answer {
        let mut text = self.say(ask);
        let mut ending = Ending::Done;
        if cut_at_stop(&mut text, &ask.stop) {
            ending = Ending::StopText;
        }
        if let Some(max) = ask.max_tokens
            && cut_to_tokens(&mut text, max)
        {
            ending = Ending::Length;
        }
        Answer {
            output_tokens: count_tokens(&text),
            text,
            ending,
        }
    }

    fn say(&self, ask: &Ask) -> String {
        let world = &self.world;
        for (script, taken) in world.scripted.iter().zip(&self.taken) {
            if script.when.is_match(&ask.prompt)
                && (!script.once || *taken.get_or_init(|| ask.hash) == ask.hash)
            {
                return script.reply.clone();
            }
        }
        let prompt = normalize(&ask.prompt);
        let asked = asked_fact(&world.facts, &prompt);
        if let Some(queries) = &world.queries
            && queries.is_match(&ask.prompt)
        {
            return query(&world.facts, asked, &prompt)
                .unwrap_or_else(|| last_line(&ask.prompt).to_owned());
        }
        if let Some((summaries, otherwise)) = &world.summaries
            && summaries.is_match(&ask.prompt)
        {
            return summary(asked, &prompt).unwrap_or_else(|| otherwise.clone());
        }
        let (form, flags) = self.form(&ask.prompt);
        let flipped = self.flips(ask);
        let answer = if let Some(fact) = asked {
            let known = fact
                .needs
                .iter()
                .all(|(need, _)| prompt.contains(need.as_str()))
                && fact
                    .requires
                    .iter()
                    .all(|flag| flags.contains(&flag.as_str()));
            if known && !flipped {
                fact.answer.clone()
            } else {
                fact.distractor.clone()
            }
        } else {
            world
                .labels
                .as_ref()
                .and_then(|labels| classify(labels, &ask.prompt, flipped))
                .unwrap_or_else(|| world.default_answer.clone())
        };
        match &ask.structured {
            Some(schema) => {
                fill(schema, &cased(&answer, form.case), form.json.as_deref()).to_string()
            }
            None => worded(&form, &answer),
        }
    }

    /// The wording in force, and the flags raised.
    fn form(&self, prompt: &str) -> (Form, Vec<&str>) {
        let mut form = self.world.form.clone();
        let mut flags = Vec::new();
        for directive in &self.world.directives {
            if directive.when.is_match(prompt) {
                apply(&directive.then, &mut form);
                flags.extend(directive.then.flag.as_deref());
            }
        }
        (form, flags)
    }

    fn flips(&self, ask: &Ask) -> bool {
        self.world.noise.is_some_and(|(rate, default_temperature)| {
            ask.temperature.unwrap_or(default_temperature) > 0.0
                && falls_into(
                    hash_of(&[
                        b"noise",
                        &self.world.seed.to_le_bytes(),
                        &ask.sample.to_le_bytes(),
                    ]),
                    rate,
                )
        })
    }
}

fn apply(change: &FormFile, form: &mut Form) {
    if let Some(style) = &change.style {
        form.style.clone_from(style);
        form.json = None;
    }
    if let Some(case) = change.case {
        form.case = case;
    }
    if let Some(reasoning) = change.reasoning {
        form.reasoning = reasoning;
    }
    if let Some(json) = &change.json {
        form.json = Some(json.clone());
    }
}

/// The fact whose question stands last in the prompt (earlier ones may be examples).
fn asked_fact<'a>(facts: &'a [Fact], prompt: &str) -> Option<&'a Fact> {
    facts
        .iter()
        .filter_map(|fact| Some((prompt.rfind(fact.question.as_str())?, fact)))
        .max_by_key(|(at, fact)| (at + fact.question.len(), fact.question.len()))
        .map(|(_, fact)| fact)
}

/// The query for the next evidence of the question that is asked, or, where none is asked, of the first fact whose
/// first evidence is there.
fn query(facts: &[Fact], asked: Option<&Fact>, prompt: &str) -> Option<String> {
    let there = |fact: &Fact, index: usize| prompt.contains(fact.needs[index].0.as_str());
    let next = |fact: &Fact| {
        let missing = (0..fact.needs.len()).find(|index| !there(fact, *index))?;
        fact.bridges.get(missing.checked_sub(1)?).cloned()
    };
    match asked {
        Some(fact) => Some(next(fact).unwrap_or_else(|| fact.question_text.clone())),
        None => facts.iter().find_map(next),
    }
}

/// The evidence for the question that stands in the prompt.
fn summary(asked: Option<&Fact>, prompt: &str) -> Option<String> {
    let found: Vec<&str> = asked?
        .needs
        .iter()
        .filter(|(need, _)| prompt.contains(need.as_str()))
        .map(|(_, text)| text.as_str())
        .collect();
    (!found.is_empty()).then(|| found.join(" "))
}

fn last_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .unwrap_or_default()
}

/// The label, in the form this prompt allows.
fn classify(labels: &Labels, prompt: &str, flipped: bool) -> Option<String> {
    let subject = labels.subject.captures_iter(prompt).last()?.get(1)?;
    let text = normalize(subject.as_str());
    let (mut index, hits) = labels
        .classes
        .iter()
        .enumerate()
        .map(|(index, class)| {
            let hits = class
                .cues
                .iter()
                .filter(|cue| cue.len() > 1 && text.contains(cue.as_str()))
                .count();
            (index, hits)
        })
        .max_by_key(|(index, hits)| (*hits, std::cmp::Reverse(*index)))?;
    if hits == 0 {
        return Some(labels.otherwise.clone());
    }
    if flipped {
        index = (index + 1) % labels.classes.len();
    } else if let Some((other, unless)) = &labels.classes[index].confusion
        && !unless
            .as_ref()
            .is_some_and(|unless| unless.is_match(prompt))
    {
        index = labels
            .classes
            .iter()
            .position(|class| class.name == *other)?;
    }
    let class = &labels.classes[index];
    // The labels must be listed by the prompt itself, not by the text that is classified.
    let outside = [&prompt[..subject.start()], &prompt[subject.end()..]];
    let listed = labels.classes.iter().all(|class| {
        outside
            .iter()
            .any(|part| part.contains(class.name.as_str()))
    });
    Some(match &class.fuzzy {
        Some(fuzzy) if !listed => fuzzy.clone(),
        Some(_) | None => class.name.clone(),
    })
}

fn cased(answer: &str, case: Case) -> String {
    match case {
        Case::Keep => answer.to_owned(),
        Case::Upper => answer.to_uppercase(),
        Case::Lower => answer.to_lowercase(),
    }
}

fn worded(form: &Form, answer: &str) -> String {
    let answer = cased(answer, form.case);
    let body = match &form.json {
        Some(key) => {
            Value::Object(Map::from_iter([(key.clone(), Value::String(answer))])).to_string()
        }
        None => form.style.replace("{answer}", &answer),
    };
    if form.reasoning == 0 {
        return body;
    }
    const THOUGHTS: [&str; 12] = [
        "First", "I", "look", "at", "what", "is", "given", "and", "weigh", "it", "with", "care.",
    ];
    let mut text = String::new();
    for word in THOUGHTS.iter().cycle().take(form.reasoning as usize) {
        text.push_str(word);
        text.push(' ');
    }
    text.push('\n');
    text.push_str(&body);
    text
}

/// A value that fits `schema`, with the answer in the property called `key` (or `answer`), else in the first that can
/// hold it.
fn fill(schema: &Value, answer: &str, key: Option<&str>) -> Value {
    let key = key.unwrap_or("answer");
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return match schema.get("type").and_then(Value::as_str) {
            None | Some("object") => Value::Object(Map::from_iter([(
                key.to_owned(),
                Value::String(answer.to_owned()),
            )])),
            Some(_) => leaf(schema, answer),
        };
    };
    let holder = properties
        .keys()
        .find(|name| *name == key)
        .or_else(|| properties.keys().next());
    properties
        .iter()
        .map(|(name, property)| {
            let value = if Some(name) == holder {
                leaf(property, answer)
            } else {
                leaf(property, "simulated")
            };
            (name.clone(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn leaf(schema: &Value, answer: &str) -> Value {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        let same = |value: &&Value| {
            value
                .as_str()
                .is_some_and(|text| text.eq_ignore_ascii_case(answer))
        };
        return allowed
            .iter()
            .find(same)
            .or_else(|| allowed.first())
            .cloned()
            .unwrap_or_default();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => answer.trim().parse::<i64>().unwrap_or(0).into(),
        Some("number") => answer.trim().parse::<f64>().unwrap_or(0.0).into(),
        Some("boolean") => matches!(normalize(answer).trim(), "yes" | "true").into(),
        Some("array") => {
            let item = schema.get("items").unwrap_or(&Value::Null);
            Value::Array(vec![leaf(item, answer)])
        }
        Some("object") => fill(schema, answer, None),
        _ => Value::String(answer.to_owned()),
    }
}
