//! Parquet by Arrow's own crates: rows gathered into batches, batches into row groups of bounded size.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder, TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ephor_governance::units::Amount;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::{Column, ExportError, Kind, Rows, decimal, time, value};

/// Rows gathered before they are encoded.
const BATCH_ROWS: usize = 4_096;
/// Encoded bytes held before a row group is written.
const GROUP_BYTES: usize = 32 << 20;
/// Digits of a decimal, and those behind its point.
const DIGITS: (u8, i8) = (38, 18);

pub(super) struct Columnar<W: Write + Send> {
    columns: &'static [Column],
    schema: SchemaRef,
    cells: Vec<Cells>,
    held: usize,
    rows: u64,
    to: ArrowWriter<W>,
}

impl<W: Write + Send> Columnar<W> {
    pub(super) fn begin(columns: &'static [Column], to: W) -> Result<Self, ExportError> {
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(column.name, data_type(column.kind), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let to = ArrowWriter::try_new(to, schema.clone(), Some(properties))?;
        let cells = columns.iter().map(|column| Cells::of(column.kind)).collect();
        Ok(Self { columns, schema, cells, held: 0, rows: 0, to })
    }

    fn write_batch(&mut self) -> Result<(), ExportError> {
        let arrays = self.cells.iter_mut().map(Cells::finish).collect::<Result<_, _>>()?;
        self.to.write(&RecordBatch::try_new(self.schema.clone(), arrays)?)?;
        self.held = 0;
        if self.to.in_progress_size() >= GROUP_BYTES {
            self.to.flush()?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Rows for Columnar<W> {
    fn push(&mut self, row: &Value) -> Result<(), ExportError> {
        self.rows += 1;
        for (column, cells) in self.columns.iter().zip(&mut self.cells) {
            let value = value(row, column);
            cells.push(value).ok_or_else(|| ExportError::Misfit {
                row: self.rows,
                column: column.name,
                kind: column.kind,
                value: value.map(Value::to_string).unwrap_or_default(),
            })?;
        }
        self.held += 1;
        if self.held >= BATCH_ROWS { self.write_batch() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        self.write_batch()?;
        let Self { to, .. } = *self;
        to.close()?;
        Ok(())
    }
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text | Kind::Json => DataType::Utf8,
        Kind::Int => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Kind::Decimal => DataType::Decimal128(DIGITS.0, DIGITS.1),
    }
}

/// A column being filled.
enum Cells {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampNanosecondBuilder),
    Decimal(Decimal128Builder),
    Json(StringBuilder),
}

impl Cells {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Json => Self::Json(StringBuilder::new()),
            Kind::Int => Self::Int(Int64Builder::new()),
            Kind::Float => Self::Float(Float64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Time => Self::Time(TimestampNanosecondBuilder::new()),
            Kind::Decimal => Self::Decimal(Decimal128Builder::new()),
        }
    }

    /// Adds a value; `None` where it does not fit.
    fn push(&mut self, value: Option<&Value>) -> Option<()> {
        let Some(value) = value else {
            match self {
                Self::Text(cells) | Self::Json(cells) => cells.append_null(),
                Self::Int(cells) => cells.append_null(),
                Self::Float(cells) => cells.append_null(),
                Self::Bool(cells) => cells.append_null(),
                Self::Time(cells) => cells.append_null(),
                Self::Decimal(cells) => cells.append_null(),
            }
            return Some(());
        };
        match self {
            Self::Text(cells) => cells.append_value(value.as_str()?),
            Self::Json(cells) => cells.append_value(value.to_string()),
            Self::Int(cells) => cells.append_value(value.as_i64()?),
            Self::Float(cells) => cells.append_value(value.as_f64()?),
            Self::Bool(cells) => cells.append_value(value.as_bool()?),
            Self::Time(cells) => cells.append_value(time(value)?.nanos()),
            Self::Decimal(cells) => cells.append_value(scaled(decimal(value)?)?),
        }
        Some(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ExportError> {
        Ok(match self {
            Self::Text(cells) | Self::Json(cells) => Arc::new(cells.finish()),
            Self::Int(cells) => Arc::new(cells.finish()),
            Self::Float(cells) => Arc::new(cells.finish()),
            Self::Bool(cells) => Arc::new(cells.finish()),
            Self::Time(cells) => Arc::new(cells.finish().with_timezone("UTC")),
            Self::Decimal(cells) => Arc::new(cells.finish().with_precision_and_scale(DIGITS.0, DIGITS.1)?),
        })
    }
}

/// The number in units of ten to the power of -18; `None` where it has no such form of 38 digits.
fn scaled(amount: Amount) -> Option<i128> {
    let exact = amount.normalized().decimal();
    let zeros = u32::try_from(DIGITS.1).ok()?.checked_sub(exact.scale())?;
    let scaled = exact.mantissa().checked_mul(10_i128.checked_pow(zeros)?)?;
    (scaled.unsigned_abs() < 10_u128.pow(u32::from(DIGITS.0))).then_some(scaled)
}
