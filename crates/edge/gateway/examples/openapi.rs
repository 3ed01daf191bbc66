//! Writes the OpenAPI document: `cargo run -p fapo-gateway --example openapi -- docs/openapi.json`.

use std::fs;
use std::io::{Error, Result};

fn main() -> Result<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or_else(|| Error::other("name the file to write"))?;
    let document = serde_json::to_string_pretty(&fapo_gateway::openapi())?;
    fs::write(path, document + "\n")
}
