//! Small Parquet files, written here, read back.

mod damage;
mod rows;
mod types;

use std::io::Cursor as Bytes;
use std::sync::Arc;

use fapo_domain::model::case::Split;
use parquet::basic::Compression;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    FloatType, Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::data::{CaseReader, DataFormat, DocumentReader};

/// Values of a stored column, without the nulls.
#[derive(Clone)]
enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Int96(Vec<Int96>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
    Fixed(Vec<Vec<u8>>),
}

/// A stored column: values, definition levels (empty where all are required) and repetition levels (empty without lists).
#[derive(Clone)]
struct Stored(Values, Vec<i16>, Vec<i16>);

fn texts(values: &[&str]) -> Stored {
    let values = values.iter().map(|value| value.as_bytes().to_vec());
    Stored(Values::Bytes(values.collect()), vec![], vec![])
}

fn plain(values: Values) -> Stored {
    Stored(values, vec![], vec![])
}

/// Writes a file: the fields of a message type, and the stored columns of each row group.
fn write(fields: &str, properties: WriterProperties, groups: &[Vec<Stored>]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {fields} }}")).unwrap());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for Stored(values, definitions, repetitions) in columns {
            let mut column = group.next_column().unwrap().expect("a column too many");
            let definitions = (!definitions.is_empty()).then_some(definitions.as_slice());
            let repetitions = (!repetitions.is_empty()).then_some(repetitions.as_slice());
            macro_rules! put {
                ($type:ty, $values:expr) => {
                    column
                        .typed::<$type>()
                        .write_batch($values, definitions, repetitions)
                        .unwrap()
                };
            }
            let bytes = |values: &[Vec<u8>]| -> Vec<ByteArray> {
                values.iter().cloned().map(ByteArray::from).collect()
            };
            match values {
                Values::Bool(values) => put!(BoolType, values),
                Values::Int32(values) => put!(Int32Type, values),
                Values::Int64(values) => put!(Int64Type, values),
                Values::Int96(values) => put!(Int96Type, values),
                Values::Float(values) => put!(FloatType, values),
                Values::Double(values) => put!(DoubleType, values),
                Values::Bytes(values) => put!(ByteArrayType, &bytes(values)),
                Values::Fixed(values) => put!(
                    FixedLenByteArrayType,
                    &bytes(values)
                        .into_iter()
                        .map(FixedLenByteArray::from)
                        .collect::<Vec<_>>()
                ),
            };
            column.close().unwrap();
        }
        assert!(
            group.next_column().unwrap().is_none(),
            "a column is not written"
        );
        group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

fn properties(compression: Compression) -> WriterProperties {
    WriterProperties::builder()
        .set_compression(compression)
        .build()
}

/// A file of one uncompressed row group.
fn file(fields: &str, columns: &[Stored]) -> Vec<u8> {
    write(
        fields,
        properties(Compression::UNCOMPRESSED),
        &[columns.to_vec()],
    )
}

/// Cases and problems, each as a line to compare.
fn cases(bytes: &[u8]) -> Vec<String> {
    let reader = Bytes::new(bytes.to_vec());
    CaseReader::new(reader, DataFormat::Parquet, Split::Val, "f")
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

/// The same of documents.
fn documents(bytes: &[u8]) -> Vec<String> {
    DocumentReader::new(Bytes::new(bytes.to_vec()), DataFormat::Parquet, "f")
        .map(|item| match item {
            Ok((line, found)) => format!("{line}: {}", serde_json::to_string(&found).unwrap()),
            Err(problem) => problem.to_string(),
        })
        .collect()
}
