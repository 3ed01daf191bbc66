//! Broken data files.

use std::fmt::Write;
use std::io::Cursor;

use fapo_domain::model::case::Split;
use fapo_project::data::{CaseReader, DataFormat, DocumentReader};

#[test]
fn broken_data() {
    let long = format!("{{\"case_id\": \"{}\"}}\n", "x".repeat(10_000_000));
    let open_quote = format!("case_id,q\na,\"{}", "x,y\n".repeat(3_000_000));
    let cases: &[(&str, DataFormat, &[u8])] = &[
        (
            "not JSON",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}}\n\n{\"case_id\": }\n",
        ),
        (
            "cut off",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {",
        ),
        (
            "number as id",
            DataFormat::Jsonl,
            b"{\"case_id\": 7, \"input\": {}}\n",
        ),
        (
            "empty id",
            DataFormat::Jsonl,
            b"{\"case_id\": \" \", \"input\": {}}\n",
        ),
        (
            "id with a line break",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\\nb\", \"input\": {}}\n",
        ),
        (
            "no id",
            DataFormat::Jsonl,
            b"{\"id\": \"a\", \"input\": {}}\n",
        ),
        (
            "no input",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"inputs\": {}}\n",
        ),
        (
            "input and context",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}, \"context\": {}}\n",
        ),
        (
            "input is a text",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": \"why?\"}\n",
        ),
        (
            "expected is a text",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {}, \"expected\": \"x\"}\n",
        ),
        ("a list", DataFormat::Jsonl, b"[\n{\"case_id\": \"a\"}\n]\n"),
        ("a number a line", DataFormat::Jsonl, b"1\n"),
        (
            "invalid UTF-8",
            DataFormat::Jsonl,
            b"{\"case_id\": \"a\", \"input\": {\"q\": \"\xe9t\xe9\"}}\n",
        ),
        ("UTF-16", DataFormat::Jsonl, b"\xff\xfe{\0\n"),
        (
            "ten megabytes in a line",
            DataFormat::Jsonl,
            long.as_bytes(),
        ),
        ("no id column", DataFormat::Csv, b"id,question\na,b\n"),
        ("semicolons", DataFormat::Csv, b"case_id;question\na;b\n"),
        ("column twice", DataFormat::Csv, b"case_id,q,q\na,b,c\n"),
        (
            "column without a name",
            DataFormat::Csv,
            b"case_id,,q\na,b,c\n",
        ),
        (
            "too many values",
            DataFormat::Csv,
            b"case_id,q\na,b,c\nd,e\n",
        ),
        (
            "one key from two columns",
            DataFormat::Csv,
            b"case_id,q,input.q\na,b,c\n",
        ),
        (
            "invalid UTF-8 in a row",
            DataFormat::Csv,
            b"case_id,q\na,\xff\n",
        ),
        (
            "a quote that is never closed",
            DataFormat::Csv,
            open_quote.as_bytes(),
        ),
        ("not Parquet", DataFormat::Parquet, b"case_id,q\na,b\n"),
        ("Parquet that is cut off", DataFormat::Parquet, b"PAR1"),
        (
            "Parquet that is encrypted",
            DataFormat::Parquet,
            b"PAR1\0\0\0\0\0\0\0\0PARE",
        ),
        (
            "Parquet that makes no sense",
            DataFormat::Parquet,
            b"PAR1\0\0\0\0\0\0\0\0PAR1",
        ),
    ];
    let mut out = String::new();
    for (title, format, bytes) in cases {
        let reader = CaseReader::new(
            Cursor::new(bytes.to_vec()),
            *format,
            Split::Train,
            "data/train",
        );
        let problems: Vec<String> = reader
            .filter_map(Result::err)
            .map(|p| p.to_string())
            .collect();
        assert!(!problems.is_empty(), "{title}");
        writeln!(out, "## {title}\n{}\n", problems.join("\n")).unwrap();
    }
    let documents = b"{\"doc_id\": 3, \"text\": \"a\"}\n{\"doc_id\": \"b\", \"content\": \"a\"}\n{\"doc_id\": \"c\", \"text\": null}\n";
    let reader = DocumentReader::new(
        Cursor::new(documents),
        DataFormat::Jsonl,
        "data/corpus.jsonl",
    );
    for problem in reader.filter_map(Result::err) {
        writeln!(out, "{problem}").unwrap();
    }
    insta::assert_snapshot!(out);
}
