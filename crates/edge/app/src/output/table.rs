//! Tables without borders: a header, and columns that line up.

use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A table under construction.
#[derive(Debug)]
pub struct Columns {
    table: Table,
}

impl Columns {
    /// A table with these headings. A heading that starts with `>` marks a column of numbers.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(
                headings
                    .iter()
                    .map(|heading| heading.trim_start_matches('>')),
            );
        for (position, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(position) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }

    /// Adds a row.
    pub fn row<I, T>(&mut self, cells: I) -> &mut Self
    where
        I: IntoIterator<Item = T>,
        T: Into<String>,
    {
        self.table.add_row(
            cells
                .into_iter()
                .map(|cell| super::style::printable(&cell.into())),
        );
        self
    }

    /// The table as text, without white space at line ends.
    pub fn finish(&self) -> String {
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Columns::new(&["name", ">value"]);
        table.row(["a", "1"]).row(["longer", "100"]);
        assert_eq!(
            table.finish(),
            "name    value\na           1\nlonger    100"
        );
    }
}
