use std::io::{Cursor as Bytes, Read, Seek, SeekFrom};

use fapo_domain::model::case::Split;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Stored, Values, cases, file, plain, properties, texts, write};
use crate::data::table::guard::guarded;
use crate::data::{CaseReader, DataFormat, DocumentReader, Fault};

const FLAT: &str = "required binary case_id (STRING); required binary q (STRING);";

fn small() -> Vec<u8> {
    file(FLAT, &[texts(&["a", "b"]), texts(&["x", "y"])])
}

#[test]
fn what_is_not_a_whole_parquet_file_is_told() {
    let whole = small();
    let not = "f: error[data-format]: the file is not Parquet\n    help: name it by what it is, such as `.jsonl` or `.csv`";
    let cut = "f: error[data-format]: the file is cut off: its end is missing\n    help: copy or write it again";
    let encrypted = "f: error[data-format]: the file is encrypted\n    help: write it without encryption: no keys are kept here";
    assert_eq!(cases(b""), [not]);
    assert_eq!(cases(b"{\"case_id\": \"a\", \"input\": {}}\n"), [not]);
    assert_eq!(cases(b"PAR1"), [cut]);
    assert_eq!(cases(&whole[..whole.len() / 2]), [cut]);
    assert_eq!(cases(&whole[..whole.len() - 1]), [cut]);
    let mut hidden = whole.clone();
    let end = hidden.len() - 4;
    hidden[end..].copy_from_slice(b"PARE");
    assert_eq!(cases(&hidden), [encrypted]);
    hidden[..4].copy_from_slice(b"PARE");
    assert_eq!(cases(&hidden), [encrypted]);
    // the middle is missing
    let mut holed = whole[..8].to_vec();
    holed.extend_from_slice(&whole[whole.len() - 40..]);
    let found = cases(&holed);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("f: error[unreadable]: cannot be read: "),
        "{found:?}"
    );
}

/// A file of nothing but an end.
fn ending(end: &[u8]) -> Vec<u8> {
    let length = u32::try_from(end.len()).unwrap().to_le_bytes();
    [b"PAR1", end, &length, b"PAR1"].concat()
}

#[test]
fn an_encrypted_file_with_its_end_in_the_clear_is_told_as_such() {
    let whole = small();
    let tail = whole.len() - 8;
    let length = u32::from_le_bytes(whole[tail..tail + 4].try_into().unwrap());
    let end = &whole[tail - usize::try_from(length).unwrap()..tail];
    // after field 7, the order of columns: field 8, how it is encrypted
    let end = [&end[..end.len() - 1], &[0x1c, 0x1c, 0, 0, 0]].concat();
    assert_eq!(
        cases(&ending(&end)),
        [
            "f: error[data-format]: the file is encrypted\n    help: write it without encryption: no keys are kept here"
        ]
    );
}

#[test]
fn a_schema_that_is_nested_without_end_is_turned_away() {
    let schema = |levels: u32| {
        // version 1; a list of structs, its size in three bytes
        let mut end = vec![0x15, 2, 0x19, 0xfc];
        let size = levels + 2;
        end.extend([0, 7, 14].map(|shift| u8::try_from(size >> shift & 0x7f).unwrap() | 0x80));
        *end.last_mut().unwrap() &= 0x7f;
        // named, with one child each, and a text at last
        end.extend([0x48, 1, b'm', 0x15, 2, 0]);
        for _ in 0..levels {
            end.extend([0x35, 0, 0x18, 1, b'g', 0x15, 2, 0]);
        }
        end.extend([0x15, 12, 0x25, 0, 0x18, 1, b't', 0]);
        // no rows, and no row groups
        end.extend([0x16, 0, 0x19, 0x0c, 0]);
        cases(&ending(&end))
    };
    let deep = "f: error[bad-header]: its columns are nested more than 400 levels deep\n    help: leave such columns out";
    assert_eq!(schema(1_000_000), [deep]);
    assert_eq!(schema(400), [deep]);
    assert_eq!(
        schema(150),
        [
            "f: error[bad-header]: column `g` holds more than 100 levels of nesting\n    help: cast it to text, or leave it out"
        ]
    );
    assert!(
        schema(50)[0].contains("there is no column `case_id`"),
        "{:?}",
        schema(50)
    );
}

#[test]
fn columns_that_do_not_make_cases_are_told_once() {
    let id = || texts(&["a", "b"]);
    let number = || plain(Values::Int32(vec![1, 2]));
    for (fields, columns, expected) in [
        (
            "required binary id (STRING); required int32 q;",
            [id(), number()],
            "error[missing-key]: there is no column `case_id`\n    help: there is `id`: rename it to `case_id`",
        ),
        (
            "required int32 case_id; required int32 q;",
            [number(), number()],
            "error[bad-header]: column `case_id` holds numbers, and must hold texts\n    help: cast it to text",
        ),
        (
            "required binary case_id (STRING); required int32 expected;",
            [id(), number()],
            "error[bad-header]: column `expected` holds numbers, and must hold objects\n    help: give it a key, by the name of `expected.<key>`",
        ),
        (
            "required binary case_id (STRING); required int32 expected.n;",
            [id(), number()],
            "error[missing-key]: there is no column `input`, and none that gives a key of it\n    help: it holds what the pipeline sees",
        ),
        (
            "required binary case_id (STRING); required binary case_id (STRING);",
            [id(), id()],
            "error[bad-header]: two columns are named `case_id`\n    help: rename one of them",
        ),
        (
            "required binary case_id (STRING); required group q { repeated fixed_len_byte_array(12) x (INTERVAL); }",
            [id(), Stored(Values::Fixed(vec![]), vec![0, 0], vec![0, 0])],
            "error[bad-header]: column `q` holds an interval, which is not read\n    help: cast it to text, or leave it out",
        ),
    ] {
        assert_eq!(
            cases(&file(fields, &columns)),
            [format!("f: {expected}")],
            "{fields}"
        );
    }
    let both = "required binary case_id (STRING); required int32 input.q; required int32 q;";
    assert_eq!(
        cases(&file(both, &[id(), number(), number()])),
        [
            "f: error[bad-header]: columns `input.q` and `q` give the same key\n    help: give a part as one struct column, or as columns `input.<key>`"
        ]
    );
    let mixed = "required binary case_id (STRING); required group input { required int32 q; } required int32 input.n;";
    assert_eq!(
        cases(&file(mixed, &[id(), number(), number()])),
        [
            "f: error[bad-header]: columns `input` and `input.n` give the input\n    help: give a part as one struct column, or as columns `input.<key>`"
        ]
    );
    let twice = "required binary case_id (STRING); required group input { required int32 q; } required group context { required int32 q; }";
    assert_eq!(
        cases(&file(twice, &[id(), number(), number()])),
        [
            "f: error[bad-header]: columns `input` and `context` give the same key\n    help: give a part as one struct column, or as columns `input.<key>`"
        ]
    );
    let text = "required binary case_id (STRING); required group input { required int32 q; } required binary context (STRING);";
    assert_eq!(
        cases(&file(text, &[id(), number(), id()])),
        [
            "f: error[bad-header]: columns `input` and `context` give the input\n    help: give a part as one struct column, or as columns `input.<key>`"
        ]
    );
}

#[test]
fn a_codec_that_is_not_read_is_named() {
    let whole = write(
        FLAT,
        properties(Compression::SNAPPY),
        &[vec![texts(&["a"]), texts(&["x"])]],
    );
    // the codec is a number in the end of the file: field 4 of a column's metadata, after the path (field 3)
    let name = b"case_id\x15\x02";
    let at = whole
        .windows(name.len())
        .rposition(|bytes| bytes == name)
        .unwrap()
        + name.len()
        - 1;
    for (codec, called) in [(4, "Brotli"), (5, "LZ4"), (7, "LZ4"), (3, "LZO")] {
        let mut other = whole.clone();
        other[at] = codec * 2;
        assert_eq!(
            cases(&other),
            [format!(
                "f: error[data-format]: column `case_id` is compressed with {called}, which is not read\n    help: write it with `snappy`, `zstd` or `gzip`, or uncompressed"
            )]
        );
    }
}

/// A file on a disk that fails once the end was read.
struct Failing(Bytes<Vec<u8>>, u64);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0.position() > 4 && self.0.position() < self.1 {
            return Err(std::io::Error::other("the disk is gone"));
        }
        let count = buffer.len().min(4);
        self.0.read(if self.0.position() < 4 {
            &mut buffer[..count]
        } else {
            buffer
        })
    }
}

impl Seek for Failing {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(position)
    }
}

#[test]
fn a_file_that_breaks_is_told_and_ends() {
    let groups: Vec<Vec<Stored>> = (0..2)
        .map(|_| vec![texts(&["a"; 9]), texts(&["x"; 9])])
        .collect();
    let file = write(FLAT, properties(Compression::UNCOMPRESSED), &groups);
    let end = file.len() - 8;
    let length = u32::from_le_bytes(file[end..end + 4].try_into().unwrap());
    let data = end as u64 - u64::from(length);
    let source = Failing(Bytes::new(file), data);
    let found: Vec<_> = CaseReader::new(source, DataFormat::Parquet, Split::Val, "f").collect();
    let last = found.last().unwrap().as_ref().unwrap_err().to_string();
    assert_eq!(
        last,
        "f:1: error[unreadable]: cannot be read: the disk is gone"
    );
}

/// Files of every encoding that the writer has by default, nested and flat.
fn samples() -> Vec<Vec<u8>> {
    let fields = "required binary case_id (STRING); optional int64 n (DECIMAL(9, 2)); required fixed_len_byte_array(4) f;
        optional group input { optional group l (LIST) { repeated group list { optional binary element (STRING); } }
            required double d; required boolean b; }";
    let ids: Vec<String> = (0..40).map(|row| format!("c{row}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let lists = |rows: usize| {
        let (mut texts, mut definitions, mut repetitions) = (vec![], vec![], vec![]);
        for row in 0..rows {
            for element in 0..=(row % 3) {
                texts.push(format!("e{}", element % 2).into_bytes());
                definitions.push(4);
                repetitions.push(i16::from(element > 0));
            }
        }
        Stored(Values::Bytes(texts), definitions, repetitions)
    };
    let columns = vec![
        texts(&ids),
        Stored(
            Values::Int64((0..20).collect()),
            (0..40).map(|row| row % 2).collect(),
            vec![],
        ),
        plain(Values::Fixed(vec![b"abcd".to_vec(); 40])),
        lists(40),
        Stored(
            Values::Double((0..40).map(f64::from).collect()),
            vec![1; 40],
            vec![],
        ),
        Stored(
            Values::Bool((0..40).map(|row| row % 3 == 0).collect()),
            vec![1; 40],
            vec![],
        ),
    ];
    let builder = || {
        WriterProperties::builder()
            .set_data_page_row_count_limit(16)
            .set_write_batch_size(8)
    };
    use parquet::file::properties::WriterVersion::{PARQUET_1_0, PARQUET_2_0};
    [
        builder().set_writer_version(PARQUET_1_0),
        builder()
            .set_writer_version(PARQUET_2_0)
            .set_dictionary_enabled(false),
        builder().set_compression(Compression::SNAPPY),
        builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_writer_version(PARQUET_2_0),
    ]
    .map(|properties| {
        write(
            fields,
            properties.build(),
            &[columns.clone(), columns.clone()],
        )
    })
    .to_vec()
}

/// A stream of numbers from a seed (splitmix64, Steele et al. 2014): the same on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

#[test]
fn a_file_that_says_the_same_without_end_is_left() {
    let ids: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let long = "x".repeat(1 << 20);
    let bomb = write(
        "required binary doc_id (STRING); required binary text (STRING);",
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .build(),
        &[vec![texts(&ids), texts(&vec![long.as_str(); 400])]],
    );
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let mut read = 0;
    let mut last = None;
    for document in DocumentReader::new(Bytes::new(bomb), DataFormat::Parquet, "c.parquet") {
        match document {
            Ok(_) => read += 1,
            Err(problem) => last = Some(problem.message),
        }
    }
    assert!((200..300).contains(&read), "{read}");
    let last = last.expect("the end is told");
    assert!(last.contains("1000 times as large"), "{last}");
}

#[test]
fn a_panic_of_the_library_is_damage() {
    let found: Result<(), _> = guarded(|| panic!("range end out of bounds"));
    assert_eq!(
        Fault::from(found.unwrap_err()).problem("f", 3).to_string(),
        "f:3: error[unreadable]: cannot be read: its bytes make no sense\n    help: the file is damaged: copy or write it again"
    );
}

#[test]
fn damaged_files_end_in_problems() {
    let mut problems = 0;
    for (seed, whole) in samples().into_iter().enumerate() {
        assert_eq!(cases(&whole).len(), 80);
        assert!(
            cases(&whole).iter().all(|case| !case.starts_with("f:")),
            "{:?}",
            cases(&whole)
        );
        let mut seeded = Seeded(seed as u64);
        for _ in 0..200 {
            let mut damaged = whole.clone();
            for _ in 0..=seeded.below(3) {
                let at = seeded.below(damaged.len());
                damaged[at] ^= 1 << seeded.below(8);
            }
            let found = cases(&damaged);
            assert!(found.len() <= 81, "{} items", found.len());
            problems += usize::from(found.iter().any(|case| case.starts_with("f:")));
        }
        for end in (0..whole.len()).step_by(7) {
            assert_eq!(cases(&whole[..end]).len(), 1);
        }
    }
    assert!(problems > 300, "{problems}");
}
