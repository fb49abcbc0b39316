//! Signing keys: Ephor's name under an execution token (PASETO v4.public, Ed25519).
//!
//! `signing.json` holds the one secret that signs. `public.json` holds every public key there has been, by its PASERK
//! id, which a token names in its footer; so what an older key signed still checks. Whoever has `public.json` can check
//! a token without asking anyone. What it cannot tell is whether the token was used or revoked since: that stands in
//! the log, and the gate goes by the log.
//!
//! Every signature covers [`ASSERTION`], which no token carries: so nothing else that is signed with the same key can
//! be shown as an execution token, even to a reader that forgets to look.
//!
//! Invariant: a public key is on the disk before its secret is.

use std::fmt;
use std::path::Path;

use ephor_governance::units::Timestamp;
use pasetors::Public;
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};

use super::claims::{Claims, TokenError};
use super::files::{self, Form, KeysError, PRIVATE, PUBLIC, VERSION, Watched, Writer};

/// The implicit assertion of every signature.
pub const ASSERTION: &str = "ephor execution token v1";

const PURPOSE: &str = "v4.public";
const SECRET_FILE: &str = "signing.json";
const PUBLIC_FILE: &str = "public.json";
/// The longest token that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// How a secret begins that is nothing but zeros: the placeholder of those who write files by hand.
const NO_SECRET: &str = "k4.secret.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A public key as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicEntry {
    /// Its PASERK id.
    pub id: String,
    /// The key, PASERK.
    pub key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When another took its place.
    pub retired_at: Option<Timestamp>,
}

/// The public keys as they are written: all that is needed to check a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeys {
    version: u32,
    purpose: String,
    implicit_assertion: String,
    /// Every key, oldest first.
    pub keys: Vec<PublicEntry>,
}

impl PublicKeys {
    fn none() -> Self {
        let (purpose, implicit_assertion) = (PURPOSE.to_owned(), ASSERTION.to_owned());
        Self { version: VERSION, purpose, implicit_assertion, keys: Vec::new() }
    }

    /// The public keys of a data directory.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used.
    pub fn read(data: &Path) -> Result<Self, KeysError> {
        Verifier::open(data).map(|verifier| verifier.keys.get().map_or_else(Self::none, |known| known.written.clone()))
    }

    /// The same, without any key but one.
    ///
    /// # Errors
    /// [`KeysError::UnknownKey`].
    pub fn only(mut self, id: &str) -> Result<Self, KeysError> {
        self.keys.retain(|entry| entry.id == id);
        if self.keys.is_empty() { Err(KeysError::UnknownKey { id: id.to_owned() }) } else { Ok(self) }
    }

    /// As a file to give away.
    ///
    /// # Errors
    /// [`KeysError::Make`].
    pub fn text(&self) -> Result<String, KeysError> {
        files::text(self)
    }
}

/// Public keys, ready to check with.
struct Known {
    written: PublicKeys,
    keys: Vec<AsymmetricPublicKey<V4>>,
}

impl Known {
    fn key(&self, id: &str) -> Option<&AsymmetricPublicKey<V4>> {
        self.written.keys.iter().zip(&self.keys).find_map(|(entry, key)| (entry.id == id).then_some(key))
    }
}

/// The file of public keys: anyone may read it.
const PUBLIC_FORM: Form<Known> = Form { is_private: false, missing: None, parse: parse_public };
/// The file of the secret.
const SECRET_FORM: Form<Secret> = Form { is_private: true, missing: None, parse: parse_secret };

fn parse_public(text: &str) -> Result<Known, String> {
    let written: PublicKeys = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let expected = PublicKeys { keys: written.keys.clone(), ..PublicKeys::none() };
    if written != expected {
        return Err(format!("expected version {VERSION}, purpose {PURPOSE:?}, implicit_assertion {ASSERTION:?}"));
    }
    let mut keys = Vec::new();
    for (index, entry) in written.keys.iter().enumerate() {
        let key = AsymmetricPublicKey::<V4>::try_from(entry.key.as_str());
        let key = key.map_err(|_| format!("{:?} has a key that is not a k4.public one", entry.id))?;
        if id_of(&key) != entry.id {
            return Err(format!("{:?} is not the id of its key", entry.id));
        }
        if written.keys.iter().take(index).any(|earlier| earlier.id == entry.id) {
            return Err(format!("the key {} stands there twice", entry.id));
        }
        keys.push(key);
    }
    Ok(Known { written, keys })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSecret {
    version: u32,
    secret: String,
}

struct Secret {
    key: AsymmetricSecretKey<V4>,
    id: String,
}

/// Says where the text is wrong and never what stands there.
fn parse_secret(text: &str) -> Result<Secret, String> {
    let stored: StoredSecret = serde_json::from_str(text)
        .map_err(|error| format!("not a signing key, line {} column {}", error.line(), error.column()))?;
    if stored.version != VERSION {
        return Err(format!("has version {}, and only {VERSION} is known", stored.version));
    }
    let wrong = |_| "its secret is not a k4.secret one".to_owned();
    if stored.secret.starts_with(NO_SECRET) {
        return Err("its secret is nothing but zeros".to_owned());
    }
    let key = AsymmetricSecretKey::<V4>::try_from(stored.secret.as_str()).map_err(wrong)?;
    let id = id_of(&AsymmetricPublicKey::<V4>::try_from(&key).map_err(wrong)?);
    Ok(Secret { key, id })
}

/// A public key's PASERK id.
pub(super) fn id_of(key: &AsymmetricPublicKey<V4>) -> String {
    paserk(&Id::from(key))
}

/// A key, or its id, as text.
fn paserk(key: &impl FormatAsPaserk) -> String {
    let mut text = String::new();
    let done = key.fmt(&mut text);
    assert!(done.is_ok(), "a text can always be written to");
    text
}

/// Makes a new key the one that signs; those before it are kept to check by.
///
/// # Errors
/// [`KeysError`]. Whatever was written before it, the key that signed still signs, or the new one does.
pub fn rotate(data: &Path, at: Timestamp) -> Result<PublicEntry, KeysError> {
    make(&Writer::begin(files::dir(data))?, at)
}

fn make(writer: &Writer, at: Timestamp) -> Result<PublicEntry, KeysError> {
    let path = writer.path(PUBLIC_FILE);
    let mut public = if path.exists() {
        let known = Watched::open(path, PUBLIC_FORM)?;
        known.get().map_or_else(PublicKeys::none, |known| known.written.clone())
    } else {
        PublicKeys::none()
    };
    let pair = AsymmetricKeyPair::<V4>::generate()
        .map_err(|error| KeysError::Make { what: "a signing key", problem: error.to_string() })?;
    let entry = PublicEntry { id: id_of(&pair.public), key: paserk(&pair.public), created_at: at, retired_at: None };
    public.keys.push(entry.clone());
    writer.write(PUBLIC_FILE, PUBLIC, &public)?;
    writer.write(SECRET_FILE, PRIVATE, &StoredSecret { version: VERSION, secret: paserk(&pair.secret) })?;
    // Only now does the earlier one no longer sign.
    for earlier in public.keys.iter_mut().filter(|earlier| earlier.id != entry.id) {
        earlier.retired_at.get_or_insert(at);
    }
    writer.write(PUBLIC_FILE, PUBLIC, &public)?;
    Ok(entry)
}

/// Which key of a data directory signs; `None` where there is none yet.
///
/// # Errors
/// [`KeysError`] where the file cannot be used.
pub fn signing_id(data: &Path) -> Result<Option<String>, KeysError> {
    let path = files::dir(data).join(SECRET_FILE);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Watched::open(path, SECRET_FORM)?.get().map(|secret| secret.id.clone()))
}

/// Signs tokens with the key of a data directory.
pub struct Signer {
    secret: Watched<Secret>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.secret.get().map(|secret| secret.id.clone())).finish()
    }
}

impl Signer {
    /// Reads the signing key of a data directory; makes one where there is none.
    ///
    /// # Errors
    /// [`KeysError`]; also where the secret's public key is not on file, because then nobody could check what it signs.
    pub fn open(data: &Path, at: Timestamp) -> Result<Self, KeysError> {
        let dir = files::dir(data);
        let is_missing = || !dir.join(SECRET_FILE).exists();
        if is_missing() {
            let writer = Writer::begin(dir.clone())?;
            // Another may have made it while this one waited.
            if is_missing() {
                make(&writer, at)?;
            }
        }
        let secret = Watched::open(dir.join(SECRET_FILE), SECRET_FORM)?;
        let public = Watched::open(dir.join(PUBLIC_FILE), PUBLIC_FORM)?;
        let id = secret.get().map(|secret| secret.id.clone()).unwrap_or_default();
        if public.get().is_none_or(|known| known.key(&id).is_none()) {
            let problem = format!("does not have {id}, which signs: `ephor keys rotate` makes another");
            return Err(KeysError::Unusable { path: dir.join(PUBLIC_FILE), problem });
        }
        Ok(Self { secret })
    }

    /// Reads the key again where it was rotated, and says whether it was.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used: then nothing is signed until it can.
    pub fn refresh(&self) -> Result<bool, KeysError> {
        self.secret.refresh()
    }

    /// The signed text of a token.
    ///
    /// # Errors
    /// [`KeysError`] where there is no key to sign with.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeysError> {
        let failed = |problem: String| KeysError::Make { what: "a signed token", problem };
        let secret = self.secret.get().ok_or_else(|| failed("the signing key cannot be used".to_owned()))?;
        let payload = claims.payload().map_err(|error| failed(error.to_string()))?;
        let footer = serde_json::to_vec(&Footer { kid: secret.id.clone() });
        let footer = footer.map_err(|error| failed(error.to_string()))?;
        PublicToken::sign(&secret.key, &payload, Some(&footer), Some(ASSERTION.as_bytes()))
            .map_err(|error| failed(error.to_string()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    kid: String,
}

/// Checks tokens by public keys alone.
pub struct Verifier {
    keys: Watched<Known>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.get().map(|known| known.written.clone())).finish()
    }
}

impl Verifier {
    /// Reads the public keys of a data directory.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used.
    pub fn open(data: &Path) -> Result<Self, KeysError> {
        Self::of_file(&files::dir(data).join(PUBLIC_FILE))
    }

    /// Reads a file of public keys, as `ephor keys public` prints it.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used.
    pub fn of_file(path: &Path) -> Result<Self, KeysError> {
        Watched::open(path.to_owned(), PUBLIC_FORM).map(|keys| Self { keys })
    }

    /// Reads the keys again where there are others, and says whether there were.
    ///
    /// # Errors
    /// [`KeysError`] where the file cannot be used: then no token is good until it can.
    pub fn refresh(&self) -> Result<bool, KeysError> {
        self.keys.refresh()
    }

    /// What a token says, if it is ours and its time is now.
    ///
    /// # Errors
    /// [`TokenError`], by the first thing that is wrong. Nothing a token says is looked at before its signature is
    /// found to be good.
    pub fn signed(&self, token: &str) -> Result<Claims, TokenError> {
        let malformed = |problem: &str| TokenError::Malformed { problem: problem.to_owned() };
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed("longer than any token"));
        }
        let untrusted = UntrustedToken::<Public, V4>::try_from(token)
            .map_err(|_| malformed("expected v4.public, a payload and a footer in base64url"))?;
        let footer: Footer = serde_json::from_slice(untrusted.untrusted_footer())
            .map_err(|_| malformed("its footer does not name a key"))?;
        let known = self.keys.get().ok_or(TokenError::NoKeys)?;
        let Some(key) = known.key(&footer.kid) else {
            return Err(TokenError::UnknownKey { kid: footer.kid.chars().take(64).collect() });
        };
        let trusted = PublicToken::verify(key, &untrusted, None, Some(ASSERTION.as_bytes()))
            .map_err(|_| TokenError::Signature)?;
        Claims::from_payload(trusted.payload())
    }

    /// Whether a token was signed by us, and is in its time.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.signed(token)?;
        if claims.not_before > now {
            return Err(TokenError::NotYetValid { from: claims.not_before });
        }
        // At its last moment it is over, as for the gate.
        if claims.grant.expires_at <= now {
            return Err(TokenError::Expired { at: claims.grant.expires_at });
        }
        Ok(claims)
    }
}
