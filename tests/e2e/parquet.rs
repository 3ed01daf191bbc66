//! A project whose data is Parquet is the project whose data is JSONL.

use std::sync::Arc;

use fapo_e2e::Project;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

/// What a stored column holds of an object: one text, or a list of texts.
type Texts = fn(&Value) -> Vec<&str>;

/// Writes the lines of `<name>.jsonl` as `<name>.parquet`, 40 rows to a row group. Every column holds texts, and those from
/// `lists` on a list of them for each row.
fn convert(project: &Project, name: &str, schema: &str, columns: &[Texts], lists: usize) {
    let lines = project.read(&format!("{name}.jsonl")).unwrap();
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(40) {
        let mut group = writer.next_row_group().unwrap();
        for (position, texts) in columns.iter().enumerate() {
            let (mut values, mut definitions, mut repetitions) = (vec![], vec![], vec![]);
            for row in rows {
                for (element, text) in texts(row).into_iter().enumerate() {
                    values.push(ByteArray::from(text));
                    definitions.push(1);
                    repetitions.push(i16::from(element > 0));
                }
            }
            let levels = |levels: &Vec<i16>| (position >= lists).then(|| levels.clone());
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(
                    &values,
                    levels(&definitions).as_deref(),
                    levels(&repetitions).as_deref(),
                )
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    project.write(&format!("{name}.parquet"), file).unwrap();
    std::fs::remove_file(project.path().join(format!("{name}.jsonl"))).unwrap();
}

fn text(value: &Value) -> Vec<&str> {
    vec![value.as_str().unwrap()]
}

/// An evaluation without what differs from run to run.
fn evaluation(project: &Project, split: &str) -> Value {
    let ran = project.fapo("eval", &["--split", split, "--json"]).unwrap();
    assert_eq!(ran.code(), 0, "{}", ran.stderr());
    let mut evaluation = ran.json().unwrap();
    let fields = evaluation.as_object_mut().unwrap();
    fields.retain(|field, _| field != "job" && !field.contains("seconds"));
    evaluation
}

#[test]
fn parquet_gives_the_scores_of_jsonl() {
    let lines = Project::example("missing-hop").unwrap();
    let rows = Project::example("missing-hop").unwrap();
    for split in ["train", "val", "test"] {
        convert(
            &rows,
            &format!("data/{split}"),
            "message cases {
                required binary case_id (STRING);
                required group input { required binary question (STRING); }
                required group expected {
                    required binary answer (STRING);
                    required group supporting_titles (LIST) {
                        repeated group list { required binary element (STRING); } } } }",
            &[
                |case| text(&case["case_id"]),
                |case| text(&case["input"]["question"]),
                |case| text(&case["expected"]["answer"]),
                |case| {
                    let titles = case["expected"]["supporting_titles"].as_array().unwrap();
                    titles.iter().flat_map(text).collect()
                },
            ],
            3,
        );
    }
    convert(
        &rows,
        "data/corpus",
        "message documents {
            required binary doc_id (STRING);
            required binary title (STRING);
            required binary text (STRING); }",
        &[
            |document| text(&document["doc_id"]),
            |document| text(&document["title"]),
            |document| text(&document["text"]),
        ],
        3,
    );
    rows.edit("fapo.yaml", ".jsonl", ".parquet").unwrap();
    for split in ["train", "val"] {
        let expected = evaluation(&lines, split);
        assert!(expected["mean"].as_f64().unwrap() > 0.1, "{expected:#}");
        assert_eq!(evaluation(&rows, split), expected);
    }
}

#[test]
fn a_damaged_parquet_file_is_named_and_nothing_panics() {
    let project = Project::example("missing-hop").unwrap();
    project
        .edit("fapo.yaml", "data/train.jsonl", "data/train.parquet")
        .unwrap();
    for (bytes, text) in [
        (
            &b"{\"case_id\": \"a\"}\n"[..],
            "data/train.parquet: error[data-format]: the file is not Parquet",
        ),
        (
            &b"PAR1\0\0\0\0\0\0\0\0"[..],
            "data/train.parquet: error[data-format]: the file is cut off",
        ),
    ] {
        project.write("data/train.parquet", bytes).unwrap();
        let ran = project.fapo("eval", &[]).unwrap();
        let said = ran.stderr();
        assert_eq!(ran.code(), 3, "{said}");
        assert!(said.contains(text) && !said.contains("panicked"), "{said}");
    }
}
