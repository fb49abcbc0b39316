//! `ephor api-key`: who may ask a running service, and what.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use comfy_table::{Cell, Color};
use ephor_governance::ids::Actor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use super::print::{self, LEFT, styled};
use super::{CliError, Exit, Global};
use crate::keys::api::{self, ApiKeys, Credential, Entry, Role};
use crate::store;

/// The largest certificate file, bytes.
const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;

/// Create, list and revoke API keys
#[derive(clap::Args)]
#[command(after_help = "Works while a service runs, which takes note within a second.\n\n\
                        Example: ephor api-key create --name alice --role operator")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key; it is printed once and cannot be shown again
#[derive(clap::Args)]
#[command(after_help = "Roles: a viewer looks; an engine also asks before orders and reports what became of them; an \
                        operator looks and acts on strategies, tokens and kill switches; an admin may do everything.\n\n\
                        Example: ephor api-key create --name momentum-engine --role engine")]
struct Create {
    /// Whose it is: what is done with it is recorded under this name
    #[arg(long, value_name = "NAME")]
    name: Actor,
    /// What it permits
    #[arg(long)]
    role: Role,
    /// A client certificate (PEM) that opens it in mutual TLS, instead of a secret
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// List every key there has been
#[derive(clap::Args)]
#[command(after_help = "Example: ephor api-key list")]
struct List {}

/// Take a key back, for good
#[derive(clap::Args)]
#[command(after_help = "Example: ephor api-key revoke 0a1b2c3d4e5f")]
struct Revoke {
    /// Which, by its id: the part of the key between the first two underscores
    id: String,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::Create(create) => make(global, create),
        Act::List(List {}) => list(global),
        Act::Revoke(revoke) => {
            let entry = api::revoke(&global.data, &revoke.id, store::now())?;
            if global.json {
                print::json(&shown(&entry))?;
            } else {
                let Entry { id, name, role, .. } = &entry;
                print::out(format_args!("the key {id} of {name} ({role}) is revoked\n"))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn make(global: &Global, create: &Create) -> Result<Exit, CliError> {
    let certificate = create.certificate.as_deref().map(certificate).transpose()?;
    let der = certificate.as_ref().map(AsRef::as_ref);
    let (entry, key) = api::create(&global.data, create.name.clone(), create.role, der, store::now())?;
    if global.json {
        let mut made = shown(&entry);
        if let (Some(made), Some(key)) = (made.as_object_mut(), &key) {
            made.insert("key".to_owned(), key.reveal().into());
        }
        print::json(&made)?;
    } else if let Some(key) = &key {
        // The key alone goes to standard output, so that it can be sent where it belongs.
        print::note(format_args!("the key {} of {} ({}), shown this once:", entry.id, entry.name, entry.role));
        print::out(format_args!("{}\n", key.reveal()))?;
    } else {
        let Entry { id, name, role, .. } = &entry;
        print::out(format_args!("the key {id} of {name} ({role}) is opened by the certificate {}\n", by(&entry)))?;
    }
    Ok(Exit::Done)
}

/// The one certificate of a file.
fn certificate(path: &Path) -> Result<CertificateDer<'static>, CliError> {
    let failed = |source| CliError::File { doing: "read", path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    let wrong = |problem: String| CliError::usage(format!("certificate {}: {problem}", path.display()));
    if bytes > CERTIFICATE_BYTES_MAX {
        return Err(wrong(format!("has at most {CERTIFICATE_BYTES_MAX} bytes, found {bytes}")));
    }
    let pem = std::fs::read(path).map_err(failed)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut found = found.map_err(|error| wrong(format!("not PEM: {error}")))?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(wrong("holds no certificate in PEM".to_owned())),
        (Some(_), others) => {
            Err(wrong(format!("holds {} certificates: give the client's own alone, without its chain", others + 1)))
        }
    }
}

/// What opens a key, for people.
fn by(entry: &Entry) -> String {
    match entry.credential {
        Credential::SecretBlake3(_) => "secret".to_owned(),
        Credential::CertificateSha256(fingerprint) => format!("sha256:{fingerprint}"),
    }
}

/// A key for programs, without what opens it.
fn shown(entry: &Entry) -> serde_json::Value {
    let Entry { id, name, role, created_at, revoked_at, credential } = entry;
    let certificate = match credential {
        Credential::SecretBlake3(_) => None,
        Credential::CertificateSha256(fingerprint) => Some(fingerprint),
    };
    json!({
        "id": id,
        "name": name,
        "role": role,
        "created_at": created_at,
        "revoked_at": revoked_at,
        "certificate_sha256": certificate,
    })
}

fn list(global: &Global) -> Result<Exit, CliError> {
    let entries = ApiKeys::open(&global.data)?.list();
    if global.json {
        print::json(&entries.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        let make = styled(print::DIM, "ephor api-key create --name NAME --role ROLE");
        print::out(format_args!("there is no API key: {make} makes one\n"))?;
        return Ok(Exit::Done);
    }
    let columns = ["key", "name", "role", "created", "revoked", "opened by"];
    let mut table = print::table(&columns.map(|column| (column, LEFT)));
    for entry in &entries {
        table.add_row(vec![
            Cell::new(&entry.id),
            Cell::new(&entry.name),
            Cell::new(entry.role),
            Cell::new(print::time(entry.created_at)),
            Cell::new(entry.revoked_at.map(print::time).unwrap_or_default()).fg(Color::Red),
            Cell::new(by(entry)),
        ]);
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Done)
}
