//! Checks of `models:`.

use fapo_domain::model::project::{ModelSpec, ProjectSpec, Provider};

use super::{Check, is_name};
use crate::problems::nearest;
use crate::yaml::join;

pub(super) fn check(spec: &ProjectSpec, check: &mut Check<'_>) {
    if !spec.models.contains_key("task") {
        let names = spec.models.keys().map(String::as_str);
        let help = match nearest("task", names.clone()) {
            Some(near) => format!("rename `{near}` to `task`"),
            None => "`task` is what `llm` steps use unless they name another".to_owned(),
        };
        check.error("missing-key", "models", "there is no model `task`", help);
    }
    for (name, model) in &spec.models {
        let path = join("models", name);
        if !is_name(name) {
            check.error(
                "bad-name",
                &path,
                format!("`{name}` is not a name that can be used here"),
                "use letters, digits, `-` and `_`",
            );
        }
        one(model, &path, check);
    }
}

fn one(model: &ModelSpec, path: &str, check: &mut Check<'_>) {
    if model.model.trim().is_empty() {
        check.error(
            "empty",
            &format!("{path}.model"),
            "the model's name is empty",
            "write it as the provider knows it",
        );
    }
    match (model.provider, &model.world) {
        (Provider::Sim, None) => check.error(
            "missing-key",
            path,
            "the simulated model needs a `world`",
            "name the file that says how it behaves: `world: world.yaml`",
        ),
        (Provider::Openai | Provider::Anthropic, Some(_)) => check.warning(
            "ignored-key",
            &format!("{path}.world"),
            "`world` is only for `provider: sim`",
            "remove it",
        ),
        (Provider::Sim, Some(_)) | (Provider::Openai | Provider::Anthropic, None) => {}
    }
    if let Some(url) = &model.base_url {
        base_url(url, &format!("{path}.base_url"), check);
    }
    if let Some(variable) = &model.api_key_env {
        key_variable(variable, &format!("{path}.api_key_env"), check);
    }
    if let Some(price) = &model.price {
        let path = format!("{path}.price");
        check.within(&format!("{path}.input"), Some(price.input), 0.0, f64::MAX);
        check.within(&format!("{path}.output"), Some(price.output), 0.0, f64::MAX);
        check.within(
            &format!("{path}.cached_input"),
            price.cached_input,
            0.0,
            f64::MAX,
        );
    }
}

fn base_url(url: &str, path: &str, check: &mut Check<'_>) {
    let mut rest = url;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let Some(end) = after.find('}') else {
            return check.error(
                "bad-url",
                path,
                "`${` without its `}`",
                "write `${NAME}` for a value from the environment",
            );
        };
        if !is_variable(&after[..end]) {
            return check.error(
                "bad-url",
                path,
                format!(
                    "`{}` is not the name of an environment variable",
                    &after[..end]
                ),
                "use capital letters, digits and `_`",
            );
        }
        rest = &after[end + 1..];
    }
    let known = ["http://", "https://", "${"];
    if !known.iter().any(|start| url.starts_with(start)) {
        check.error(
            "bad-url",
            path,
            format!("`{url}` is not an address"),
            "it starts with `http://` or `https://` and usually ends with `/v1`",
        );
    }
}

/// The key itself must not stand in the project; its variable's name must.
fn key_variable(variable: &str, path: &str, check: &mut Check<'_>) {
    let secret = variable.starts_with("sk-")
        || variable.chars().count() > 40
        || (variable.contains('-') && variable.len() > 20);
    if secret {
        // the message does not repeat it
        check.error(
            "secret",
            path,
            "this looks like a key, not like the name of a variable",
            "put the key into an environment variable and write the variable's name here; and change the key, for it was written down",
        );
    } else if !is_variable(variable) {
        check.error(
            "bad-name",
            path,
            format!("`{variable}` is not the name of an environment variable"),
            "use letters, digits and `_`, such as `OPENAI_API_KEY`",
        );
    }
}

fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
