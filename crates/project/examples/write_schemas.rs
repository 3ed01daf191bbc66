//! Writes the JSON Schemas of both YAML files to `docs/schema/`.

use std::io;
use std::path::Path;

use fapo_project::schema;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    std::fs::create_dir_all(&folder)?;
    for (file, schema) in [
        ("fapo.schema.json", schema::project_schema()),
        ("pipeline.schema.json", schema::pipeline_schema()),
    ] {
        let text = serde_json::to_string_pretty(&schema)?;
        std::fs::write(folder.join(file), format!("{text}\n"))?;
    }
    Ok(())
}
