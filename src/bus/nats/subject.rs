//! Names as one token of a subject: what a token may not hold is written as `%` and two hexadecimal digits.

/// A name as one token. Letters, digits and most signs stay as they are; `.`, `*`, `>`, `%`, and what is not visible
/// ASCII is written as `%XX`.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'%') {
            token.push(char::from(byte));
        } else {
            token.push('%');
            token.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    token
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

/// The name that a token stands for; `None` where it is none that [`encode`] made.
#[must_use]
pub fn decode(token: &str) -> Option<String> {
    let mut name = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            name.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            name.push(byte);
        }
    }
    let name = String::from_utf8(name).ok()?;
    (encode(&name) == token).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_token_and_comes_back() {
        for name in ["BBMR-6E-M15-001", "a.b", "*", ">", "100%", "%2E", "a b", "ü", "$SYS", "a/b:c"] {
            let token = encode(name);
            assert!(!token.contains(['.', '*', '>', ' ']), "{token}");
            assert_eq!(decode(&token).as_deref(), Some(name));
        }
        assert_eq!(encode("EUR.USD"), "EUR%2EUSD");
    }

    #[test]
    fn what_is_no_token_of_ours_is_no_name() {
        for token in ["%", "%2", "%2e", "%zz", "%41", "a.b", "%+1"] {
            assert_eq!(decode(token), None, "{token}");
        }
    }
}
