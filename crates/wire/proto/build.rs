//! Compiles the protos in Rust (no `protoc`), and writes the descriptor set that reflection answers from.

use std::path::Path;

const PROTOS: &[&str] = &[
    "fapo/executor/v1/executor_service.proto",
    "fapo/traces/v1/traces_service.proto",
    "fapo/scoring/v1/scoring_service.proto",
    "fapo/diagnosis/v1/diagnosis_service.proto",
    "fapo/optimizer/v1/optimizer_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../../proto");
    // the folder, so that a new file counts too
    println!("cargo:rerun-if-changed={}", root.display());
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true);
    for proto in PROTOS {
        compiler.open_file(root.join(proto))?;
    }
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(
        Path::new(&out).join("fapo_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        // maps in a fixed order: equal messages have equal bytes
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
