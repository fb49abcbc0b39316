//! JSON lines: one object a row, the columns in their order.

use std::io::Write;

use serde_json::{Map, Value};

use super::{Column, ExportError, Rows, value};

pub(super) struct Lines<W> {
    columns: &'static [Column],
    to: W,
}

impl<W: Write> Lines<W> {
    pub(super) const fn new(columns: &'static [Column], to: W) -> Self {
        Self { columns, to }
    }
}

impl<W: Write> Rows for Lines<W> {
    fn push(&mut self, row: &Value) -> Result<(), ExportError> {
        let cell = |column: &Column| (column.name.to_owned(), value(row, column).cloned().unwrap_or_default());
        let line: Map<String, Value> = self.columns.iter().map(cell).collect();
        serde_json::to_writer(&mut self.to, &line).map_err(std::io::Error::from)?;
        Ok(self.to.write_all(b"\n")?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        Ok(self.to.flush()?)
    }
}
