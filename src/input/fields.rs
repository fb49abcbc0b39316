//! One line's fields, borrowed from it, taken out by type.
//!
//! Values stay as they were written until they are asked for, so a number reaches an exact amount as
//! text. Fields that nobody asks for are ignored; a name that stands there twice is refused, because
//! nobody can say which value was meant.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ephor_governance::units::{Amount, AmountError, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// The longest text, bytes.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// How deep free settings may be nested.
const DEPTH_MAX: u32 = 32;
/// How much of a wrong value an error repeats, characters.
const QUOTED_MAX: usize = 40;

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of an object.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    values: BTreeMap<Cow<'a, str>, &'a RawValue>,
    twice: Option<String>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(Borrowed(name)) = map.next_key()? {
                    let value = map.next_value()?;
                    if fields.values.contains_key(&name) {
                        fields.twice.get_or_insert_with(|| name.chars().take(QUOTED_MAX).collect());
                    }
                    fields.values.insert(name, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A value as an error shows it.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What an amount may be.
#[derive(Clone, Copy)]
pub(crate) enum Range {
    Any,
    AtLeastZero,
    AboveZero,
}

impl<'a> Fields<'a> {
    /// The fields of a line.
    pub(crate) fn of(line: &'a str) -> Result<Self, Refusal> {
        let fields: Self = serde_json::from_str(line).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Refusal::line(Code::LineNotObject, error.to_string()),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => Refusal::line(Code::LineNotJson, format!("not JSON: {error}")),
        })?;
        match &fields.twice {
            Some(name) => Err(Refusal::line(Code::FieldTwice, format!("the field {name:?} stands there twice"))),
            None => Ok(fields),
        }
    }

    /// Refuses a field of another name: what an operator has misspelt must not be passed over.
    pub(crate) fn only(self, names: &[&str]) -> Result<Self, Refusal> {
        match self.values.keys().find(|name| !names.contains(&&***name)) {
            None => Ok(self),
            Some(unknown) => {
                let problem = format!("unknown field {:?}: use {}", quoted(unknown), names.join(", "));
                Err(Refusal::line(Code::FieldUnknown, problem))
            }
        }
    }

    /// A field as it was written, `None` where it is missing or null.
    pub(crate) fn value(&self, name: &'static str) -> Option<&'a str> {
        self.values.get(name).map(|raw| raw.get()).filter(|text| *text != "null")
    }

    /// The names of all fields, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(|name| &**name)
    }

    /// A field of any name as it was written.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).map(|raw| raw.get())
    }

    /// The only field there is, with its value as it was written.
    pub(crate) fn alone(&self) -> Option<(&str, &'a str)> {
        let (name, raw) = self.values.first_key_value()?;
        (self.values.len() == 1).then(|| (&**name, raw.get()))
    }

    /// The text of a field, or of a field of an object in it (`order.client_order_id`); a number as it was written.
    pub(crate) fn at(&self, path: &str) -> Option<Cow<'a, str>> {
        let (name, deeper) = path.split_once('.').map_or((path, None), |(name, deeper)| (name, Some(deeper)));
        let raw = self.values.get(name)?.get();
        match deeper {
            Some(deeper) => serde_json::from_str::<Self>(raw).ok()?.at(deeper),
            None if raw.starts_with('"') => serde_json::from_str(raw).ok().map(|Borrowed(text)| text),
            None => (!raw.starts_with(['{', '[', 'n'])).then_some(Cow::Borrowed(raw)),
        }
    }

    /// The text of a field, `None` where it is missing or null.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.text_within(name, TEXT_BYTES_MAX)
    }

    /// The text of a field that may be this long, bytes.
    pub(crate) fn text_within(&self, name: &'static str, most: usize) -> Result<Option<Cow<'a, str>>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        if !raw.starts_with('"') {
            return Err(Refusal::field(Code::FieldMalformed, name, format!("expected a text, found {}", quoted(raw))));
        }
        let Borrowed(text) = serde_json::from_str(raw)
            .map_err(|_| Refusal::field(Code::FieldMalformed, name, format!("not a text: {}", quoted(raw))))?;
        if text.len() > most {
            let problem = format!("a text has at most {most} bytes, found {}", text.len());
            return Err(Refusal::field(Code::FieldTooLong, name, problem));
        }
        Ok(Some(text))
    }

    /// An id, a name or a code.
    pub(crate) fn id<T: FromStr<Err: fmt::Display>>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| Refusal::field(Code::FieldMalformed, name, error.to_string()))
    }

    /// An exact amount, written as a text or as a number.
    pub(crate) fn amount(&self, name: &'static str, range: Range) -> Result<Option<Amount>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        let text = if raw.starts_with('"') { self.text(name)?.unwrap_or_default() } else { Cow::Borrowed(raw) };
        amount_of(name, &text, raw, range).map(Some)
    }

    /// An instant.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let wrong = || {
            let problem = format!("not an RFC 3339 time between 1677 and 2262: {}", quoted(&text));
            Refusal::field(Code::FieldMalformed, name, problem)
        };
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// A count.
    pub(crate) fn count(&self, name: &'static str) -> Result<Option<u32>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        raw.parse().map(Some).map_err(|_| {
            let problem = format!("expected a count from 0 to {}, found {}", u32::MAX, quoted(raw));
            let negative = raw.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            Refusal::field(if negative { Code::FieldOutOfRange } else { Code::FieldMalformed }, name, problem)
        })
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(raw) => {
                let problem = format!("expected true or false, found {}", quoted(raw));
                Err(Refusal::field(Code::FieldMalformed, name, problem))
            }
        }
    }

    /// One of a few words, in either case.
    pub(crate) fn choice<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let chosen = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        chosen.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let (last, rest) = known.split_last().unwrap_or((&"", &[]));
            let problem = format!("expected {} or {last}, found {:?}", rest.join(", "), quoted(&text));
            Refusal::field(Code::FieldMalformed, name, problem)
        })
    }

    /// The fields of an object in a field.
    pub(crate) fn object(&self, name: &'static str) -> Result<Option<Self>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        let fields: Self = serde_json::from_str(raw).map_err(|_| {
            Refusal::field(Code::FieldMalformed, name, format!("expected an object, found {}", quoted(raw)))
        })?;
        match &fields.twice {
            Some(twice) => {
                Err(Refusal::field(Code::FieldTwice, name, format!("the field {twice:?} stands there twice")))
            }
            None => Ok(Some(fields)),
        }
    }

    /// The values of a list, as they were written.
    pub(crate) fn list(&self, name: &'static str) -> Result<Option<Vec<&'a str>>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        let values: Vec<&'a RawValue> = serde_json::from_str(raw).map_err(|_| {
            Refusal::field(Code::FieldMalformed, name, format!("expected a list, found {}", quoted(raw)))
        })?;
        Ok(Some(values.into_iter().map(RawValue::get).collect()))
    }

    /// The objects of a list.
    pub(crate) fn objects(&self, name: &'static str) -> Result<Option<Vec<Self>>, Refusal> {
        let Some(values) = self.list(name)? else { return Ok(None) };
        let read = |raw: &'a str| {
            let wrong = |refusal: Refusal| Refusal::field(refusal.code, name, refusal.problem);
            Self::of(raw).map_err(wrong)
        };
        values.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// The one text that stands for a value of any shape: names in order, no white space, numbers as written.
    pub(crate) fn canonical(&self, name: &'static str) -> Result<String, Refusal> {
        let mut text = String::new();
        write_canonical(self.value(name).unwrap_or("null"), 0, &mut text)
            .map_err(|problem| Refusal::field(Code::FieldMalformed, name, problem))?;
        Ok(text)
    }
}

/// What a field must be, where it may not be left out.
pub(crate) fn required<T>(name: &'static str, value: Result<Option<T>, Refusal>) -> Result<T, Refusal> {
    value?.ok_or_else(|| missing(name))
}

/// A field that must be there and is not.
pub(crate) fn missing(name: &'static str) -> Refusal {
    Refusal::field(Code::FieldMissing, name, "missing")
}

/// An exact amount out of a field's text; `shown` is what an error repeats.
pub(crate) fn amount_of(name: &'static str, text: &str, shown: &str, range: Range) -> Result<Amount, Refusal> {
    let amount = exact(text).map_err(|error| match error {
        AmountError::NotANumber { .. } => {
            let problem = format!("expected a decimal number, found {}", quoted(shown));
            Refusal::field(Code::FieldMalformed, name, problem)
        }
        AmountError::DoesNotFit { .. } => {
            let problem = format!("decimal does not fit in 28 digits: {}", quoted(text));
            Refusal::field(Code::DecimalDoesNotFit, name, problem)
        }
    })?;
    let wrong = match range {
        Range::Any => None,
        Range::AtLeastZero => amount.is_negative().then_some("must not be negative"),
        Range::AboveZero => (!amount.is_positive()).then_some("must be above 0"),
    };
    match wrong {
        Some(wrong) => Err(Refusal::field(Code::FieldOutOfRange, name, format!("{wrong}, found {amount}"))),
        None => Ok(amount),
    }
}

/// A decimal number without a digit lost.
fn exact(text: &str) -> Result<Amount, AmountError> {
    let refused = |error: fn(String) -> AmountError| error(text.chars().take(QUOTED_MAX).collect());
    let (digits, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(digits, power)| (digits, Some(power)));
    let unsigned = |text: &str| text.strip_prefix(['-', '+']).unwrap_or(text).to_owned();
    let whole = unsigned(digits);
    let is_number = whole.bytes().any(|byte| byte.is_ascii_digit())
        && whole.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && whole.bytes().filter(|byte| *byte == b'.').count() <= 1
        && exponent.is_none_or(|power| {
            let power = unsigned(power);
            !power.is_empty() && power.bytes().all(|byte| byte.is_ascii_digit())
        });
    if !is_number {
        return Err(refused(|text| AmountError::NotANumber { text }));
    }
    let does_not_fit = || refused(|text| AmountError::DoesNotFit { text });
    // The digits alone must fit: the reader of exponents would round them.
    digits.parse::<Amount>().map_err(|_| does_not_fit())?;
    text.parse().map_err(|_| does_not_fit())
}

fn write_canonical(raw: &str, depth: u32, text: &mut String) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    let malformed = |_| format!("not JSON: {}", quoted(raw));
    let quote = |name: &str| serde_json::to_string(name).map_err(|_| format!("not a text: {}", quoted(name)));
    match raw.as_bytes().first() {
        Some(b'{') => {
            let fields: Fields<'_> = serde_json::from_str(raw).map_err(malformed)?;
            if let Some(twice) = &fields.twice {
                return Err(format!("the field {twice:?} stands there twice"));
            }
            text.push('{');
            for (index, (name, value)) in fields.values.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(&quote(name)?);
                text.push(':');
                write_canonical(value.get(), depth + 1, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(raw).map_err(malformed)?;
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write_canonical(value.get(), depth + 1, text)?;
            }
            text.push(']');
        }
        Some(b'"') => {
            let Borrowed(value) = serde_json::from_str(raw).map_err(malformed)?;
            text.push_str(&quote(&value)?);
        }
        Some(_) | None => text.push_str(raw),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn amount(raw: &str) -> Result<String, String> {
        let line = format!("{{\"qty\":{raw}}}");
        let fields = Fields::of(&line).unwrap();
        let amount = fields.amount("qty", Range::Any);
        amount.map(|found| found.map_or("none".to_owned(), |amount| amount.to_string())).map_err(|r| r.to_string())
    }

    #[test]
    fn numbers_and_texts_are_exact() {
        assert_eq!(amount("0.1"), Ok("0.1".to_owned()));
        assert_eq!(amount("\"0.30000000000000000000000001\""), Ok("0.30000000000000000000000001".to_owned()));
        assert_eq!(amount("0.30000000000000000000000001"), Ok("0.30000000000000000000000001".to_owned()));
        assert_eq!(amount("12345678901234567890.125"), Ok("12345678901234567890.125".to_owned()));
        assert_eq!(amount("1.5e3"), Ok("1500".to_owned()));
        assert_eq!(amount("-2E-3"), Ok("-0.002".to_owned()));
        assert_eq!(amount("null"), Ok("none".to_owned()));
    }

    #[test]
    fn what_does_not_fit_is_never_rounded() {
        for raw in ["\"1.00000000000000000000000000001\"", "99999999999999999999999999999999", "1e400", "1e-400"] {
            let problem = amount(raw).unwrap_err();
            assert!(problem.starts_with("qty: decimal does not fit in 28 digits: "), "{raw}: {problem}");
        }
        assert!(amount("1.00000000000000000000000000001e3").is_err());
    }

    #[test]
    fn what_is_no_number_says_so() {
        for raw in ["\"\"", "\"abc\"", "true", "[]", "\"1_000\"", "\"1,5\"", "\"NaN\"", "\"0x10\"", "\"1e\"", "\" 1\""]
        {
            let problem = amount(raw).unwrap_err();
            assert!(problem.starts_with("qty: expected a decimal number, found "), "{raw}: {problem}");
        }
    }

    #[test]
    fn the_canonical_text_does_not_depend_on_order_or_white_space() {
        let one = Fields::of(r#"{"p": {"b": [1, 2.50], "a": "x\u0041"}}"#).unwrap().canonical("p").unwrap();
        let two = Fields::of(r#"{"p":{"a":"xA","b":[1,2.50]}}"#).unwrap().canonical("p").unwrap();
        assert_eq!(one, two);
        assert_eq!(one, r#"{"a":"xA","b":[1,2.50]}"#);
        let deep = format!("{{\"p\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        let refused = Fields::of(&deep).unwrap().canonical("p").unwrap_err();
        assert_eq!(refused.to_string(), "p: nested deeper than 32");
    }

    #[test]
    fn a_name_that_stands_there_twice_is_refused() {
        let refused = Fields::of(r#"{"qty":1,"qty":2}"#).err().unwrap();
        assert_eq!(
            (refused.code, refused.problem.as_str()),
            (Code::FieldTwice, "the field \"qty\" stands there twice")
        );
        let escaped = Fields::of(r#"{"qty":1,"\u0071ty":2}"#).err().unwrap();
        assert_eq!(escaped.code, Code::FieldTwice);
    }
}
