//! What is refused, all at once, each with its key and place.

use std::path::PathBuf;

use super::*;
use crate::config::Env;
use crate::config::dump;
use crate::config::layers::{DEFAULTS, Setting};

/// A configuration of one file's text, an environment and flags.
fn read(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<ServerConfig, Layers> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fapo.toml");
    std::fs::write(&file, text).unwrap();
    validate(layers(&[file], env, flags))
}

fn layers(files: &[PathBuf], env: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let settings: Vec<Setting> = flags
        .iter()
        .map(|(key, text)| Setting {
            flag: format!("--set {key}"),
            key: (*key).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    Layers::read(files, &Env::from_pairs(env.iter().copied()), &settings)
}

/// The keys that are told of, in order.
fn told(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let refused = read(text, env, &[]).expect_err("it is refused");
    refused
        .problems
        .iter()
        .map(|problem| problem.path.clone().unwrap_or_default())
        .collect()
}

#[test]
fn the_defaults_are_what_the_types_say_and_can_be_run() {
    let layers = Layers::defaults();
    let again = toml::Table::try_from(layers.raw()).unwrap();
    assert_eq!(again, layers.values, "default.toml and RawConfig differ");
    let config = validate(layers).expect("the defaults work out of the box");
    assert_eq!(config.node.roles.len(), Role::ALL.len());
}

#[test]
fn every_default_has_a_comment() {
    let mut commented = false;
    for line in DEFAULTS.lines() {
        if line.starts_with('#') {
            commented = true;
        } else if line.starts_with('[') || line.is_empty() {
            commented = false;
        } else {
            assert!(commented, "{line} stands below no comment");
        }
    }
}

#[test]
fn a_later_layer_goes_before_an_earlier_one_and_each_value_knows_where_it_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first.toml");
    let second = folder.path().join("second.toml");
    std::fs::write(&first, "[workers]\nexecute = 11\nscore = 12\njob = 13\n").unwrap();
    std::fs::write(&second, "[workers]\n\nscore = 22\n").unwrap();
    let layers = layers(
        &[first.clone(), second.clone()],
        &[("FAPO__WORKERS__JOB", "33"), ("FAPO__NODE__ROLES", "all")],
        &[("workers.propose", "44")],
    );
    assert!(layers.problems.is_empty(), "{}", layers.problems);
    let workers = &layers.raw().workers;
    assert_eq!(
        (
            workers.execute,
            workers.score,
            workers.job,
            workers.propose,
            workers.review
        ),
        (11, 22, 33, 44, 2)
    );
    let origin = |key: &str| layers.origin(key).to_string();
    assert_eq!(origin("workers.execute"), format!("{}:2", first.display()));
    assert_eq!(origin("workers.score"), format!("{}:3", second.display()));
    assert_eq!(origin("workers.job"), "FAPO__WORKERS__JOB");
    assert_eq!(origin("workers.propose"), "--set workers.propose");
    assert_eq!(origin("workers.review"), "default");
}

#[test]
fn all_problems_are_told_at_once_with_key_and_line() {
    let text = "[node]\nnam = \"x\"\n[store]\npool = \"many\"\nkind = \"mysql\"\n[workers]\nlease = \"20s\"\nexecute = 0\n";
    let refused = read(text, &[("FAPO__LISTEN__GRPC", "everywhere")], &[]).expect_err("refused");
    let all = refused.problems.to_string();
    for part in [
        "fapo.toml:2: error[unknown-key]: `node.nam`: there is no such key",
        "did you mean `node.name`?",
        "fapo.toml:4: error[wrong-value]: `store.pool`",
        "fapo.toml:5: error[wrong-value]: `store.kind`",
        "fapo.toml:7: error[invalid]: `workers.lease`",
        "fapo.toml:8: error[invalid]: `workers.execute`",
        "FAPO__LISTEN__GRPC: error[invalid]: `listen.grpc`",
    ] {
        assert!(all.contains(part), "{part:?} is not in:\n{all}");
    }
    assert_eq!(refused.problems.len(), 6, "{all}");
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_named() {
    let refused = read("[node\nname = 3", &[], &[]).expect_err("refused");
    assert!(
        refused
            .problems
            .to_string()
            .contains("fapo.toml:1: error[syntax]")
    );
    let absent = layers(&[PathBuf::from("/nowhere/fapo.toml")], &[], &[]);
    assert!(
        absent
            .problems
            .to_string()
            .contains("/nowhere/fapo.toml: error[unreadable]")
    );
}

#[test]
fn pieces_of_one_process_and_pieces_of_many_do_not_mix() {
    assert_eq!(told("[node]\nroles = [\"executor\"]", &[]), ["node.roles"]);
    let redis = [("FAPO__QUEUE__URL", "redis://cache:6379/0")];
    assert_eq!(told("[queue]\nkind = \"redis\"", &redis), ["store.kind"]);
    let postgres = [("FAPO__STORE__URL", "postgres://fapo:secret@db/fapo")];
    assert_eq!(
        told("[store]\nkind = \"postgres\"", &postgres),
        ["queue.kind"]
    );
}

/// A role of a cluster, with what the test says besides.
fn role(name: &str, rest: &str) -> String {
    format!(
        "[node]\nroles = [\"{name}\"]\n[store]\nkind = \"postgres\"\n[queue]\nkind = \"redis\"\n{rest}"
    )
}

const URLS: [(&str, &str); 2] = [
    ("FAPO__STORE__URL", "postgres://fapo:secret@db/fapo"),
    ("FAPO__QUEUE__URL", "redis://:secret@cache:6379/0"),
];

#[test]
fn servers_need_their_urls_and_roles_the_addresses_of_others() {
    let mut missing = told(&role("executor", ""), &[]);
    missing.sort();
    assert_eq!(missing, ["queue.url", "store.url"]);
    let mut missing = told(&role("gateway", ""), &URLS);
    missing.sort();
    assert_eq!(missing, ["services.optimizer"]);
    let mut missing = told(&role("diagnosis", ""), &URLS);
    missing.sort();
    assert_eq!(missing, ["services.executor", "services.scoring"]);
    let addresses =
        "[services]\nexecutor = \"http://executor:7401\"\nscoring = \"http://scoring:7401\"";
    assert!(read(&role("diagnosis", addresses), &URLS, &[]).is_ok());
    let tokens = format!("{addresses}\n[auth]\nmode = \"tokens\"");
    assert_eq!(
        told(&role("diagnosis", &tokens), &URLS),
        ["services.token_file"]
    );
}

#[test]
fn without_tokens_only_this_machine_may_call() {
    let open = [("FAPO__LISTEN__HTTP", "0.0.0.0:7400")];
    assert_eq!(told("", &open), ["listen.http"]);
    assert!(read("[auth]\nallow_insecure = true", &open, &[]).is_ok());
    assert!(read("[auth]\nmode = \"tokens\"", &open, &[]).is_ok());
}

#[test]
fn secrets_come_from_the_environment_or_a_file_of_their_own_and_are_never_shown() {
    let inside = role("executor", "").replace(
        "[queue]",
        "url = \"postgres://fapo:hunter2@db/fapo\"\n[queue]",
    );
    let refused = read(&inside, &URLS[1..], &[]).expect_err("a password in the file");
    let said = refused.problems.to_string();
    assert!(
        said.contains("store.url_file") && said.contains("FAPO__STORE__URL"),
        "{said}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, "postgres://fapo:hunter2@db/fapo\n").unwrap();
    let named = [
        ("FAPO__STORE__URL_FILE", file.to_str().unwrap()),
        ("FAPO__SERVICES__TOKEN", "fapo_hunter2"),
        URLS[1],
    ];
    let config = read(&role("executor", ""), &named, &[]).expect("the file is read");
    let crate::config::server::Store::Postgres { url, .. } = &config.store else {
        panic!("{:?}", config.store);
    };
    assert_eq!(url.expose(), "postgres://fapo:hunter2@db/fapo");
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("secret@"),
        "{shown}"
    );

    let layers = layers(&[], &named, &[]);
    let shown = format!("{}{}", dump::as_toml(&layers), dump::as_json(&layers));
    assert!(
        !shown.contains("hunter2") && !shown.contains("secret"),
        "{shown}"
    );
    assert!(
        shown.contains("token = \"***\"  # FAPO__SERVICES__TOKEN"),
        "{shown}"
    );
}

#[test]
fn what_a_project_may_name_never_reaches_the_servers_own_variables() {
    for open in ["*", "FAPO_*", "FAPO__STORE__URL", "F*"] {
        let text = format!("[models]\nenv = [\"{open}\"]");
        assert_eq!(told(&text, &[]), ["models.env"], "{open}");
    }
    let config = validate(Layers::defaults()).expect("the defaults");
    assert!(config.models.allows("FAPO_MODEL_URL") && config.models.allows("OPENAI_API_KEY"));
    assert!(!config.models.allows("FAPO__STORE__URL") && !config.models.allows("PATH"));
}

#[test]
fn an_address_of_models_is_whole_and_holds_no_key() {
    for wrong in ["*", "llm.example.com", "https://key@llm.example.com/v1"] {
        let text = format!("[models]\nbase_urls = [{wrong:?}]");
        assert_eq!(told(&text, &[]), ["models.base_urls"], "{wrong}");
    }
    let right = "[models]\nbase_urls = [\"https://llm.example.com/v1\", \"http://10.0.0.7:8000\"]";
    assert!(read(right, &[], &[]).is_ok());
}

#[test]
fn a_dump_is_a_configuration_and_the_schema_knows_every_key() {
    let layers = Layers::defaults();
    let again: toml::Table = dump::as_toml(&layers).parse().unwrap();
    assert_eq!(again, layers.values);
    let schema = dump::schema();
    for (section, inner) in &layers.values {
        let kind = schema["properties"][section]["$ref"].as_str().unwrap();
        let properties = &schema["$defs"][kind.trim_start_matches("#/$defs/")]["properties"];
        for (key, value) in inner.as_table().unwrap() {
            let default = serde_json::to_value(value).unwrap();
            assert_eq!(properties[key]["default"], default, "{section}.{key}");
        }
    }
}
