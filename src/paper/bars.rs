//! Price bars out of files: comma-separated with a header, plain or gzipped.
//!
//! A file is read whole and checked before anything is traded on it, because a bar that is passed over in silence is a
//! hole in every average behind it. So there is no reject file here: the first bad line ends the reading, and is named
//! with its file, line and field.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ephor_governance::units::{Amount, Timestamp};

use crate::input::{self, Line, Lines, Range, amount_of, moment, quoted};

/// What one stretch of time traded at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// When it opened.
    pub at: Timestamp,
    /// The first price.
    pub open: Amount,
    /// The highest.
    pub high: Amount,
    /// The lowest.
    pub low: Amount,
    /// The last.
    pub close: Amount,
    /// How much was traded, where the file says.
    pub volume: Option<Amount>,
}

impl Bar {
    /// What does not fit together: the field and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        [("open", self.open), ("close", self.close), ("low", self.low)].into_iter().find_map(|(field, value)| {
            if value > self.high {
                return Some(("high", format!("{} is below {field} {value}", self.high)));
            }
            (value < self.low).then(|| ("low", format!("{} is above {field} {value}", self.low)))
        })
    }
}

/// Why a file of bars cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BarsError {
    /// The file cannot be read.
    #[error("read the bars in {} failed", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("{}: line {line}: {what}", file.display())]
    Wrong {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// The field and what is wrong with it.
        what: Fault,
    },
    /// There is no bar in it.
    #[error("{}: there is no bar in it", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
}

impl BarsError {
    /// Whether the same file may be read later: never where it has to be mended first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, where it is one.
    pub field: Option<&'static str>,
    /// What was found and what would do.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{field}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

fn at(field: &'static str, problem: impl Into<String>) -> Fault {
    Fault { field: Some(field), problem: problem.into() }
}

/// Reads a file of bars, all of them.
///
/// # Errors
/// [`BarsError`]: the first thing that is wrong.
pub fn read(file: &Path) -> Result<Vec<Bar>, BarsError> {
    let unreadable = |source| BarsError::Unreadable { file: file.to_owned(), source };
    let mut lines = Lines::new(input::open(file).map_err(unreadable)?.bytes);
    let mut columns: Option<Columns> = None;
    let mut bars: Vec<Bar> = Vec::new();
    while let Some((number, line)) = lines.next().map_err(unreadable)? {
        let wrong = |what| BarsError::Wrong { file: file.to_owned(), line: number, what };
        let text = text_of(&line).map_err(wrong)?;
        if text.trim().is_empty() {
            continue;
        }
        match &columns {
            None => columns = Some(Columns::of(text).map_err(wrong)?),
            Some(columns) => {
                let bar = columns.bar(text).map_err(wrong)?;
                if let Some(before) = bars.last().filter(|before| bar.at <= before.at) {
                    let problem = format!("{} does not come after {}, the bar before it", bar.at, before.at);
                    return Err(wrong(at("time", problem)));
                }
                bars.push(bar);
            }
        }
    }
    if bars.is_empty() { Err(BarsError::Empty { file: file.to_owned() }) } else { Ok(bars) }
}

fn text_of(line: &Line) -> Result<&str, Fault> {
    match line {
        Line::Whole(bytes) => input::text(bytes).map_err(|refusal| Fault { field: None, problem: refusal.problem }),
        Line::TooLong { bytes, .. } => Err(Fault { field: None, problem: input::Refusal::too_long(*bytes).problem }),
    }
}

/// Where each field stands.
struct Columns {
    time: usize,
    open: usize,
    high: usize,
    low: usize,
    close: usize,
    volume: Option<usize>,
    count: usize,
}

/// The cells of a line, without the quotes that some programs put around each.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"'))
}

impl Columns {
    fn of(header: &str) -> Result<Self, Fault> {
        let names: Vec<String> = cells(header).map(str::to_ascii_lowercase).collect();
        let place = |field: &'static str, known: &[&str]| {
            let mut found = names.iter().enumerate().filter(|(_, name)| known.contains(&name.as_str()));
            match (found.next(), found.next()) {
                (Some((place, _)), None) => Ok(Some(place)),
                (Some(_), Some(_)) => Err(at(field, "stands there twice in the header")),
                (None, _) => Ok(None),
            }
        };
        let needed = |field: &'static str, known: &[&str]| {
            let missing = || at(field, format!("there is no column of this name in the header {:?}", quoted(header)));
            place(field, known)?.ok_or_else(missing)
        };
        // A data frame written out has no name over its index.
        let unnamed = names.first().is_some_and(String::is_empty).then_some(0);
        let time = match place("time", &["time", "date", "datetime", "timestamp"])?.or(unnamed) {
            Some(place) => place,
            None => needed("time", &["time"])?,
        };
        Ok(Self {
            time,
            open: needed("open", &["open"])?,
            high: needed("high", &["high"])?,
            low: needed("low", &["low"])?,
            close: needed("close", &["close"])?,
            volume: place("volume", &["volume"])?,
            count: names.len(),
        })
    }

    fn bar(&self, line: &str) -> Result<Bar, Fault> {
        let cells: Vec<&str> = cells(line).collect();
        if cells.len() != self.count {
            let problem = format!("has {} fields where the header has {}", cells.len(), self.count);
            return Err(Fault { field: None, problem });
        }
        let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
        let amount = |field: &'static str, place: usize, range: Range| {
            amount_of(field, cell(place), cell(place), range).map_err(|refusal| at(field, refusal.problem))
        };
        let price = |field, place| amount(field, place, Range::AboveZero);
        let time = cell(self.time);
        let expected = "2017-04-19, \"2017-04-19 09:00:00\" or 2017-04-19T09:00:00Z";
        let when = moment(time).ok_or_else(|| at("time", format!("expected {expected}, found {:?}", quoted(time))))?;
        let volume = self.volume.filter(|place| !cell(*place).is_empty());
        let bar = Bar {
            at: when,
            open: price("open", self.open)?,
            high: price("high", self.high)?,
            low: price("low", self.low)?,
            close: price("close", self.close)?,
            volume: volume.map(|place| amount("volume", place, Range::AtLeastZero)).transpose()?,
        };
        bar.fault().map_or(Ok(bar), |(field, problem)| Err(at(field, problem)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn said(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bars.csv");
        std::fs::write(&file, text).unwrap();
        let error = read(&file).unwrap_err().to_string();
        error.split_once("bars.csv: ").unwrap().1.to_owned()
    }

    const HEADER: &str = "time,Open,High,Low,Close,Volume\n";

    #[test]
    fn the_bars_that_ship_are_read_whole_and_gzipped_as_well() {
        let shipped = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bars").join(name);
        let hourly = read(&shipped("EURUSD-1h.csv")).unwrap();
        assert_eq!((hourly.len(), hourly[0].at.to_string().as_str()), (5_000, "2017-04-19T09:00:00Z"));
        assert_eq!(hourly[4_999].close.to_string(), "1.22904");
        let daily = read(&shipped("GOOG-1d.csv")).unwrap();
        assert_eq!((daily.len(), daily[0].volume), (2_148, Some(Amount::from(22_351_900))));

        let dir = tempfile::tempdir().unwrap();
        let packed = dir.path().join("bars.csv.gz");
        let mut gzip =
            flate2::write::GzEncoder::new(std::fs::File::create(&packed).unwrap(), flate2::Compression::default());
        gzip.write_all(&std::fs::read(shipped("GOOG-1d.csv")).unwrap()).unwrap();
        gzip.finish().unwrap();
        assert_eq!(read(&packed).unwrap(), daily);
    }

    #[test]
    fn every_bad_line_is_named_with_its_field() {
        let good = "2020-01-01,1,2,0.5,1.5,10\n";
        for (line, wanted) in [
            ("yesterday,1,2,0.5,1.5,10", "line 3: time: expected 2017-04-19, "),
            ("2020-01-02,1,2,0.5,1.5", "line 3: has 5 fields where the header has 6"),
            ("2020-01-02,one,2,0.5,1.5,10", "line 3: open: expected a decimal number, found one"),
            ("2020-01-02,1,2,0.5,0,10", "line 3: close: must be above 0, found 0"),
            ("2020-01-02,1,2,-0.5,1.5,10", "line 3: low: must be above 0, found -0.5"),
            ("2020-01-02,1,2,0.5,1.5,-1", "line 3: volume: must not be negative, found -1"),
            ("2020-01-02,1,1.4,0.5,1.5,10", "line 3: high: 1.4 is below close 1.5"),
            ("2020-01-02,1,2,1.1,1.5,10", "line 3: low: 1.1 is above open 1"),
            ("2020-01-02,1,2,,1.5,10", "line 3: low: expected a decimal number"),
            ("2020-01-02,1,2,0.5,1.00000000000000000000000000001,1", "line 3: close: decimal does not fit"),
        ] {
            let found = said(&format!("{HEADER}{good}{line}\n"));
            assert!(found.starts_with(wanted), "{line}: {found}");
        }
    }

    #[test]
    fn time_that_goes_back_or_stands_still_is_refused() {
        let said = |second: &str| said(&format!("{HEADER}2020-01-02,1,2,1,2,\n{second},1,2,1,2,\n"));
        assert!(said("2020-01-01").starts_with("line 3: time: 2020-01-01T00:00:00Z does not come after 2020-01-02"));
        assert!(said("2020-01-02").starts_with("line 3: time: 2020-01-02T00:00:00Z does not come after"));
    }

    #[test]
    fn a_header_that_lacks_a_column_or_has_it_twice_is_refused() {
        assert!(said("time,Open,High,Low\n").starts_with("line 1: close: there is no column of this name"));
        assert!(said("a,Open,High,Low,Close\n").starts_with("line 1: time: there is no column of this name"));
        assert!(said("time,Open,High,Low,Close,open\n").starts_with("line 1: open: stands there twice"));
        assert_eq!(said(HEADER), "there is no bar in it");
        assert_eq!(said(""), "there is no bar in it");
    }

    #[test]
    fn columns_may_stand_in_any_order_with_others_between() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bars.csv");
        std::fs::write(&file, "Close,x,LOW,\"high\",open,Date\r\n2,?,1,3,2,2020-01-01 09:30\r\n").unwrap();
        let [bar] = read(&file).unwrap()[..] else { panic!() };
        assert_eq!((bar.high, bar.volume, bar.at.to_string().as_str()), (3.into(), None, "2020-01-01T09:30:00Z"));
    }
}
