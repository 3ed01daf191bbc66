use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};

use fapo_domain::model::case::Split;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Gives seven bytes at a time, so that lines cross the borders of what is read at once.
struct Drops(Cursor<Vec<u8>>);

impl Read for Drops {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(7);
        self.0.read(&mut buffer[..count])
    }
}

impl Seek for Drops {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(position)
    }
}

/// Cases and problems, each as a line to compare.
fn cases(format: DataFormat, bytes: &[u8]) -> Vec<String> {
    let reader = Drops(Cursor::new(bytes.to_vec()));
    CaseReader::new(reader, format, Split::Val, "f")
        .map(|item| match item {
            Ok(found) => format!(
                "{}: {}",
                found.line,
                serde_json::to_string(&found.case).unwrap()
            ),
            Err(problem) => problem.to_string(),
        })
        .collect()
}

#[test]
fn keys_are_known_also_of_what_is_no_case() {
    let keys = |format, text: &'static str| {
        let source = std::io::Cursor::new(text.as_bytes());
        let mut reader = CaseReader::new(source, format, Split::Train, "x");
        assert_eq!(reader.by_ref().filter(Result::is_ok).count(), 0);
        let keys: Vec<String> = reader.keys_without_cases().into_iter().collect();
        keys.join(" ")
    };
    for (text, known) in [
        (
            "id,input.question,hint,expected.a\nc,q,h,a\n",
            "hint id question",
        ),
        ("case_id,question,,question\nc,q,h,a\n", "question"),
        // a first row that names nothing
        ("c1,Who was it?,Ann\nc2,When was it?,1830\n", ""),
    ] {
        assert_eq!(keys(DataFormat::Csv, text), known, "{text}");
    }
    for (line, known) in [
        (r#"{"id": "a", "input": {"question": "?"}}"#, "question"),
        (
            r#"{"case_id": 7, "context": {"question": "?"}}"#,
            "question",
        ),
        (
            r#"{"case_id": "a", "input": {"question": "?"}, "expected": "x"}"#,
            "question",
        ),
        (r#"{"case_id": "a", "input": "?"}"#, ""),
    ] {
        assert_eq!(keys(DataFormat::Jsonl, line), known, "{line}");
    }
}

#[test]
fn lines_become_cases() {
    let bytes = "\u{feff}{\"case_id\":\"a\",\"input\":{\"q\":\"é\"},\"expected\":{\"x\":1}}\r\n\r\n  \n\
        {\"case_id\":\" b \",\"task_type\":\"qa\",\"context\":{\"q\":[1]},\"expected\":null,\"metadata\":{\"k\":2}}";
    assert_eq!(
        cases(DataFormat::Jsonl, bytes.as_bytes()),
        [
            r#"1: {"case_id":"a","input":{"q":"é"},"expected":{"x":1}}"#,
            r#"4: {"case_id":"b","input":{"q":[1]},"expected":{},"metadata":{"k":2,"task_type":"qa"}}"#,
        ]
    );
}

#[test]
fn rows_become_cases() {
    let bytes = "\u{feff}case_id,question,input.hint,expected.answer,metadata.year\r\n\
        a,\"why, \"\"so\"\"?\nindeed\",h,42,2024\r\n\nb,é,,,\n";
    assert_eq!(
        cases(DataFormat::Csv, bytes.as_bytes()),
        [
            r#"2: {"case_id":"a","input":{"question":"why, \"so\"?\nindeed","hint":"h"},"expected":{"answer":"42"},"metadata":{"year":"2024"}}"#,
            r#"5: {"case_id":"b","input":{"question":"é","hint":""},"expected":{"answer":""},"metadata":{"year":""}}"#,
        ]
    );
}

#[test]
fn a_bad_line_does_not_hide_the_others() {
    let found = cases(
        DataFormat::Jsonl,
        b"{\"case_id\":\"a\",\"input\":{}}\n\xff\nnonsense\n{\"case_id\":\"b\",\"input\":{}}\n",
    );
    assert_eq!(found.len(), 4);
    assert!(
        found[0].starts_with("1: ") && found[3].starts_with("4: "),
        "{found:?}"
    );
    let found = cases(DataFormat::Csv, b"case_id,q\na,\xff\nb,x,y\nc,z\n");
    assert_eq!(found.len(), 3);
    assert!(found[2].starts_with("4: "), "{found:?}");
}

#[test]
fn empty_files_have_no_cases() {
    for bytes in ["", "\n\n", "\u{feff}", " \r\n"] {
        assert!(cases(DataFormat::Jsonl, bytes.as_bytes()).is_empty());
    }
    assert!(cases(DataFormat::Csv, b"").is_empty());
    assert!(cases(DataFormat::Csv, b"case_id,q\n").is_empty());
}

/// Endless bytes without a line break; counts what was asked for.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Ok(0);
        }
        let count = buffer
            .len()
            .min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buffer[..count].fill(b'x');
        self.0 -= count as u64;
        Ok(count)
    }
}

#[test]
fn a_long_line_is_passed_over_and_not_held() {
    let head = Cursor::new(b"{\"case_id\":\"a\",\"input\":{}}\n".to_vec());
    let tail = Cursor::new(b"\n{\"case_id\":\"b\",\"input\":{}}\n".to_vec());
    let reader = BufReader::new(head.chain(Endless(40 << 20)).chain(tail));
    let mut lines = Lines::new(reader, "f");
    let mut found = Vec::new();
    while let Some(line) = lines.next_object() {
        found.push(
            line.map(|(number, _)| number)
                .map_err(|problem| problem.to_string()),
        );
        assert!(
            lines.capacity() <= MAX_LINE * 2,
            "the buffer grew to {}",
            lines.capacity()
        );
    }
    assert_eq!(found[0], Ok(1));
    assert!(
        matches!(&found[1], Err(problem) if problem.starts_with("f:2: error[line-too-long]: the line has 41943040 bytes"))
    );
    assert_eq!(found[2], Ok(3));
}

#[test]
fn a_line_of_the_largest_size_is_read() {
    let frame = "{\"case_id\":\"a\",\"input\":{\"q\":\"\"}}".len();
    for (length, good) in [(MAX_LINE, true), (MAX_LINE + 1, false)] {
        let line = format!(
            "{{\"case_id\":\"a\",\"input\":{{\"q\":\"{}\"}}}}\n",
            "x".repeat(length - frame)
        );
        let mut reader = CaseReader::new(Cursor::new(line), DataFormat::Jsonl, Split::Val, "f");
        assert_eq!(reader.next().unwrap().is_ok(), good);
    }
}

/// A file that breaks in the middle.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(std::io::Error::other("the disk is gone"));
        }
        let line = b"case_id,q\na,b\n";
        buffer[..line.len()].copy_from_slice(line);
        Ok(line.len())
    }
}

impl Seek for Broken {
    fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_file_that_breaks_is_told_and_ends() {
    for format in [DataFormat::Jsonl, DataFormat::Csv, DataFormat::Parquet] {
        let reader = CaseReader::new(Broken(false), format, Split::Val, "f");
        let found: Vec<_> = reader.collect();
        let last = found.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(last.contains("cannot be read: the disk is gone"), "{last}");
    }
}

#[test]
fn documents_are_read_from_both_formats() {
    let read = |format, text: &str| {
        DocumentReader::new(Cursor::new(text.to_owned()), format, "c")
            .map(|item| {
                item.map(|(line, document)| (line, json!(document)))
                    .map_err(|p| p.to_string())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        read(
            DataFormat::Jsonl,
            "{\"doc_id\":\"1\",\"title\":null,\"text\":\"x\",\"metadata\":{}}\n{\"doc_id\":\"2\",\"title\":\"t\",\"text\":\"\"}\n"
        ),
        [
            Ok((1, json!({"doc_id": "1", "title": "", "text": "x"}))),
            Ok((2, json!({"doc_id": "2", "title": "t", "text": ""}))),
        ]
    );
    assert_eq!(
        read(DataFormat::Csv, "text,doc_id\nx,7\n"),
        [Ok((2, json!({"doc_id": "7", "title": "", "text": "x"})))]
    );
    assert_eq!(
        read(DataFormat::Csv, "body,doc_id\nx,7\n"),
        [Err(
            "c:1: error[missing-key]: there is no column `text`\n    help: it is what is searched"
                .to_owned()
        )]
    );
}

#[test]
fn id_lists_are_read() {
    let (ids, problems) = read_ids(Cursor::new("# must pass\na\n\n b \na\n"), "p.txt");
    assert_eq!(ids, [CaseId::from("a"), CaseId::from("b")]);
    assert!(problems.is_empty());
    let (ids, problems) = read_ids(Cursor::new(b"a\n\xff\nb\n".to_vec()), "p.txt");
    assert_eq!((ids.len(), problems.len()), (2, 1));
}

#[test]
fn formats_are_told_by_their_ending() {
    for (file, format) in [
        ("a.jsonl", Some(DataFormat::Jsonl)),
        ("d.x/A.JSONL", Some(DataFormat::Jsonl)),
        ("a.ndjson", Some(DataFormat::Jsonl)),
        ("a.csv", Some(DataFormat::Csv)),
        ("a.parquet", Some(DataFormat::Parquet)),
        ("a.json", None),
        ("a.jsonl.gz", None),
        ("d.csv/a", None),
    ] {
        assert_eq!(DataFormat::of(file).ok(), format, "{file}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_and_every_line_is_accounted_for(
        bytes in proptest::collection::vec(
            proptest::sample::select(vec![b'{', b'}', b'"', b':', b',', b'\n', b'\r', b'a', 0xff, 0xc3, 0xa9, 0, b' ']),
            0..200,
        ),
    ) {
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
            .count();
        prop_assert!(cases(DataFormat::Jsonl, &bytes).len() <= lines);
        let rows = cases(DataFormat::Csv, &bytes);
        prop_assert!(rows.len() <= bytes.len());
    }

    #[test]
    fn cases_are_read_as_they_were_written(
        texts in proptest::collection::vec(("[a-z]{1,5}", "\\PC{0,20}", any::<i64>()), 1..8),
    ) {
        let mut file = String::new();
        for (id, text, number) in &texts {
            let line = json!({"case_id": id, "input": {"q": text}, "expected": {"n": number}});
            file.push_str(&format!("{line}\r\n"));
        }
        let reader = CaseReader::new(Cursor::new(file), DataFormat::Jsonl, Split::Train, "f");
        let found: Vec<_> = reader.map(|case| case.unwrap().case).collect();
        prop_assert_eq!(found.len(), texts.len());
        for (case, (id, text, number)) in found.iter().zip(&texts) {
            prop_assert_eq!(case.case_id.as_str(), id);
            prop_assert_eq!(&case.input["q"], &json!(text));
            prop_assert_eq!(&case.expected["n"], &json!(number));
        }
    }
}
