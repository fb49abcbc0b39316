//! API keys: who is calling, and what that caller may do.
//!
//! A key is `ephor_<id>_<secret>`. The secret is 32 random bytes, so what is stored is its plain BLAKE3 hash: a slow
//! hash protects what a person could think of, and nobody can guess 256 bits. Instead of a secret a key may have the
//! certificate that a client shows in mutual TLS, known by its SHA-256 fingerprint. A revoked key stays in the file,
//! so that its name can still be told when the log shows it.
//!
//! Invariant: a file that cannot be used lets nobody in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ct_codecs::{Base64UrlSafeNoPadding, Encoder, Hex};
use ephor_governance::ids::Actor;
use ephor_governance::units::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::files::{self, Form, KeysError, PRIVATE, VERSION, Watched, Writer};

const FILE: &str = "api-keys.json";
const PREFIX: &str = "ephor_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;
/// Names under which Ephor itself acts in the log.
const RESERVED: [&str; 3] = ["ephor", "canary", "drift"];

/// What a caller may do.
///
/// ```
/// use ephor::keys::api::{Permission, Role};
/// assert!(Role::Engine.may(Permission::Trade) && !Role::Operator.may(Permission::Trade));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, asks before orders and reports what became of them.
    Engine,
    /// Looks, and acts on strategies, tokens and kill switches.
    Operator,
    /// Everything.
    Admin,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To see what is recorded.
    Read,
    /// To ask about orders and to report signals, trades, baselines and the account.
    Trade,
    /// To change levels, pause, resume, register, approve, issue and revoke tokens, kill, rearm, drill, and propose a
    /// policy.
    Operate,
    /// To adopt a policy, and whatever else there is.
    Administer,
}

impl Role {
    /// Whether the role is enough for a request.
    #[must_use]
    pub const fn may(self, permission: Permission) -> bool {
        match (self, permission) {
            (Self::Admin, _)
            | (_, Permission::Read)
            | (Self::Engine, Permission::Trade)
            | (Self::Operator, Permission::Operate) => true,
            (Self::Viewer | Self::Operator, Permission::Trade)
            | (Self::Viewer | Self::Engine, Permission::Operate)
            | (Self::Viewer | Self::Engine | Self::Operator, Permission::Administer) => false,
        }
    }

    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Engine => "engine",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// On whose word it is recorded what the caller does.
    pub name: Actor,
    /// What the caller may do.
    pub role: Role,
    /// The key that was shown.
    pub key_id: String,
}

/// 32 bytes that stand for something longer, written as hexadecimal digits. Comparing two takes the same time
/// wherever they differ, which is why BLAKE3's type holds a SHA-256 fingerprint as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(blake3::Hash);

impl Digest {
    fn of_secret(secret: &str) -> Self {
        Self(blake3::hash(secret.as_bytes()))
    }

    /// Of a certificate, as `openssl x509 -fingerprint -sha256` shows it.
    fn of_certificate(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
        Self(blake3::Hash::from_bytes(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let wrong = |_| de::Error::custom("expected 64 hexadecimal digits");
        blake3::Hash::from_hex(hex).map(Self).map_err(wrong)
    }
}

/// What a caller must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// The secret with this BLAKE3 hash.
    SecretBlake3(Digest),
    /// The certificate with this SHA-256 fingerprint.
    CertificateSha256(Digest),
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id, which is no secret.
    pub id: String,
    /// Whose it is.
    pub name: Actor,
    /// What it permits.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when it permits nothing any more.
    pub revoked_at: Option<Timestamp>,
    /// What must be shown.
    pub credential: Credential,
}

impl Entry {
    fn caller(&self) -> Caller {
        Caller { name: self.name.clone(), role: self.role, key_id: self.id.clone() }
    }
}

/// A key's text, which is known only while it is being made.
pub struct KeyText(String);

impl KeyText {
    /// The text, to hand to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    keys: Vec<Entry>,
}

/// Every key there has been, by id.
type Table = BTreeMap<String, Entry>;

fn parse(text: &str) -> Result<Table, String> {
    let stored: Stored = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!("has version {}, and only {VERSION} is known", stored.version));
    }
    let mut table = Table::new();
    for entry in stored.keys {
        if let Some(twice) = entry_of(&table, entry.credential).filter(|_| entry.revoked_at.is_none()) {
            return Err(format!("the keys {} and {} have the same credential", twice.id, entry.id));
        }
        if let Some(twice) = table.insert(entry.id.clone(), entry) {
            return Err(format!("the key {} stands there twice", twice.id));
        }
    }
    Ok(table)
}

/// The key in force with this credential.
fn entry_of(table: &Table, credential: Credential) -> Option<&Entry> {
    table.values().find(|entry| entry.revoked_at.is_none() && entry.credential == credential)
}

fn watched(data: &Path) -> Result<Watched<Table>, KeysError> {
    // Without a file there are no keys, and nobody gets in.
    let form = Form { is_private: true, missing: Some(Table::new), parse };
    Watched::open(files::dir(data).join(FILE), form)
}

/// The keys of a data directory, as a service asks them.
pub struct ApiKeys {
    table: Watched<Table>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("keys", &self.table.get().map(|table| table.len())).finish()
    }
}

impl ApiKeys {
    /// Reads the keys of a data directory; without a file there are none.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used.
    pub fn open(data: &Path) -> Result<Self, KeysError> {
        watched(data).map(|table| Self { table })
    }

    /// Reads the keys again where the file has changed, and says whether it had. One look at the file's name where it
    /// has not.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used: then nobody gets in until it can.
    pub fn refresh(&self) -> Result<bool, KeysError> {
        self.table.refresh()
    }

    /// Who shows this key; `None` for one that is unknown, wrong or revoked.
    #[must_use]
    pub fn verify(&self, presented: &str) -> Option<Caller> {
        let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
        let table = self.table.get()?;
        let entry = table.get(id).filter(|entry| entry.revoked_at.is_none())?;
        let shown = Credential::SecretBlake3(Digest::of_secret(secret));
        (entry.credential == shown).then(|| entry.caller())
    }

    /// Who shows this certificate, which the handshake has found to be good; `None` where it opens no key.
    #[must_use]
    pub fn verify_certificate(&self, der: &[u8]) -> Option<Caller> {
        let table = self.table.get()?;
        entry_of(&table, Credential::CertificateSha256(Digest::of_certificate(der))).map(Entry::caller)
    }

    /// Whether the key that a caller has shown still permits what it did.
    #[must_use]
    pub fn admits(&self, caller: &Caller) -> bool {
        let table = self.table.get();
        let entry = table.as_ref().and_then(|table| table.get(&caller.key_id));
        entry.is_some_and(|entry| entry.revoked_at.is_none() && entry.caller() == *caller)
    }

    /// Every key there has been, in the order in which they were made.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.table.get().into_iter().flat_map(|table| all(&table)).collect();
        entries.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        entries
    }
}

fn all(table: &Table) -> Vec<Entry> {
    table.values().cloned().collect()
}

/// Makes a key. Its text is `None` where a certificate (DER) opens it.
///
/// # Errors
/// [`KeysError`]; nothing was changed then.
pub fn create(
    data: &Path,
    name: Actor,
    role: Role,
    certificate: Option<&[u8]>,
    at: Timestamp,
) -> Result<(Entry, Option<KeyText>), KeysError> {
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name.as_str())) {
        return Err(KeysError::NameReserved { name: name.to_string() });
    }
    if !name.as_str().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeysError::NameUnclear { name: name.to_string() });
    }
    change(data, |table| {
        // Two spellings of one name would be two people where it takes two.
        let alike = |entry: &&Entry| entry.name != name && entry.name.as_str().eq_ignore_ascii_case(name.as_str());
        if let Some(taken) = table.values().find(alike) {
            return Err(KeysError::NameAlike { name: name.to_string(), taken: taken.name.to_string() });
        }
        let id = random::<ID_BYTES>(Hex::encode_to_string)?;
        let (credential, text) = if let Some(der) = certificate {
            let credential = Credential::CertificateSha256(Digest::of_certificate(der));
            if let Some(taken) = entry_of(table, credential) {
                return Err(KeysError::CertificateTaken { id: taken.id.clone() });
            }
            (credential, None)
        } else {
            let secret = random::<SECRET_BYTES>(Base64UrlSafeNoPadding::encode_to_string)?;
            let text = KeyText(format!("{PREFIX}{id}_{secret}"));
            (Credential::SecretBlake3(Digest::of_secret(&secret)), Some(text))
        };
        let entry = Entry { id, name, role, created_at: at, revoked_at: None, credential };
        if table.insert(entry.id.clone(), entry.clone()).is_some() {
            return Err(KeysError::Make { what: "a key", problem: "its random id is taken: try again".to_owned() });
        }
        Ok((entry, text))
    })
}

/// Takes a key back, for good.
///
/// # Errors
/// [`KeysError`]; nothing was changed then.
pub fn revoke(data: &Path, id: &str, at: Timestamp) -> Result<Entry, KeysError> {
    change(data, |table| {
        let entry = table.get_mut(id).ok_or_else(|| KeysError::UnknownKey { id: id.to_owned() })?;
        if entry.revoked_at.is_some() {
            return Err(KeysError::AlreadyRevoked { id: id.to_owned() });
        }
        entry.revoked_at = Some(at);
        Ok(entry.clone())
    })
}

/// Reads, changes and writes, with no other writer in between.
fn change<T>(data: &Path, how: impl FnOnce(&mut Table) -> Result<T, KeysError>) -> Result<T, KeysError> {
    let writer = Writer::begin(files::dir(data))?;
    let mut table = watched(data)?.get().map(|table| (*table).clone()).unwrap_or_default();
    let done = how(&mut table)?;
    writer.write(FILE, PRIVATE, &Stored { version: VERSION, keys: all(&table) })?;
    Ok(done)
}

/// Random bytes of the operating system, written as text.
fn random<const BYTES: usize>(
    encode: fn([u8; BYTES]) -> Result<String, ct_codecs::Error>,
) -> Result<String, KeysError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
    encode(bytes).map_err(|error| KeysError::Make { what: "a key", problem: error.to_string() })
}
