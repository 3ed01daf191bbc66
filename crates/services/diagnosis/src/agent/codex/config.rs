//! The program's configuration for a session, and the answer's schema as its provider takes it.

use serde_json::{Map, Value, json};

use super::super::cli::Asked;
use super::SERVER;

/// How long a tool may take, in seconds: `try` runs cases.
const TOOL_TIMEOUT_S: u32 = 900;

/// What is switched off: whatever reaches out, brings instructions of its own, or asks a person.
const OFF: [&str; 20] = [
    "api_key_model_discovery",
    "apps",
    "browser_use",
    "computer_use",
    "daemon_auto_start",
    "goals",
    "hooks",
    "image_generation",
    "in_app_browser",
    "memories",
    "plugin_sharing",
    "plugins",
    "remote_plugin",
    "shell_snapshot",
    "skill_mcp_dependency_install",
    "sleep_tool",
    "tool_suggest",
    // tries for ever where the relay is gone
    "unbounded_connection_retries",
    "view_image",
    "workspace_dependencies",
];

/// `config.toml`. The token is in it and not on the command line, which others on the machine can read.
pub(super) fn config(asked: &Asked<'_>) -> String {
    let mut config = String::new();
    let mut line = |text: &str| {
        config.push_str(text);
        config.push('\n');
    };
    let instructions = asked.home.join("instructions.md");
    line("model_provider = \"lmstudio\"");
    line(&format!(
        "model_instructions_file = {}",
        text(&instructions.display().to_string())
    ));
    line("approval_policy = \"never\"");
    line("sandbox_mode = \"danger-full-access\"");
    line("allow_login_shell = false");
    line("web_search = \"disabled\"");
    line("project_doc_max_bytes = 0");
    line("include_permissions_instructions = false");
    line("include_apps_instructions = false");
    line("include_collaboration_mode_instructions = false");
    line("check_for_update_on_startup = false");
    line("cli_auth_credentials_store = \"file\"");
    line("suppress_unstable_features_warning = true");
    line("analytics.enabled = false");
    line("feedback.enabled = false");
    line("history.persistence = \"none\"");
    line("agents.enabled = false");
    line("skills.include_instructions = false");
    line("skills.bundled.enabled = false");
    line("tools.experimental_request_user_input.enabled = false");
    line("[features]");
    for feature in OFF {
        line(&format!("{feature} = false"));
    }
    if let Some(tools) = asked.tools
        && let Some((command, arguments)) = asked.bridge.split_first()
    {
        line(&format!("[mcp_servers.{SERVER}]"));
        line(&format!("command = {}", text(command)));
        line(&format!("args = {}", list(arguments)));
        line(&format!("enabled_tools = {}", list(&tools.names)));
        // a session without its tools is no session
        line("required = true");
        line("default_tools_approval_mode = \"approve\"");
        line("startup_timeout_sec = 60");
        line(&format!("tool_timeout_sec = {TOOL_TIMEOUT_S}"));
        line(&format!("env.FAPO_SESSION_TOKEN = {}", text(&tools.token)));
    }
    config
}

/// A text in TOML: as in JSON, but for one character.
fn text(text: &str) -> String {
    Value::from(text).to_string().replace('\x7f', "\\u007f")
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|each| text(each)).collect();
    format!("[{}]", texts.join(", "))
}

/// The schema as the provider's strict mode takes it, which the program always asks for: objects are closed and every field
/// is required; one that may be left out may be null instead.
pub(super) fn strict(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields
                .iter()
                .map(|(key, value)| (key.clone(), strict_below(key, value)))
                .collect();
            let required: Vec<Value> = fields
                .get("required")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
                for (name, property) in properties.iter_mut() {
                    if !required.contains(&json!(name)) {
                        *property = json!({"anyOf": [property.take(), {"type": "null"}]});
                    }
                }
                fields.insert("required".to_owned(), Value::Array(names));
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

fn strict_below(key: &str, value: &Value) -> Value {
    match (key, value) {
        // names of the schema's author, each with a schema
        ("properties" | "$defs" | "definitions", Value::Object(named)) => Value::Object(
            named
                .iter()
                .map(|(name, schema)| (name.clone(), strict(schema)))
                .collect(),
        ),
        ("anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
            schemas.iter().map(strict).collect()
        }
        ("items", schema) => strict(schema),
        (_, value) => value.clone(),
    }
}

/// Takes the fields out that are null.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
