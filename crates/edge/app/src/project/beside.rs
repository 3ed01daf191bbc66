//! The small files beside `fapo.yaml`: worlds of simulated models, recorded proposals, protected cases, the playbook, the
//! project's own prompts, prices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use fapo_diagnosis::prompts;
use fapo_domain::model::project::{ModelSpec, ProjectSpec, Provider};
use fapo_domain::problem::{Problem, Problems};
use fapo_domain::{CaseId, ContentHash};
use fapo_project::data::read_ids;
use fapo_sim::WorldError;

use super::load::problem;

/// A simulated model's behaviour.
#[derive(Debug, Clone)]
pub struct World {
    /// The variable that stands for its endpoint in the frozen `base_url`; named by the world's hash, so another world
    /// never answers from the first one's cache.
    pub variable: String,
    /// The world file's text.
    pub text: String,
}

/// Notes which address each base URL with a `${NAME}` stands for, and gives each simulated model its endpoint's variable.
pub(super) fn resolve_models(
    dir: &Path,
    spec: &mut ProjectSpec,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for (entry, model) in &mut spec.models {
        if model.provider == Provider::Sim {
            let Some(file) = &model.world else { continue };
            match std::fs::read_to_string(dir.join(file)) {
                Ok(text) => {
                    let variable = world_variable(&text);
                    model.base_url = Some(format!("${{{variable}}}"));
                    check_world(file, &text, problems);
                    worlds.push(World { variable, text });
                }
                Err(error) => problems.push(problem(
                    "world-unreadable",
                    "fapo.yaml",
                    format!("the world file `{file}` of model `{entry}` cannot be read: {error}"),
                    "`world:` is relative to the project folder",
                )),
            }
            continue;
        }
        if let Some(url) = &model.base_url {
            match expand(url, env) {
                // what stands in the file is kept; what the variables hold may be secret
                Ok(expanded) if expanded != *url => {
                    model.address_hash = Some(ModelSpec::hash_of_address(&expanded));
                }
                Ok(_) => {}
                Err(variable) => problems.push(problem(
                    "unset-variable",
                    "fapo.yaml",
                    format!("`models.{entry}.base_url` uses ${{{variable}}}, which is not set"),
                    &format!("export {variable}=http://..., or write the address into fapo.yaml"),
                )),
            }
        }
    }
    worlds
}

/// The variable that stands for the endpoint of the simulated model that behaves as this world says.
pub fn world_variable(text: &str) -> String {
    let hash = ContentHash::of(text.as_bytes());
    format!("FAPO_SIM_{}", hash.short().to_uppercase())
}

/// Replaces each `${NAME}` by its value, without the space around that; an unset name, or an empty one, is the error.
pub fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start + 2..].find('}') else {
            break;
        };
        let name = &rest[start + 2..start + 2 + length];
        out.push_str(&rest[..start]);
        let value = env(name).filter(|value| !value.trim().is_empty());
        out.push_str(value.ok_or_else(|| name.to_owned())?.trim());
        rest = &rest[start + 2 + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Names what is wrong with a world. A world that two entries use is checked twice, and told of once.
fn check_world(file: &str, text: &str, problems: &mut Problems) {
    let (message, line) = match fapo_sim::World::load(text) {
        Ok(_) => return,
        Err(WorldError::Syntax(error)) => (vec![error.to_string()], Some(error.line() as u64)),
        Err(WorldError::Invalid(messages)) => (messages, None),
    };
    for message in message {
        let mut found = problem(
            "world",
            file,
            message,
            "crates/edge/sim/README.md says what a world file holds",
        );
        found.line = line;
        push_once(problems, found);
    }
}

fn push_once(problems: &mut Problems, found: Problem) {
    if !problems.iter().any(|known| *known == found) {
        problems.push(found);
    }
}

/// Reads the recorded proposals.
pub(super) fn read_recording(
    dir: &Path,
    spec: &ProjectSpec,
    problems: &mut Problems,
) -> Option<String> {
    let file = spec.proposer.recording.as_ref()?;
    match std::fs::read_to_string(dir.join(file)) {
        Ok(text) => {
            if let Err(error) = fapo_diagnosis::Replay::read(&text) {
                let message = fapo_domain::error::chain(&error);
                let mut found = problem(
                    "recording",
                    file,
                    message,
                    "write one recorded proposal a line, as JSON",
                );
                found.line = Some(error.line as u64);
                problems.push(found);
            }
            Some(text)
        }
        Err(error) => {
            problems.push(problem(
                "recording-unreadable",
                "fapo.yaml",
                format!("`proposer.recording` names {file}, which cannot be read: {error}"),
                "the path is relative to the project folder",
            ));
            None
        }
    }
}

/// Reads the lists of cases that may not get worse.
pub(super) fn read_protected(
    dir: &Path,
    spec: &ProjectSpec,
    problems: &mut Problems,
) -> Vec<CaseId> {
    let mut ids = Vec::new();
    for file in &spec.objective.protect {
        match File::open(dir.join(file)) {
            Ok(opened) => {
                let (read, found) = read_ids(BufReader::new(opened), file);
                ids.extend(read);
                problems.extend(found);
            }
            Err(error) => problems.push(problem(
                "protect-unreadable",
                "fapo.yaml",
                format!("`objective.protect` names {file}, which cannot be read: {error}"),
                "write one case id a line into it, or take it out",
            )),
        }
    }
    ids
}

/// Reads `PLAYBOOK.md`, where there is one.
pub(super) fn read_playbook(dir: &Path, problems: &mut Problems) -> Option<String> {
    const FILE: &str = "PLAYBOOK.md";
    match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            problems.push(problem(
                "playbook-unreadable",
                FILE,
                format!("the playbook cannot be read: {error}"),
                "save it as UTF-8 text, or take it away",
            ));
            None
        }
    }
}

/// Reads the project's own prompts, `agents/NAME.md`, by name. Hidden files and folders are passed over; a file of another name is
/// a problem, because it would be thought to be used.
pub fn read_prompts(dir: &Path, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    let entries = match std::fs::read_dir(dir.join(prompts::FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return own,
        Err(error) => {
            problems.push(problem(
                "prompt-unreadable",
                prompts::FOLDER,
                format!("the folder cannot be read: {error}"),
                "it holds the project's own prompts; take it away, or let it be read",
            ));
            return own;
        }
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    for name in names {
        let file = format!("{}/{name}", prompts::FOLDER);
        let known = name.strip_suffix(".md").and_then(prompts::find);
        let Some(prompt) = known else {
            let message = format!(
                "there is no prompt of this name; there are: {}",
                prompts::names().join(", ")
            );
            let help = "rename it, or take it away; `fapo prompts` lists what each is for";
            problems.push(problem("unknown-prompt", &file, message, help));
            continue;
        };
        match std::fs::read_to_string(dir.join(&file)) {
            Ok(text) => match prompt.problem_of(&text) {
                None => {
                    own.insert(prompt.name.to_owned(), text);
                }
                Some(what) => {
                    let help = format!(
                        "`fapo prompts {}` prints the one that ships with fapo",
                        prompt.name
                    );
                    let message = format!("the prompt cannot be used: {what}");
                    problems.push(problem("bad-prompt", &file, message, &help));
                }
            },
            Err(error) => problems.push(problem(
                "prompt-unreadable",
                &file,
                format!("the prompt cannot be read: {error}"),
                "save it as UTF-8 text, or take it away",
            )),
        }
    }
    own
}

/// Names what is wrong with `prices.toml`, where there is one.
pub(super) fn check_prices(dir: &Path, problems: &mut Problems) {
    if let Err(error) = crate::wiring::prices(dir) {
        problems.push(problem(
            "prices",
            "prices.toml",
            crate::cli::advice::explain(&error),
            "mend it, or take it away",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_an_address_is_replaced_or_named() {
        let env = |name: &str| (name == "HOST").then(|| "127.0.0.1:1".to_owned());
        assert_eq!(
            expand("http://${HOST}/v1", &env).unwrap(),
            "http://127.0.0.1:1/v1"
        );
        assert_eq!(expand("http://x/${", &env).unwrap(), "http://x/${");
        assert_eq!(expand("${HOST}${NOPE}", &env).unwrap_err(), "NOPE");
    }
}
