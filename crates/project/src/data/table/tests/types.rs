use parquet::data_type::Int96;

use super::{Stored, Values, cases, file, plain, texts};

/// The input of a case whose only further column is this.
fn input(field: &str, stored: Stored) -> String {
    let fields = format!("required binary case_id (STRING); {field}");
    let found = cases(&file(&fields, &[texts(&["a"]), stored]));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
        .strip_prefix(r#"1: {"case_id":"a","input":{"x":"#)
        .and_then(|rest| rest.strip_suffix(r#"},"expected":{}}"#))
        .unwrap_or(&found[0])
        .to_owned()
}

fn fixed(bytes: &[u8]) -> Stored {
    plain(Values::Fixed(vec![bytes.to_vec()]))
}

fn bytes(bytes: &[u8]) -> Stored {
    plain(Values::Bytes(vec![bytes.to_vec()]))
}

#[test]
fn values_keep_their_types() {
    let int32 = |value| plain(Values::Int32(vec![value]));
    let int64 = |value| plain(Values::Int64(vec![value]));
    for (field, stored, expected) in [
        (
            "required boolean x;",
            plain(Values::Bool(vec![true])),
            "true",
        ),
        ("required int32 x;", int32(-7), "-7"),
        ("required int32 x (INTEGER(8, true));", int32(-7), "-7"),
        (
            "required int32 x (INTEGER(32, false));",
            int32(-1),
            "4294967295",
        ),
        ("required int32 x (UINT_16);", int32(65535), "65535"),
        ("required int64 x;", int64(i64::MIN), "-9223372036854775808"),
        (
            "required int64 x (INTEGER(64, false));",
            int64(-1),
            "18446744073709551615",
        ),
        ("required float x;", plain(Values::Float(vec![0.1])), "0.1"),
        (
            "required double x;",
            plain(Values::Double(vec![3.0])),
            "3.0",
        ),
        (
            "required fixed_len_byte_array(2) x (FLOAT16);",
            fixed(&[0x00, 0xc1]),
            "-2.5",
        ),
        (
            "required fixed_len_byte_array(2) x (FLOAT16);",
            fixed(&[0x01, 0x00]),
            "5.960464477539063e-8",
        ),
        (
            "required binary x (STRING);",
            bytes("é\"".as_bytes()),
            r#""é\"""#,
        ),
        ("required binary x (ENUM);", bytes(b"A"), r#""A""#),
        ("required binary x;", bytes(b"text"), r#""text""#),
        (
            "required fixed_len_byte_array(3) x;",
            fixed(b"abc"),
            r#""abc""#,
        ),
        (
            "required binary x (JSON);",
            bytes(br#"{"k": [1, null]}"#),
            r#"{"k":[1,null]}"#,
        ),
        (
            "required fixed_len_byte_array(16) x (UUID);",
            fixed(&[
                0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255,
            ]),
            r#""00112233-4455-6677-8899-aabbccddeeff""#,
        ),
        (
            "optional int32 x (UNKNOWN);",
            Stored(Values::Int32(vec![]), vec![0], vec![]),
            "null",
        ),
        (
            "optional double x;",
            Stored(Values::Double(vec![]), vec![0], vec![]),
            "null",
        ),
    ] {
        assert_eq!(input(field, stored), expected, "{field}");
    }
}

#[test]
fn decimals_are_texts_with_all_their_digits() {
    let wide = 12_345_678_901_234_567_890_123_456_789_012_345_678_i128.to_be_bytes();
    for (field, stored, expected) in [
        (
            "required int32 x (DECIMAL(9, 2));",
            plain(Values::Int32(vec![-5])),
            "-0.05",
        ),
        (
            "required int64 x (DECIMAL(18, 0));",
            plain(Values::Int64(vec![120])),
            "120",
        ),
        (
            "required binary x (DECIMAL(10, 3));",
            bytes(&[0xff, 0x00]),
            "-0.256",
        ),
        ("required binary x (DECIMAL(10, 3));", bytes(&[]), "0.000"),
        (
            "required fixed_len_byte_array(16) x (DECIMAL(38, 10));",
            fixed(&wide),
            "1234567890123456789012345678.9012345678",
        ),
        (
            "required fixed_len_byte_array(20) x (DECIMAL(40, 1));",
            fixed(&[0xff; 20]),
            "-0.1",
        ),
    ] {
        assert_eq!(input(field, stored), format!("{expected:?}"), "{field}");
    }
    let mut above = [0; 20];
    above[0] = 1;
    assert_eq!(
        input(
            "required fixed_len_byte_array(20) x (DECIMAL(40, 1));",
            fixed(&above)
        ),
        "f:1: error[bad-value]: `x` is a decimal of more than 38 digits\n    help: cast the column to text"
    );
}

#[test]
fn times_are_written_as_iso_8601() {
    let int32 = |value| plain(Values::Int32(vec![value]));
    let int64 = |value| plain(Values::Int64(vec![value]));
    let mut old = Int96::new();
    // half past noon, on the Julian day of 2000-01-01
    let nanos = 45_000_000_000_000_u64;
    old.set_data(
        u32::try_from(nanos & 0xffff_ffff).unwrap(),
        u32::try_from(nanos >> 32).unwrap(),
        2_451_545,
    );
    for (field, stored, expected) in [
        ("required int32 x (DATE);", int32(19_000), "2022-01-08"),
        ("required int32 x (DATE);", int32(-1), "1969-12-31"),
        (
            "required int32 x (TIME_MILLIS);",
            int32(3_723_004),
            "01:02:03.004",
        ),
        (
            "required int64 x (TIME(NANOS, true));",
            int64(1),
            "00:00:00.000000001",
        ),
        (
            "required int64 x (TIMESTAMP_MILLIS);",
            int64(0),
            "1970-01-01T00:00:00Z",
        ),
        (
            "required int64 x (TIMESTAMP(MICROS, true));",
            int64(-1),
            "1969-12-31T23:59:59.999999Z",
        ),
        (
            "required int64 x (TIMESTAMP(MICROS, false));",
            int64(1_500_000),
            "1970-01-01T00:00:01.5",
        ),
        (
            "required int64 x (TIMESTAMP(NANOS, false));",
            int64(1_700_000_000_000_000_001),
            "2023-11-14T22:13:20.000000001",
        ),
        (
            "required int96 x;",
            plain(Values::Int96(vec![old])),
            "2000-01-01T12:30:00",
        ),
    ] {
        assert_eq!(input(field, stored), format!("{expected:?}"), "{field}");
    }
    for (field, stored) in [
        ("required int32 x (DATE);", int32(i32::MAX)),
        ("required int32 x (TIME_MILLIS);", int32(86_400_000)),
        ("required int32 x (TIME_MILLIS);", int32(-1)),
        (
            "required int64 x (TIMESTAMP(MILLIS, true));",
            int64(i64::MAX),
        ),
    ] {
        let found = input(field, stored);
        assert!(
            found.starts_with("f:1: error[bad-value]: `x` is outside the times"),
            "{found}"
        );
    }
}

#[test]
fn structs_lists_and_maps_nest() {
    let int32 = |values: &[i32], definitions: &[i16], repetitions: &[i16]| {
        Stored(
            Values::Int32(values.to_vec()),
            definitions.to_vec(),
            repetitions.to_vec(),
        )
    };
    let fields = "required binary case_id (STRING);
        optional group input {
            optional group list (LIST) { repeated group list { optional int32 element; } }
            optional group deep (LIST) { repeated group list { required group element (LIST) {
                repeated group list { required group element { optional int32 n; } } } } }
            optional group map (MAP) { repeated group key_value {
                required binary key (STRING); optional int32 value; } }
            repeated int32 bare;
            optional group legacy (LIST) { repeated int32 array; }
            optional group pairs (LIST) { repeated group pairs_tuple { required int32 n; } }
        }";
    let found = cases(&file(
        fields,
        &[
            texts(&["full", "empty", "null"]),
            // [1, null, 3] / [] / nothing
            int32(&[1, 3], &[4, 3, 4, 2, 0], &[0, 1, 1, 0, 0]),
            // [[{1}, {null}], [], [{2}]] / null / nothing
            int32(&[1, 2], &[5, 4, 3, 5, 1, 0], &[0, 2, 1, 1, 0, 0]),
            // {"a": 1, "b": null} / {} / nothing
            Stored(
                Values::Bytes(vec![b"a".to_vec(), b"b".to_vec()]),
                vec![3, 3, 2, 0],
                vec![0, 1, 0, 0],
            ),
            int32(&[1], &[4, 3, 2, 0], &[0, 1, 0, 0]),
            // [7, 8] / [] / nothing
            int32(&[7, 8], &[2, 2, 1, 0], &[0, 1, 0, 0]),
            int32(&[9], &[3, 2, 0], &[0, 0, 0]),
            int32(&[5, 6], &[3, 3, 1, 0], &[0, 1, 0, 0]),
        ],
    ));
    assert_eq!(
        found,
        [
            r#"1: {"case_id":"full","input":{"list":[1,null,3],"deep":[[{"n":1},{"n":null}],[],[{"n":2}]],"map":{"a":1,"b":null},"bare":[7,8],"legacy":[9],"pairs":[{"n":5},{"n":6}]},"expected":{}}"#,
            r#"2: {"case_id":"empty","input":{"list":[],"deep":null,"map":{},"bare":[],"legacy":[],"pairs":null},"expected":{}}"#,
            "f:3: error[case-key]: case `null`: `input` is null, and must be an object\n    help: give it a key: {\"input\": {\"question\": ...}}",
        ]
    );
}

#[test]
fn keys_of_maps_that_are_numbers_become_texts() {
    let numbers = || Stored(Values::Int32(vec![1, 2]), vec![1, 1], vec![0, 1]);
    let fields = "required binary case_id (STRING); required group x (MAP) {
        repeated group key_value { required int32 key; required int32 value; } }";
    assert_eq!(
        cases(&file(fields, &[texts(&["a"]), numbers(), numbers()])),
        [r#"1: {"case_id":"a","input":{"x":{"1":1,"2":2}},"expected":{}}"#]
    );
}
