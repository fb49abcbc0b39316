//! Rows for other programs: JSON lines, comma-separated values, Parquet.
//!
//! A table is a list of columns; a column says where its value stands in the JSON form of a row, so the three
//! formats cannot part. What a format cannot hold exactly is refused with its row and column, never rounded.
//!
//! Invariants: money stays decimal; times stay in UTC, to the nanosecond; memory does not grow with the rows.

mod lines;
mod parquet;
mod separated;
pub mod tables;

use std::io::{self, Write};

use ephor_governance::units::{Amount, Timestamp};
use serde_json::Value;

/// What a column holds. Each may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number, 64 bits with sign.
    Int,
    /// A binary floating-point number, 64 bits.
    Float,
    /// True or false.
    Bool,
    /// An instant, nanoseconds UTC.
    Time,
    /// An exact decimal number: 38 digits, 18 of them behind the point, in Parquet; text elsewhere.
    Decimal,
    /// JSON: nested in JSON lines, text elsewhere.
    Json,
}

/// A column: its name, where it stands in a row's JSON, and what it holds.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// A JSON pointer (RFC 6901) into the row.
    pub at: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
    /// Apache Parquet, compressed with Snappy
    Parquet,
}

impl Format {
    /// The endings of files in this format.
    #[must_use]
    pub const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Jsonl => &["jsonl", "ndjson"],
            Self::Csv => &["csv"],
            Self::Parquet => &["parquet"],
        }
    }

    /// The format that a file's name says.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        [Self::Jsonl, Self::Csv, Self::Parquet].into_iter().find(|format| format.endings().contains(&ending.as_str()))
    }
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A value does not fit its column.
    #[error("row {row}: {column} is {value}, which {}: export to CSV or JSON lines instead", kind.limit())]
    Misfit {
        /// Which row, from 1.
        row: u64,
        /// Which column.
        column: &'static str,
        /// What it holds.
        kind: Kind,
        /// The value.
        value: String,
    },
    /// What they are written to refused.
    #[error("write the rows failed")]
    Write(#[from] io::Error),
    /// The encoder of the format refused.
    #[error("encode the rows failed")]
    Encode(#[from] ::parquet::errors::ParquetError),
    /// A batch of rows is not what its columns say.
    #[error("encode the rows failed")]
    Batch(#[from] arrow_schema::ArrowError),
}

impl Kind {
    const fn limit(self) -> &'static str {
        match self {
            Self::Text => "is no text",
            Self::Int => "is no whole number of 64 bits with sign",
            Self::Float => "is no number",
            Self::Bool => "is neither true nor false",
            Self::Time => "is no time between the years 1677 and 2262",
            Self::Decimal => "has no exact decimal form of 20 digits before the point and 18 behind it",
            Self::Json => "is no JSON",
        }
    }
}

/// Where rows go.
pub trait Rows {
    /// Adds a row.
    ///
    /// # Errors
    /// [`ExportError`]; what was written before is of no use then.
    fn push(&mut self, row: &Value) -> Result<(), ExportError>;

    /// Writes what is still held, and the end of the format.
    ///
    /// # Errors
    /// [`ExportError`].
    fn finish(self: Box<Self>) -> Result<(), ExportError>;
}

/// Begins a table in a format.
///
/// # Errors
/// [`ExportError`] where its beginning cannot be written.
pub fn begin<'a>(
    format: Format,
    columns: &'static [Column],
    to: impl Write + Send + 'a,
) -> Result<Box<dyn Rows + 'a>, ExportError> {
    Ok(match format {
        Format::Jsonl => Box::new(lines::Lines::new(columns, to)),
        Format::Csv => Box::new(separated::Separated::begin(columns, to)?),
        Format::Parquet => Box::new(parquet::Columnar::begin(columns, to)?),
    })
}

/// The value of a column in a row; `None` where it is absent or null.
fn value<'a>(row: &'a Value, column: &Column) -> Option<&'a Value> {
    row.pointer(column.at).filter(|value| !value.is_null())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn decimal(value: &Value) -> Option<Amount> {
    value.as_str()?.parse().ok()
}
