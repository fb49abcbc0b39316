//! Comma-separated values: a header, then a line a row; what is absent is empty.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

use super::{Column, ExportError, Rows, value};

pub(super) struct Separated<W: Write> {
    columns: &'static [Column],
    to: csv::Writer<W>,
}

impl<W: Write> Separated<W> {
    pub(super) fn begin(columns: &'static [Column], to: W) -> Result<Self, ExportError> {
        let mut to = csv::Writer::from_writer(to);
        to.write_record(columns.iter().map(|column| column.name)).map_err(written)?;
        Ok(Self { columns, to })
    }
}

impl<W: Write> Rows for Separated<W> {
    fn push(&mut self, row: &Value) -> Result<(), ExportError> {
        let cells = self.columns.iter().map(|column| text(value(row, column)));
        for cell in cells {
            self.to.write_field(cell.as_bytes()).map_err(written)?;
        }
        self.to.write_record(None::<&[u8]>).map_err(written)?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        Ok(self.to.flush()?)
    }
}

/// The system's own error, and not one that is of another kind and hides it.
fn written(error: csv::Error) -> io::Error {
    let csv::ErrorKind::Io(source) = error.into_kind() else {
        return io::Error::other("a row has not as many cells as its header");
    };
    source
}

fn text(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}
