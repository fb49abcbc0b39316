//! Rows as PostgreSQL's COPY writes and reads them in text, and whether what is read back is what was written.
//!
//! What is written is the text that the database gives back, so a field is compared as text; floats are compared as
//! numbers, and JSON as values, because the database orders keys and writes numbers its own way.

use serde_json::Value;

use super::schema::Table;
use crate::export::{Column, Kind};

/// What stands for a NUL, which the database cannot hold.
const FOR_NUL: char = '\u{2400}';

/// Appends a row as a line.
pub(super) fn put(line: &mut Vec<u8>, table: &Table, row: &Value) {
    for (number, column) in table.columns.iter().enumerate() {
        if number > 0 {
            line.push(b'\t');
        }
        match field(column, row) {
            Some(text) => escape(line, text.as_bytes()),
            None => line.extend_from_slice(b"\\N"),
        }
    }
    line.push(b'\n');
}

/// A field as text; `None` for NULL.
pub(super) fn field(column: &Column, row: &Value) -> Option<String> {
    let value = row.pointer(column.at).filter(|value| !value.is_null())?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), without_nul);
    Some(match column.kind {
        Kind::Text | Kind::Int | Kind::Float => text(value),
        Kind::Bool => if value.as_bool()? { "t" } else { "f" }.to_owned(),
        Kind::Time => time(value.as_str()?),
        Kind::Decimal => decimal(&text(value)),
        Kind::Json => json(value),
    })
}

fn without_nul(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', FOR_NUL.encode_utf8(&mut [0; 4])) } else { text.to_owned() }
}

/// JSON that the database takes.
fn json(value: &Value) -> String {
    let text = value.to_string();
    // Rare: the escape may also be a backslash's, and then this changes nothing.
    if text.contains("\\u0000") { mended(value).to_string() } else { text }
}

fn mended(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_nul(text)),
        Value::Array(items) => Value::Array(items.iter().map(mended).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (without_nul(name), mended(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A zero has no sign in the database.
fn decimal(text: &str) -> String {
    let is_zero = !text.bytes().any(|byte| byte.is_ascii_digit() && byte != b'0');
    if is_zero { text.trim_start_matches('-').to_owned() } else { text.to_owned() }
}

/// An RFC 3339 time in UTC as the database writes it, to the microsecond.
fn time(text: &str) -> String {
    let utc = text.trim_end_matches('Z');
    let (seconds, fraction) = utc.split_once('.').unwrap_or((utc, ""));
    let micros = fraction.get(..6).unwrap_or(fraction).trim_end_matches('0');
    let seconds = seconds.replacen('T', " ", 1);
    if micros.is_empty() { format!("{seconds}+00") } else { format!("{seconds}.{micros}+00") }
}

fn escape(line: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        let (plain, special) = rest.split_at(at);
        line.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        line.push(b'\\');
        line.push(match byte {
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            other => *other,
        });
        rest = after;
    }
    line.extend_from_slice(rest);
}

/// The fields of a line that the database sent, without its end.
pub(super) fn fields(line: &[u8]) -> Result<Vec<Option<String>>, String> {
    line.split(|byte| *byte == b'\t')
        .map(|field| if field == b"\\N" { Ok(None) } else { unescape(field).map(Some) })
        .collect()
}

fn unescape(field: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        bytes.push(match rest.next().ok_or("a backslash at its end")? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// Whether a field of the table says what the log says.
pub(super) fn same(kind: Kind, table: Option<&str>, log: Option<&str>) -> bool {
    let (Some(table), Some(log)) = (table, log) else { return table == log };
    match kind {
        Kind::Text | Kind::Int | Kind::Bool | Kind::Time | Kind::Decimal => table == log,
        Kind::Float => {
            let number = |text: &str| text.parse::<f64>().ok().map(f64::to_bits);
            number(table).is_some() && number(table) == number(log)
        }
        Kind::Json => {
            let value = |text: &str| serde_json::from_str::<Value>(text).ok();
            matches!((value(table), value(log)), (Some(table), Some(log)) if equal(&table, &log))
        }
    }
}

fn equal(table: &Value, log: &Value) -> bool {
    match (table, log) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| equal(value, other)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        // The database writes 1e16 as a whole number.
        (Value::Number(a), Value::Number(b)) => a == b || (b.is_f64() && a.as_f64() == b.as_f64()),
        (a, b) => a == b,
    }
}

/// Cuts what arrives in pieces into lines, each without its end.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes a piece; gives the lines that it ends.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            self.begun.extend_from_slice(part);
            if parts.peek().is_some() {
                lines.push(std::mem::take(&mut self.begun));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit_db::schema::TABLES;

    #[test]
    fn what_is_escaped_is_read_back() {
        for text in ["", "plain", "a\tb\nc\rd\\e", "\\N", "\\", "é\u{2400}", "\u{8}\u{b}\u{c}"] {
            let mut line = Vec::new();
            escape(&mut line, text.as_bytes());
            assert!(!line.contains(&b'\n') && !line.contains(&b'\t'));
            assert_eq!(fields(&line).unwrap(), [Some(text.to_owned())], "{text:?}");
        }
        assert_eq!(fields(b"a\t\\N\t").unwrap(), [Some("a".to_owned()), None, Some(String::new())]);
        assert!(fields(b"a\\").is_err());
    }

    #[test]
    fn times_are_as_the_database_writes_them() {
        for (rfc, written) in [
            ("2012-02-15T23:55:00Z", "2012-02-15 23:55:00+00"),
            ("2012-02-15T23:55:00.120Z", "2012-02-15 23:55:00.12+00"),
            ("2012-02-15T23:55:00.123456789Z", "2012-02-15 23:55:00.123456+00"),
            ("2012-02-15T23:55:00.000000999Z", "2012-02-15 23:55:00+00"),
        ] {
            assert_eq!(time(rfc), written);
        }
    }

    #[test]
    fn a_nul_is_written_as_its_symbol_and_a_backslash_stays_one() {
        assert_eq!(json(&json!({ "a": "x\0y", "b": "\\u0000" })), "{\"a\":\"x\u{2400}y\",\"b\":\"\\\\u0000\"}");
    }

    #[test]
    fn every_kind_of_field_is_compared_exactly() {
        let same = |kind, table, log| super::same(kind, Some(table), Some(log));
        assert!(same(Kind::Float, "0.1", "1e-1"));
        assert!(!same(Kind::Float, "0.1", "0.10000000000000002"));
        assert!(!same(Kind::Float, "x", "x"));
        assert!(same(Kind::Decimal, "1.10", "1.10"));
        assert!(!same(Kind::Decimal, "1.1", "1.10"), "the digits that were recorded");
        assert!(same(Kind::Json, "{\"b\": 10000000000000000, \"a\": [1.0]}", "{\"a\":[1.0],\"b\":1e16}"));
        assert!(!same(Kind::Json, "{\"a\": 1}", "{\"a\": 1, \"b\": null}"));
        assert!(!same(Kind::Json, "[1, 2]", "[2, 1]"));
        assert!(!super::same(Kind::Text, None, Some("")));
        assert_eq!(decimal("-0.00"), "0.00");
        assert_eq!(decimal("-0.10"), "-0.10");
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let mut lines = Lines::default();
        let whole: Vec<_> =
            [b"ab".as_slice(), b"c\nd", b"\n\n", b"e"].iter().flat_map(|piece| lines.take(piece)).collect();
        assert_eq!(whole, [b"abc".to_vec(), b"d".to_vec(), Vec::new()]);
    }

    #[test]
    fn the_columns_are_those_of_the_migrations() {
        let sql = include_str!("migrations/0001_audit_trail.sql");
        for table in TABLES {
            let body = sql.split_once(&format!("CREATE TABLE IF NOT EXISTS {} (\n", table.name)).unwrap().1;
            let body = body.split_once(");").unwrap().0;
            let columns: Vec<_> = body.lines().filter_map(|line| line.split_whitespace().next()).collect();
            assert_eq!(columns.join(", "), table.listed());
            for column in columns {
                let comment = format!("COMMENT ON COLUMN {}.{column} IS '", table.name);
                assert!(sql.contains(&comment), "{} has no comment on {column}", table.name);
            }
        }
    }
}
