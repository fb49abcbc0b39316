//! Where the audit database is, as the settings say it: an address without a password.

use crate::settings::is_this_machine;

/// The address of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name, an IP address, or the directory of a socket.
    pub host: String,
    /// The port; 5432 where none is given.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// Which database.
    pub database: String,
}

impl Address {
    /// Reads `postgres://USER@HOST[:PORT]/NAME`, or `postgres:///NAME?host=/DIRECTORY&user=USER`.
    ///
    /// # Errors
    /// What is wrong with it; a password is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "postgres://USER@HOST:PORT/NAME, or postgres:///NAME?host=/DIRECTORY&user=USER";
        // What is not an address may still hold a password, so it is not shown.
        let url = reqwest::Url::parse(text).map_err(|error| format!("must be {form}: {error}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("must be {form}, found the scheme {:?}", url.scheme()));
        }
        if url.password().is_some() {
            return Err(
                "must not hold a password: put it into a file and name that in audit.database.password_file".to_owned()
            );
        }
        let mut host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut user = plain(url.username())?;
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" if host.is_empty() && value.starts_with('/') => host = value.into_owned(),
                "user" if user.is_empty() => user = value.into_owned(),
                _ => return Err(format!("must be {form}: {name:?} cannot be said there")),
            }
        }
        let database = plain(url.path().trim_start_matches('/'))?;
        for (part, found) in [("a host", &host), ("a user", &user), ("the name of a database", &database)] {
            if found.is_empty() {
                return Err(format!("must be {form}: {part} is missing"));
            }
        }
        Ok(Self { host, port: url.port().unwrap_or(5_432), user, database })
    }

    /// Whether nothing of the connection leaves this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_socket() || is_this_machine(&self.host)
    }

    /// Whether it is a socket in the file system.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

/// Text as it stood before it was made part of an address.
fn plain(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: Option<Vec<u8>> = [rest.next(), rest.next()].into_iter().collect();
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok());
        bytes.push(code.ok_or("must have two hexadecimal digits behind each %")?);
    }
    String::from_utf8(bytes).map_err(|_| "must be UTF-8".to_owned())
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, user, database } = self;
        if self.is_socket() {
            write!(f, "{user}@{host}/{database}")
        } else {
            write!(f, "{user}@{host}:{port}/{database}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_user_host_and_database() {
        let found = Address::parse("postgres://eph%40or@db.example:6543/audit").unwrap();
        let expected =
            Address { host: "db.example".into(), port: 6_543, user: "eph@or".into(), database: "audit".into() };
        assert_eq!(found, expected);
        assert!(!found.is_local());
        let socket = Address::parse("postgresql:///audit?host=/run/postgresql&user=ephor").unwrap();
        assert!(socket.is_local());
        assert_eq!(socket.to_string(), "ephor@/run/postgresql/audit");
        assert!(Address::parse("postgres://u@[::1]/a").unwrap().is_local());
        assert!(Address::parse("postgres://u@127.0.0.1/a").unwrap().is_local());
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in
            ["postgres://u:s3cret@h/d", "postgres://u:s3cret@:x/d", "s3cret", "postgres://u@h/d?password=s3cret"]
        {
            let problem = Address::parse(text).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("postgres://h/d", "a user"),
            ("postgres://u@h", "the name of a database"),
            ("postgres:///d?user=u", "a host"),
            ("mysql://u@h/d", "scheme"),
            ("postgres://u@h/d?sslmode=disable", "sslmode"),
        ] {
            let problem = Address::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
