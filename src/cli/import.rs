//! `ephor import`: what another program wrote into a file, by the way of `ephor run`.

use std::borrow::Cow;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ephor_governance::ids::StrategyId;

use super::run::{self, Stream};
use super::{CliError, Exit, Global};
use crate::formats::Format;
use crate::formats::freqtrade::backtest::{self, Part};
use crate::input::{self, Input};
use crate::settings::{Reading, Rule};
use crate::store;

/// The word for a whole backtest result, beside those for messages.
const BACKTEST: &str = "freqtrade-backtest";
/// The largest backtest result, bytes, unpacked.
const BACKTEST_BYTES_MAX: u64 = 1 << 30;
/// What a zip archive begins with.
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// Govern what another program has recorded: a freqtrade backtest, FIX logs, messages in a file
#[derive(clap::Args)]
#[command(
    after_help = "Messages stand one a line, as they were sent; a line of a capture may hold their topic beside them. Reports \
                        that belong to no strategy are kept: ephor events --stream UNATTRIBUTED\n\n\
                        Example: ephor import --from freqtrade-backtest backtest-result.zip\n\
                        Example: ephor import --from fix --rules rules.toml session.log"
)]
pub(super) struct Args {
    /// What it is: ephor, cloudevents, nautilus, freqtrade, ccxt, alpaca, fix or freqtrade-backtest
    #[arg(long, value_name = "FORMAT")]
    from: String,
    /// The file, plain or gzipped; a backtest also zipped
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Of a backtest: a baseline to compare with, or trades as if they had been live
    #[arg(long = "as", value_enum, default_value_t = Part::Baseline)]
    part: Part,
    /// The strategy that all of it is of
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<StrategyId>,
    /// Rules of attribution, in TOML: what stands under [bus.KIND.reading] in the settings
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Stop at the first line that cannot be taken
    #[arg(long)]
    strict: bool,
    /// Where lines that cannot be taken go; DATA/rejects/FILE.jsonl
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let started = Instant::now();
    let path = &args.file;
    let mut reading = match &args.rules {
        None => Reading::default(),
        Some(rules) => read_rules(rules)?,
    };
    if args.from == BACKTEST {
        if args.rules.is_some() {
            return Err(CliError::usage("a backtest names its strategies: --strategy gives its only one another name"));
        }
        let text = whole(path)?;
        let made = backtest::lines(&text, args.part, args.strategy.as_ref(), store::now);
        let lines = made.map_err(|refusal| CliError::usage(format!("{}: {refusal}", path.display())))?;
        let bytes: Box<dyn Read + Send> = Box::new(Cursor::new(lines));
        let input = Input { bytes: BufReader::new(bytes), size: None, read: std::sync::Arc::default() };
        let reader = crate::formats::Reading::recorded(&reading, store::now);
        return run::govern(
            global,
            Stream { input, path, reader, strict: args.strict, rejects: args.rejects.as_deref() },
            started,
        );
    }
    if args.part != Part::Baseline {
        return Err(CliError::usage(format!("--as is for --from {BACKTEST}")));
    }
    reading.format = format(&args.from)?;
    if let Some(strategy) = &args.strategy {
        reading.strategy = Some(strategy.clone());
    }
    if reading.format.is_own() && (reading.strategy.is_some() || !reading.rules.is_empty()) {
        return Err(CliError::usage(format!("messages of the format {} name their strategy", args.from)));
    }
    let input = input::open(path).map_err(|source| run::unreadable(path, source))?;
    let reader = crate::formats::Reading::recorded(&reading, store::now);
    run::govern(global, Stream { input, path, reader, strict: args.strict, rejects: args.rejects.as_deref() }, started)
}

fn format(word: &str) -> Result<Format, CliError> {
    use clap::ValueEnum;
    Format::from_str(word, false).map_err(|_| {
        let known: Vec<&str> = Format::value_variants().iter().map(|format| format.as_str()).collect();
        CliError::usage(format!("unknown format {word:?}: use {} or {BACKTEST}", known.join(", ")))
    })
}

/// What rules a file holds; how messages are delivered is nothing of an import.
fn read_rules(path: &Path) -> Result<Reading, CliError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(default)]
        strategy: Option<StrategyId>,
        #[serde(default)]
        netting: ephor_governance::fill::Netting,
    }
    let text = std::fs::read_to_string(path).map_err(|source| run::unreadable(path, source))?;
    let Written { rules, strategy, netting } =
        crate::settings::parse(&text).map_err(|problem| CliError::usage(format!("{}: {problem}", path.display())))?;
    Ok(Reading { strategy, rules, netting, ..Reading::default() })
}

/// A backtest result: JSON, plain, gzipped, or in an archive.
fn whole(path: &Path) -> Result<String, CliError> {
    let unreadable = |source| run::unreadable(path, source);
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut first = Vec::new();
    file.by_ref().take(ZIP.len() as u64).read_to_end(&mut first).map_err(unreadable)?;
    if first == ZIP {
        return zipped(path, file);
    }
    let input = input::open(path).map_err(unreadable)?;
    text_of(input.bytes, path)
}

fn text_of(source: impl Read, path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    source.take(BACKTEST_BYTES_MAX + 1).read_to_string(&mut text).map_err(|source| CliError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    if text.len() as u64 > BACKTEST_BYTES_MAX {
        return Err(CliError::usage(format!("{} is larger than {BACKTEST_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}

/// The result in an archive stands beside the settings and the strategy that gave it: it is the file of their common name.
fn zipped(path: &Path, file: std::fs::File) -> Result<String, CliError> {
    let broken = |error: zip::result::ZipError| CliError::usage(format!("{}: {error}", path.display()));
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let names: Result<Vec<String>, _> = archive.file_names().map(|name| name.map(Cow::into_owned)).collect();
    let mut jsons = names.map_err(broken)?;
    jsons.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "json"));
    let name = jsons.iter().min_by_key(|name| name.len());
    let Some(name) = name else {
        return Err(CliError::usage(format!("{} holds no .json", path.display())));
    };
    let found = archive.by_name(name).map_err(broken)?;
    text_of(found, path)
}
