//! Rows as COPY reads them in its binary format
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format").

/// What comes before the first row: the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What comes after the last.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// Rows in the making. Each begins with [`Rows::row`] and has as many fields as that says.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<u8>);

impl Rows {
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        self.0.extend_from_slice(&fields.to_be_bytes());
        self
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.0.extend_from_slice(&(-1i32).to_be_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // no value is as long as 2 GB: those that are long stand in blobs
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        self.int(crate::values::to_i64(value))
    }

    pub(super) fn flag(&mut self, value: bool) -> &mut Self {
        self.bytes(&[u8::from(value)])
    }

    pub(super) fn opt_bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.bytes(value),
            None => self.null(),
        }
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(super) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        self.opt_bytes(value.map(str::as_bytes))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}
