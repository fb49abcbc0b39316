//! What a person sees: text, tables, colours, errors; and the same as JSON for programs.
//!
//! Colours are written always and stripped on the way out unless a terminal wants them, so there is
//! one way through the code. A reader that goes away (`| head`) ends the program quietly.

use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, presets};
use ephor_governance::units::{Amount, Timestamp};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::{CliError, Exit, Global};

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();

/// Text in a style.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Lets log lines go to standard error: warnings, or as much as `-v` (or `EPHOR_LOG`) asks for.
pub(super) fn init_tracing(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _more => "trace",
    };
    let filter = EnvFilter::try_from_env("EPHOR_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colours = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    // Someone who embeds the program may have set one up already.
    drop(subscriber.try_init());
}

/// Writes text to standard output, with colours only where they are wanted.
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn out(text: impl Display) -> Result<(), CliError> {
    let mut stdout = anstream::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// Writes one value as one line of JSON.
///
/// # Errors
/// [`CliError::Output`].
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut line = serde_json::to_vec(value).map_err(|error| CliError::Output(error.into()))?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// Writes to standard error; nobody can be told where that is closed.
pub(super) fn note(text: impl Display) {
    drop(writeln!(anstream::stderr().lock(), "{text}"));
}

#[derive(Serialize)]
struct Failed {
    error: String,
    causes: Vec<String>,
    exit_code: u8,
}

/// Says how it ended, where it did not end well, and gives the exit code.
pub(super) fn exit(global: &Global, done: Result<Exit, CliError>) -> ExitCode {
    let error = match done {
        Ok(exit) => return ExitCode::from(exit.code()),
        // Whoever read our output has seen enough.
        Err(error) if is_unread(&error) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    let (text, causes) = chain(&error);
    let exit_code = error.exit_code();
    if global.json {
        let failed = Failed { error: text, causes, exit_code };
        note(serde_json::to_string(&failed).unwrap_or_default());
    } else {
        note(format_args!("{}: {text}", styled(BAD.bold(), "error")));
        for cause in causes {
            note(format_args!("  because: {cause}"));
        }
    }
    ExitCode::from(exit_code)
}

/// Whether output could not be written because nobody reads it any more, whichever encoder says so.
fn is_unread(error: &CliError) -> bool {
    if !matches!(error, CliError::Output(_) | CliError::Export(_)) {
        return false;
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error's own words, and those of what caused it.
fn chain(error: &dyn std::error::Error) -> (String, Vec<String>) {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    (error.to_string(), causes)
}

/// A table: no wider than the terminal, with a line under its head there; plain columns in a pipe. The
/// first column names the row and is never broken.
pub(super) fn table(columns: &[(&str, CellAlignment)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).enforce_styling();
    if io::stdout().is_terminal() {
        table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(columns.iter().map(|(name, alignment)| {
        comfy_table::Cell::new(name).set_alignment(*alignment).add_attribute(comfy_table::Attribute::Bold)
    }));
    for (index, (column, (_, alignment))) in table.column_iter_mut().zip(columns).enumerate() {
        column.set_cell_alignment(*alignment);
        column.set_padding((0, 1));
        if index == 0 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// Columns of words.
pub(super) const LEFT: CellAlignment = CellAlignment::Left;
/// Columns of numbers.
pub(super) const RIGHT: CellAlignment = CellAlignment::Right;

/// A table's text, without white space at the ends of its lines.
pub(super) fn rows(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An amount for people: at least two decimals where it has any, thousands set apart.
pub(crate) fn amount(amount: Amount) -> String {
    let text = amount.decimal().normalize().to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    match fraction {
        "" => format!("{sign}{grouped}"),
        fraction => format!("{sign}{grouped}.{fraction:0<2}"),
    }
}

/// An amount for people, to the cent where it is large enough for cents not to matter.
pub(crate) fn rounded(exact: Amount) -> String {
    const CENTS_FROM: Amount = Amount::new(100, 0);
    if exact.abs() < CENTS_FROM { amount(exact) } else { amount(exact.decimal().round_dp(2).into()) }
}

/// A fraction as a percentage with one decimal.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.1} %", fraction * 100.0)
}

/// A time for people: to the second, UTC, without the zone.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let clock = rest.trim_end_matches('Z').split('.').next().unwrap_or_default();
    format!("{date} {clock}")
}

/// A count with its noun, in the singular where it is one.
pub(crate) struct Counted<'a>(pub(crate) u64, pub(crate) &'a str);

impl Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        write!(f, "{} {noun}", grouped(*count))?;
        if *count == 1 { Ok(()) } else { f.write_char('s') }
    }
}

/// A count, thousands set apart.
pub(crate) fn grouped(count: u64) -> String {
    amount(Amount::from(i64::try_from(count).unwrap_or(i64::MAX)))
}
