//! A TOML text, read so that a problem names field and line.

/// What is wrong with a TOML text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The field, `section.name`, where it is known.
    pub field: Option<String>,
    /// What was found and what would do.
    pub problem: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Reads a TOML text; a problem names field and line.
///
/// # Errors
/// [`Problem`].
pub fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
        let field = line.and_then(|line| field_at(text, line));
        Problem { line, field, problem: error.message().trim().replace('\n', ", ") }
    })
}

/// The field that is being set on a line (or began above it), with its section.
fn field_at(text: &str, line: usize) -> Option<String> {
    let above: Vec<&str> = text.lines().take(line).collect();
    let section =
        |row: &&str| row.trim_start().starts_with('[') && !row.contains('=') && !row.trim_end().ends_with(',');
    let named = |row: &str| row.trim().trim_matches(['[', ']']).trim().to_owned();
    let last = above.last()?;
    if section(last) {
        return Some(named(last));
    }
    // A row that begins with a brace is an element of a list that began above it.
    let rows = above.iter().enumerate().rev().filter(|(_, row)| !row.trim_start().starts_with('{'));
    let (index, key) = rows.into_iter().find_map(|(index, row)| {
        let (key, _) = row.split_once('=')?;
        Some((index, key.trim().to_owned()))
    })?;
    let heading = above.iter().take(index).rev().find(|row| section(row));
    Some(heading.map_or_else(|| key.clone(), |heading| format!("{}.{key}", named(heading))))
}

/// The line on which a field, `section.name`, is set.
#[must_use]
pub fn line_of(text: &str, field: &str) -> Option<usize> {
    let lines = 1..=text.lines().count();
    lines.into_iter().find(|line| {
        let sets = text.lines().nth(line - 1).is_some_and(|row| row.contains('='));
        sets && field_at(text, *line).is_some_and(|found| found == field)
    })
}
