//! Bars that were read before, and between them signals from a file or from standard input.

use std::io;
use std::path::{Path, PathBuf};

use ephor_governance::units::Timestamp;

use crate::cli::rejects::{Raw, Rejects};
use crate::cli::{CliError, Global};
use crate::input::{Input, Line, Lines, Refusal};
use crate::paper::plan::{Live, Plan};
use crate::paper::run::{Inputs, Step};
use crate::paper::signals::{Reading, Wished};
use crate::store;

/// All that files have, to its end.
pub(super) struct Files {
    bars: std::iter::Peekable<std::vec::IntoIter<Live>>,
    count: u64,
    signals: Option<Signals>,
}

impl Files {
    pub(super) fn begin(plan: &Plan, signals: Option<Signals>) -> Self {
        let live = plan.live();
        Self { count: live.len() as u64, bars: live.into_iter().peekable(), signals }
    }

    /// What was put apart, where signals were read.
    pub(super) fn rejects(&self) -> Option<&Rejects> {
        self.signals.as_ref().map(|signals| &signals.rejects)
    }
}

impl Inputs for Files {
    async fn next(&mut self) -> Result<Option<Step>, CliError> {
        // What comes behind the last bar has no price to be traded at, and is asked about all the same.
        let before = self.bars.peek().map_or(Timestamp::from_nanos(i64::MAX), |(at, ..)| *at);
        if let Some(signals) = &mut self.signals
            && let Some(wished) = signals.next_before(before)?
        {
            return Ok(Some(Step::Signal(wished)));
        }
        Ok(self.bars.next().map(|(_, market, bar)| Step::Bar(market, bar)))
    }

    fn bars(&self) -> Option<u64> {
        Some(self.count)
    }
}

/// Signals from a file or from standard input; what cannot be taken is put apart.
pub(super) struct Signals {
    lines: Lines<io::BufReader<Box<dyn io::Read + Send>>>,
    path: PathBuf,
    reading: Reading,
    rejects: Rejects,
    waiting: Option<Wished>,
    is_over: bool,
}

impl Signals {
    pub(super) fn begin(
        input: Input,
        path: &Path,
        rejects: Option<&Path>,
        global: &Global,
        plan: &Plan,
    ) -> Result<Self, CliError> {
        Ok(Self {
            lines: Lines::new(input.bytes),
            path: path.to_owned(),
            reading: Reading::new(plan.without_rule(), store::now),
            rejects: Rejects::begin(rejects, &global.data, path)?,
            waiting: None,
            is_over: false,
        })
    }

    fn next_before(&mut self, at: Timestamp) -> Result<Option<Wished>, CliError> {
        self.read()?;
        Ok(self.waiting.take_if(|wished| wished.at < at))
    }

    fn read(&mut self) -> Result<(), CliError> {
        let path = &self.path;
        let failed = |source| CliError::File { doing: "read", path: path.clone(), source };
        while self.waiting.is_none() && !self.is_over {
            let Some((number, line)) = self.lines.next().map_err(failed)? else {
                self.is_over = true;
                return Ok(());
            };
            let (bytes, length, read) = match line {
                Line::Whole(bytes) => {
                    let read = self.reading.line(&bytes);
                    (bytes, None, read)
                }
                Line::TooLong { start, bytes } => (start, Some(bytes), Err(Refusal::too_long(bytes))),
            };
            match read {
                Ok(wished) => self.waiting = wished,
                Err(refusal) => self.rejects.add(&Raw { number, bytes, length }, &refusal)?,
            }
        }
        Ok(())
    }
}
