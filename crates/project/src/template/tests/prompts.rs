use fapo_domain::ports::models::ChatRole;
use serde_json::json;

use super::object;
use crate::template::{PromptTemplate, render_context};

#[test]
fn role_lines_make_sections() {
    let prompt = PromptTemplate::compile(
        "p.md",
        "\nSystem:\n You are {{ n }}.\n\nUSER: {{ question }}\nmore\nassistant:\nok\nuser:\n{% if none %}x{% endif %}\n",
    )
    .unwrap();
    let ctx = render_context(
        "c",
        &object(json!({"question": "why", "n": 1, "none": null})),
        &[],
        &[],
    );
    let messages: Vec<_> = prompt
        .render(&ctx)
        .unwrap()
        .into_iter()
        .map(|message| (message.role, message.content))
        .collect();
    assert_eq!(
        messages,
        [
            (ChatRole::System, "You are 1.".to_owned()),
            (ChatRole::User, "why\nmore".to_owned()),
            (ChatRole::Assistant, "ok".to_owned()),
        ]
    );
}

#[test]
fn a_prompt_without_role_lines_is_one_user_message() {
    let prompt =
        PromptTemplate::compile("p.md", "Hello {{ who }}\n user: is not a role here\n").unwrap();
    let messages = prompt.render(&json!({"who": "you"})).unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].role, ChatRole::User);
    assert_eq!(messages[0].content, "Hello you\n user: is not a role here");
}

#[test]
fn prompt_errors_have_the_line_of_the_file() {
    let errors =
        PromptTemplate::compile_all("p.md", "\nlost\nsystem:\n\n{{ a }\nuser: x\n{% if %}\n")
            .unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown[0].starts_with("p.md:2: text before the first role line"),
        "{shown:?}"
    );
    assert!(shown[1].starts_with("p.md:5: "), "{shown:?}");
    assert!(shown[2].starts_with("p.md:7: "), "{shown:?}");
    let prompt = PromptTemplate::compile("p.md", "system: a\nuser:\n\n\nb {{ nope }}").unwrap();
    assert_eq!(prompt.render(&json!({})).unwrap_err().line, Some(5));
    assert!(PromptTemplate::compile("p.md", " \n").is_err());
    assert!(PromptTemplate::compile("p.md", "system:\nuser:").is_err());
}
