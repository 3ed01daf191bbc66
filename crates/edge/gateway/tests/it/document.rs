//! The OpenAPI document.

use std::collections::BTreeSet;
use std::path::Path;

use fapo_gateway::{openapi, routes};
use serde_json::Value;

use crate::client::Ask;
use crate::world::World;

#[test]
fn the_document_that_is_kept_is_the_one_that_the_program_makes() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/openapi.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    assert!(
        kept == openapi(),
        "docs/openapi.json is not what the program makes: \
         run `cargo run -p fapo-gateway --example openapi -- docs/openapi.json`"
    );
    Ok(())
}

/// All values under the key `name`, anywhere.
fn under<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == name {
                    found.push(value);
                }
                under(name, value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| under(name, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_has_every_route_once_and_every_reference_leads_somewhere() {
    let document = openapi();
    for route in routes() {
        let verb = route.method.as_str().to_ascii_lowercase();
        assert!(document["paths"][route.path][verb].is_object(), "{route:?}");
    }
    let mut references = Vec::new();
    under("$ref", &document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference
            .as_str()
            .unwrap_or_default()
            .trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut names = Vec::new();
    under("operationId", &document, &mut names);
    let distinct: BTreeSet<&str> = names.iter().filter_map(|name| name.as_str()).collect();
    assert_eq!(distinct.len(), names.len());
    assert_eq!(
        names.len(),
        routes().len() + 4,
        "and those of the process itself"
    );
}

#[tokio::test]
async fn the_server_gives_its_document_without_a_token() -> anyhow::Result<()> {
    let world = World::new().await?;
    let reply = Ask::get("/openapi.json").send(&world).await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), openapi());
    Ok(())
}
