//! `ephor keys`: the keys that sign execution tokens.

use clap::Subcommand;
use comfy_table::Cell;
use serde_json::json;

use super::print::{self, LEFT};
use super::{CliError, Exit, Global};
use crate::keys::KeysError;
use crate::keys::signing::{self, PublicEntry, PublicKeys};
use crate::store;

/// List and rotate the keys that sign execution tokens
#[derive(clap::Args)]
#[command(after_help = "Works while a service runs, which takes note within a second.\n\nExample: ephor keys rotate")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    List(List),
    Rotate(Rotate),
    Public(Public),
}

/// List every key there has been
#[derive(clap::Args)]
#[command(after_help = "Example: ephor keys list")]
struct List {}

/// Sign with a new key from now on; tokens signed before still check
#[derive(clap::Args)]
#[command(
    after_help = "Give `ephor keys public` to whoever checks tokens before a token of the new key reaches them.\n\n\
                        Example: ephor keys rotate"
)]
struct Rotate {}

/// Print what is needed to check tokens, offline
#[derive(clap::Args)]
#[command(after_help = "Tokens are PASETO v4.public; the key's id stands in the footer as kid, and the implicit \
                        assertion is not optional.\n\nExample: ephor keys public > ephor-public.json")]
struct Public {
    /// Only this key
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::List(List {}) => list(global)?,
        Act::Rotate(Rotate {}) => {
            let made = signing::rotate(&global.data, store::now())?;
            if global.json {
                print::json(&made)?;
            } else {
                print::out(format_args!("tokens are signed with {} from now on\n", made.id))?;
            }
        }
        Act::Public(Public { id }) => {
            let mut keys = PublicKeys::read(&global.data)?;
            if let Some(id) = id {
                keys = keys.only(id)?;
            }
            if global.json {
                print::json(&keys)?;
            } else {
                print::out(keys.text()?)?;
            }
        }
    }
    Ok(Exit::Done)
}

fn list(global: &Global) -> Result<(), CliError> {
    let signing = signing::signing_id(&global.data)?;
    let keys = match PublicKeys::read(&global.data) {
        Ok(public) => public.keys,
        // Nothing is wrong where no token was ever signed.
        Err(KeysError::Missing { .. }) if signing.is_none() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let signs = |key: &PublicEntry| signing.as_ref() == Some(&key.id);
    if global.json {
        let listed = keys.iter().map(|key| {
            json!({
                "id": key.id,
                "created_at": key.created_at,
                "retired_at": key.retired_at,
                "signs": signs(key),
            })
        });
        return print::json(&listed.collect::<Vec<_>>());
    }
    if keys.is_empty() {
        return print::out("there is no signing key: the first token makes one, and so does `ephor keys rotate`\n");
    }
    let mut table = print::table(&["key", "created", "retired", ""].map(|column| (column, LEFT)));
    for key in &keys {
        table.add_row(vec![
            Cell::new(&key.id),
            Cell::new(print::time(key.created_at)),
            Cell::new(key.retired_at.map(print::time).unwrap_or_default()),
            Cell::new(if signs(key) { "signs" } else { "" }),
        ]);
    }
    print::out(print::rows(&table))
}
