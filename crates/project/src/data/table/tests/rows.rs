use std::io::{Cursor as Bytes, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fapo_domain::model::case::Split;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};

use super::{Stored, Values, cases, documents, file, plain, properties, texts, write};
use crate::data::{CaseReader, DataFormat, MAX_LINE};

const FLAT: &str = "required binary case_id (STRING); required binary q (STRING);";

#[test]
fn columns_are_taken_as_those_of_csv() {
    let found = cases(&file(
        "required binary case_id (STRING); required binary question (STRING); required int32 input.n;
         required int32 expected.answer; required int32 metadata.year; optional int64 __index_level_0__;",
        &[
            texts(&["a", " b "]),
            texts(&["why?", ""]),
            plain(Values::Int32(vec![1, 2])),
            plain(Values::Int32(vec![42, 43])),
            plain(Values::Int32(vec![2024, 2025])),
            Stored(Values::Int64(vec![7, 9]), vec![1, 1], vec![]),
        ],
    ));
    assert_eq!(
        found,
        [
            r#"1: {"case_id":"a","input":{"question":"why?","n":1},"expected":{"answer":42},"metadata":{"year":2024}}"#,
            r#"2: {"case_id":"b","input":{"question":"","n":2},"expected":{"answer":43},"metadata":{"year":2025}}"#,
        ]
    );
}

#[test]
fn columns_are_taken_as_the_keys_of_jsonl() {
    let found = cases(&file(
        "required binary case_id (STRING); required binary task (STRING);
         required group context { required binary q (STRING); }
         optional group expected { required int32 n; } required binary metadata (STRING);",
        &[
            texts(&["a", "b", "c"]),
            texts(&["qa", "qa", "qa"]),
            texts(&["x", "y", "z"]),
            Stored(Values::Int32(vec![1, 3]), vec![1, 0, 1], vec![]),
            texts(&[r#"{"k": 2}"#, r#"{"task": "own"}"#, "k: 2"]),
        ],
    ));
    assert_eq!(
        found,
        [
            r#"1: {"case_id":"a","input":{"q":"x"},"expected":{"n":1},"metadata":{"k":2,"task":"qa"}}"#,
            r#"2: {"case_id":"b","input":{"q":"y"},"expected":{},"metadata":{"task":"own"}}"#,
            "f:3: error[case-key]: case `c`: `metadata` is a text, and must be an object\n    help: give it a key: {\"metadata\": {\"question\": ...}}",
        ]
    );
}

#[test]
fn a_context_that_is_no_object_is_a_key_of_the_input_as_in_csv() {
    let found = cases(&file(
        "required binary case_id (STRING); required binary question (STRING); required binary context (STRING);",
        &[texts(&["a"]), texts(&["why?"]), texts(&["so"])],
    ));
    let expected =
        [r#"1: {"case_id":"a","input":{"question":"why?","context":"so"},"expected":{}}"#];
    assert_eq!(found, expected);
    let csv = CaseReader::new(
        Bytes::new("case_id,question,context\na,why?,so\n"),
        DataFormat::Csv,
        Split::Val,
        "f",
    );
    let found: Vec<_> = csv.map(|found| found.unwrap().case).collect();
    assert_eq!(
        format!("1: {}", serde_json::to_string(&found[0]).unwrap()),
        expected[0]
    );
    // alone, and as a list
    let alone = "required binary case_id (STRING); required binary context (STRING);";
    assert_eq!(
        cases(&file(alone, &[texts(&["a"]), texts(&["{}"])])),
        [r#"1: {"case_id":"a","input":{"context":"{}"},"expected":{}}"#]
    );
    let list = "required binary case_id (STRING); repeated int32 context;";
    let numbers = Stored(Values::Int32(vec![1, 2]), vec![1, 1], vec![0, 1]);
    assert_eq!(
        cases(&file(list, &[texts(&["a"]), numbers])),
        [r#"1: {"case_id":"a","input":{"context":[1,2]},"expected":{}}"#]
    );
    // an object beside keys of the input
    let beside = "required binary case_id (STRING); required binary input.q (STRING);
        required group context { required binary t (STRING); }";
    assert_eq!(
        cases(&file(
            beside,
            &[texts(&["a"]), texts(&["x"]), texts(&["y"])]
        )),
        [r#"1: {"case_id":"a","input":{"q":"x","context":{"t":"y"}},"expected":{}}"#]
    );
}

#[test]
fn a_context_that_should_be_the_input_and_is_not_is_told_by_its_own_name() {
    assert_eq!(
        cases(&file(
            "required binary case_id (STRING); required binary context (JSON);",
            &[texts(&["a", "b"]), texts(&[r#"{"q": 1}"#, "[1]"])],
        )),
        [
            r#"1: {"case_id":"a","input":{"q":1},"expected":{}}"#,
            "f:2: error[case-key]: case `b`: `context` is a list, and must be an object\n    help: give it a key: {\"context\": {\"question\": ...}}",
        ]
    );
}

#[test]
fn codecs_pages_and_dictionaries_make_no_difference() {
    let ids: Vec<String> = (0..3000).map(|number| format!("case-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let few: Vec<&str> = (0..3000)
        .map(|number| ["yes", "no", ""][number % 3])
        .collect();
    let columns = [texts(&ids), texts(&few)];
    let expected = cases(&file(FLAT, &columns));
    assert_eq!(expected.len(), 3000);
    assert!(expected[2999].starts_with(r#"3000: {"case_id":"case-2999""#));
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_compression(compression)
                .set_writer_version(version)
                .set_data_page_row_count_limit(100)
                .set_write_batch_size(64)
                .set_dictionary_enabled(version == WriterVersion::PARQUET_1_0)
                .build();
            let file = write(FLAT, properties, &[columns.to_vec()]);
            assert!(cases(&file) == expected, "{compression:?} {version:?}");
        }
    }
}

#[test]
fn lists_go_on_over_batches_and_pages() {
    // rows of 0 to 4 numbers, more than a batch of them
    let (mut values, mut definitions, mut repetitions) = (vec![], vec![], vec![]);
    let mut expected = Vec::new();
    for row in 0..5000_i32 {
        let count = row % 5;
        for element in 0..count.max(1) {
            repetitions.push(i16::from(element > 0));
            definitions.push(i16::from(count > 0));
        }
        values.extend((0..count).map(|element| row + element));
        let list: Vec<i32> = (0..count).map(|element| row + element).collect();
        expected.push(format!(
            "{{\"x\":{}}}",
            serde_json::to_string(&list).unwrap()
        ));
    }
    let ids: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let columns = vec![
        texts(&ids),
        Stored(Values::Int32(values), definitions, repetitions),
    ];
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(70)
        .set_write_batch_size(30)
        .build();
    let found = cases(&write(
        "required binary case_id (STRING); repeated int32 x;",
        properties,
        &[columns],
    ));
    assert_eq!(found.len(), 5000);
    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.contains(expected), "{found} {expected}");
    }
}

/// Counts the bytes that were read.
struct Counted(Bytes<Vec<u8>>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(position)
    }
}

#[test]
fn row_groups_are_read_one_after_the_other() {
    let long = "x".repeat(10_000);
    let groups: Vec<Vec<Stored>> = (0..20)
        .map(|group| {
            let ids: Vec<String> = (0..10).map(|row| format!("{group}-{row}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let texts_of: Vec<String> = ids.iter().map(|id| format!("{id} {long}")).collect();
            let texts_of: Vec<&str> = texts_of.iter().map(String::as_str).collect();
            vec![texts(&ids), texts(&texts_of)]
        })
        .collect();
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .build();
    let file = write(FLAT, properties, &groups);
    let size = file.len() as u64;
    let read = Arc::new(AtomicU64::new(0));
    let source = Counted(Bytes::new(file), Arc::clone(&read));
    let mut reader = CaseReader::new(source, DataFormat::Parquet, Split::Val, "f");
    // the end of the file, with the places of all groups
    let opened = read.load(Ordering::Relaxed);
    assert!(opened < size / 20, "{opened} bytes were read to open it");
    for row in 1..=200 {
        let case = reader.next().unwrap().unwrap();
        assert_eq!(case.line, row);
        // the groups so far, and what is read past the headers of their pages
        let so_far = (row - 1) / 10 + 1;
        let most = opened + (size / 20 + 5_000) * so_far;
        let read = read.load(Ordering::Relaxed);
        assert!(read < most, "{read} bytes were read for row {row}");
    }
    assert!(reader.next().is_none());
}

#[test]
fn a_bad_row_does_not_hide_the_others() {
    let fields = "optional binary case_id (STRING); optional binary q (STRING); required double n; required binary j (JSON);";
    let found = cases(&file(
        fields,
        &[
            Stored(
                Values::Bytes(
                    ["a", "b", "c", "  ", "x\ny", "y", "z"]
                        .map(|id| id.as_bytes().to_vec())
                        .to_vec(),
                ),
                vec![1, 1, 1, 0, 1, 1, 1, 1],
                vec![],
            ),
            Stored(
                Values::Bytes(vec![
                    b"one".to_vec(),
                    b"\xff".to_vec(),
                    b"three".to_vec(),
                    b"four".to_vec(),
                ]),
                vec![1, 1, 1, 1, 0, 0, 0, 0],
                vec![],
            ),
            plain(Values::Double(vec![
                1.0,
                1.0,
                f64::NAN,
                1.0,
                1.0,
                1.0,
                f64::NEG_INFINITY,
                1.0,
            ])),
            texts(&["1", "1", "1", "1", "1", "1", "1", "{"]),
        ],
    ));
    assert_eq!(
        found,
        [
            r#"1: {"case_id":"a","input":{"q":"one","n":1.0,"j":1},"expected":{}}"#,
            "f:2: error[not-utf8]: `q` is not UTF-8\n    help: a case holds texts: write bytes as text, or leave the column out",
            "f:3: error[bad-value]: `n` is not a number (NaN), which JSON does not have\n    help: write null, or leave the row out",
            "f:4: error[missing-key]: `case_id` is null\n    help: every record needs a name of its own",
            "f:5: error[bad-id]: `case_id` is empty\n    help: every record needs a name of its own",
            "f:6: error[bad-id]: `case_id` holds a line break or another control character",
            "f:7: error[bad-value]: `n` is infinite, which JSON does not have\n    help: write null, or leave the row out",
            "f:8: error[bad-value]: `j` is not JSON: EOF while parsing an object",
        ]
    );
}

#[test]
fn a_row_is_bounded_as_a_line_is() {
    let half = "x".repeat(MAX_LINE / 2);
    let found = cases(&file(
        "required binary case_id (STRING); required binary p (STRING); required binary q (STRING);",
        &[texts(&["a", "b"]), texts(&[&half, ""]), texts(&[&half, ""])],
    ));
    assert_eq!(
        found[0],
        format!(
            "f:1: error[line-too-long]: the row has more than {MAX_LINE} bytes\n    help: split the record, or keep what is long in a corpus"
        )
    );
    assert!(found[1].starts_with("2: "), "{found:?}");
}

#[test]
fn documents_are_read_and_their_other_columns_are_not() {
    let fields = "required binary text (STRING); required binary doc_id (STRING); optional binary title (STRING); required double score;";
    let columns = [
        texts(&["x", "y"]),
        texts(&["1", "2"]),
        Stored(Values::Bytes(vec![b"t".to_vec()]), vec![1, 0], vec![]),
        plain(Values::Double(vec![f64::NAN, 1.0])),
    ];
    assert_eq!(
        documents(&file(fields, &columns)),
        [
            r#"1: {"doc_id":"1","title":"t","text":"x"}"#,
            r#"2: {"doc_id":"2","title":"","text":"y"}"#,
        ]
    );
    assert_eq!(
        documents(&file(
            "required binary doc_id (STRING); required binary body (STRING);",
            &[texts(&["1"]), texts(&["x"])],
        )),
        ["f: error[missing-key]: there is no column `text`\n    help: it is what is searched"]
    );
    assert_eq!(
        documents(&file(
            "required int32 doc_id; required binary text (STRING);",
            &[plain(Values::Int32(vec![1])), texts(&["x"])],
        )),
        [
            "f: error[bad-header]: column `doc_id` holds numbers, and must hold texts\n    help: cast it to text"
        ]
    );
}

#[test]
fn a_file_without_rows_has_no_cases() {
    let none = properties(Compression::UNCOMPRESSED);
    assert!(cases(&write(FLAT, none.clone(), &[])).is_empty());
    assert!(cases(&write(FLAT, none, &[vec![texts(&[]), texts(&[])]])).is_empty());
}
