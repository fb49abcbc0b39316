//! Whether what must stay secret would be told to another machine without TLS.

use std::net::IpAddr;

/// Whether nothing that is said to a host leaves this machine.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What is wrong with a secret that is told to a host without TLS, where nobody has allowed it.
pub(super) fn in_plain_text(host: &str, allow_plaintext: bool) -> Option<String> {
    if allow_plaintext || is_this_machine(host) {
        return None;
    }
    Some(format!(
        "would go to {host} in plain text: speak TLS, or set allow_plaintext where something in between has it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_this_machine_may_be_told_in_plain_text() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "::ffff:127.0.0.1"] {
            assert_eq!(in_plain_text(host, false), None, "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "0.0.0.0", "::", "db", ""] {
            let problem = in_plain_text(host, false).unwrap_or_else(|| panic!("{host} passes"));
            assert!(problem.contains("allow_plaintext"), "{problem}");
            assert_eq!(in_plain_text(host, true), None);
        }
    }
}
