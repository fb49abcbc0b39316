//! `ephor token verify`: what a signed token permits, by public keys alone. The log is not opened.

use std::io::Read;
use std::path::PathBuf;

use ephor_governance::ids::StrategyId;
use ephor_governance::order::Order;
use ephor_governance::units::Timestamp;
use serde_json::json;

use super::super::print::{self, BAD, Counted, GOOD, styled};
use super::super::{CliError, Exit, Global};
use super::scope;
use crate::input::Parser;
use crate::keys::signing::Verifier;
use crate::keys::{Claims, TokenError};
use crate::store;

/// The most that is read of a token, bytes: more than any has.
const TOKEN_BYTES_MAX: u64 = 128 << 10;

/// Check a signed token, and whether it covers an order
#[derive(clap::Args)]
#[command(after_help = "Works offline. Whether the token was used or revoked since stands in the log, which only the \
                        gate asks.\n\nExit codes: 0 valid (and it covers the order), 1 not, 2 a mistake of the \
                        caller's.\n\n\
                        Example: ephor token verify - --public ephor-public.json < token.txt")]
pub(super) struct Args {
    /// The token; - reads it from standard input
    token: String,
    /// Public keys as `ephor keys public` prints them; else those of the data directory
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
    /// An order as the service takes it, JSON: `strategy_id`, `order_id`, instrument, side, qty, notional and currency
    #[arg(long, value_name = "JSON")]
    order: Option<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let check = |text: &str| Parser::live(store::now).check(text.as_bytes(), None);
    let order = args.order.as_deref().map(check).transpose();
    let order = order.map_err(|refusal| CliError::usage(format!("order: {refusal}")))?;
    let order = order.map(|check| (check.strategy, check.order));
    let verifier = match &args.public {
        Some(path) => Verifier::of_file(path)?,
        None => Verifier::open(&global.data)?,
    };
    let now = store::now();
    match verifier.verify(text(&args.token)?.trim(), now) {
        Ok(claims) => valid(global, &claims, order.as_ref(), now),
        Err(error) => not_valid(global, &error),
    }
}

/// The token itself.
fn text(given: &str) -> Result<String, CliError> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| CliError::File { doing: "read", path: "standard input".into(), source })?;
    Ok(text)
}

fn not_valid(global: &Global, error: &TokenError) -> Result<Exit, CliError> {
    if global.json {
        print::json(&json!({ "valid": false, "code": error.code(), "problem": error.to_string() }))?;
    } else {
        print::out(format_args!("{}: {error}\n", styled(BAD, "not valid")))?;
    }
    Ok(Exit::Found)
}

fn valid(
    global: &Global,
    claims: &Claims,
    order: Option<&(StrategyId, Order)>,
    now: Timestamp,
) -> Result<Exit, CliError> {
    let uncovered = order.and_then(|(strategy, order)| claims.uncovered(strategy, order));
    if global.json {
        let covers = order.map(|_| uncovered.is_none());
        print::json(&json!({ "valid": true, "claims": claims, "covers": covers, "mismatch": uncovered }))?;
    } else {
        let grant = &claims.grant;
        let left = Counted(grant.expires_at.seconds_since(now), "second");
        let mut said = format!(
            "{}: token {} of {}\ncovers  {}\nuses    {}\nuntil   {} ({left})\nby      {}\ntrace   {}\n",
            styled(GOOD, "valid"),
            grant.id,
            claims.strategy,
            scope(grant),
            grant.uses_max,
            print::time(grant.expires_at),
            grant.issued_by,
            claims.trace_id,
        );
        if let Some((_, order)) = order {
            let how = match uncovered {
                None => styled(GOOD, "covered"),
                Some(what) => styled(BAD, format_args!("not covered: {what}")),
            };
            said.extend(["order   ", order.id.as_str(), " is ", &how, "\n"]);
        }
        print::out(said)?;
    }
    Ok(if uncovered.is_none() { Exit::Done } else { Exit::Found })
}
