//! One FIX message out of bytes: its length and its checksum are right, or it is refused.
//!
//! Written here because the crates at hand do less than this takes. `quickfix` binds a C++ library; `fefix` has not moved
//! since 2021; `hotfix-message` is alive, but reads by one version's dictionary and refuses the tags of any other, keeps
//! the last of a tag that stands there twice, passes a checksum that is no number, and panics on a type that is not UTF-8.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use ephor_governance::units::Amount;

use crate::input::{Code, Range, Refusal, amount_of, quoted};

const SOH: u8 = 1;
/// Fields in one message.
const FIELDS_MAX: usize = 4_096;
/// The longest text of a field that is read, bytes.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// Fields that say how long the one behind them is, because that may hold SOH.
const LENGTHS: [u32; 18] = [90, 93, 95, 212, 348, 350, 352, 354, 356, 358, 360, 362, 364, 445, 618, 621, 1_184, 1_397];

/// The fields of a message, by tag.
pub(super) struct Frame<'a> {
    fields: BTreeMap<u32, Found<'a>>,
}

/// What stands under a tag.
#[derive(Clone, Copy)]
enum Found<'a> {
    Once(&'a [u8]),
    /// In a repeating group, or by mistake: nobody can say which is meant.
    Again,
}

impl<'a> Frame<'a> {
    /// Reads a message that begins at `8=FIX`, whatever stands before it.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let begin = bytes.windows(5).position(|window| window == b"8=FIX");
        let bytes = begin.and_then(|begin| bytes.get(begin..)).ok_or_else(|| broken("no message begins with 8=FIX"))?;
        let end = bytes.iter().position(|byte| matches!(*byte, SOH | b'|'));
        let delimiter =
            end.and_then(|end| bytes.get(end).copied()).ok_or_else(|| broken("it ends in its first field"))?;
        let mut rest = bytes;
        let mut fields = BTreeMap::new();
        let (mut body, mut length) = (None, None);
        for index in 0..FIELDS_MAX {
            let at = bytes.len() - rest.len();
            let (tag, value) = next(&mut rest, delimiter, length.take())?;
            if index == 1 {
                let declared = Some(value).filter(|_| tag == 9).and_then(number::<usize>);
                let declared = declared.ok_or_else(|| wrong("BodyLength(9)", "must be the second field, a number"))?;
                body = Some((bytes.len() - rest.len(), declared));
            }
            if tag == 10 {
                let (begin, declared) = body.ok_or_else(|| wrong("BodyLength(9)", "missing"))?;
                check(bytes.get(..at).unwrap_or_default(), at - begin, declared, value, delimiter)?;
                return Ok(Self { fields });
            }
            if LENGTHS.contains(&tag) {
                length = number::<usize>(value);
            }
            let found = if fields.contains_key(&tag) { Found::Again } else { Found::Once(value) };
            fields.insert(tag, found);
        }
        Err(broken("it has too many fields"))
    }

    /// The text of a field.
    pub(super) fn text(&self, tag: u32, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        match self.fields.get(&tag) {
            None => Ok(None),
            Some(Found::Again) => Err(Refusal::field(Code::FieldTwice, name, "stands there twice")),
            Some(Found::Once(value)) if value.len() > TEXT_BYTES_MAX => {
                let problem = format!("a text has at most {TEXT_BYTES_MAX} bytes, found {}", value.len());
                Err(Refusal::field(Code::FieldTooLong, name, problem))
            }
            Some(Found::Once(value)) => std::str::from_utf8(value).map(Some).map_err(|_| wrong(name, "not UTF-8")),
        }
    }

    /// The text of a field that must be there.
    pub(super) fn required(&self, tag: u32, name: &'static str) -> Result<&'a str, Refusal> {
        self.text(tag, name)?.ok_or_else(|| Refusal::field(Code::FieldMissing, name, "missing"))
    }

    /// A field as text, whatever its bytes.
    pub(super) fn lossy(&self, tag: u32) -> Option<Cow<'a, str>> {
        match self.fields.get(&tag)? {
            Found::Once(value) => Some(String::from_utf8_lossy(value)),
            Found::Again => None,
        }
    }

    /// An id or a name.
    pub(super) fn id<T: FromStr<Err: Display>>(&self, tag: u32, name: &'static str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(tag, name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| wrong(name, &error.to_string()))
    }

    /// An exact amount that must be there. FIX knows no exponents.
    pub(super) fn amount(&self, tag: u32, name: &'static str, range: Range) -> Result<Amount, Refusal> {
        let text = self.required(tag, name)?;
        if text.contains(['e', 'E']) {
            return Err(wrong(name, &format!("expected a decimal number, found {}", quoted(text))));
        }
        amount_of(name, text, text, range)
    }
}

/// Takes the next field; `length` is how long its value is where the field before it has said so.
fn next<'a>(rest: &mut &'a [u8], delimiter: u8, length: Option<usize>) -> Result<(u32, &'a [u8]), Refusal> {
    let ends = || broken("it ends before its checksum");
    let here: &'a [u8] = rest;
    let equals = here.iter().position(|byte| *byte == b'=').ok_or_else(ends)?;
    let tag = here.get(..equals).and_then(number::<u32>).ok_or_else(|| broken("a tag is no number"))?;
    let value = here.get(equals + 1..).ok_or_else(ends)?;
    let long = match length {
        Some(length) if value.get(length) == Some(&delimiter) => length,
        Some(_) => return Err(broken("a field is not as long as the one before it says")),
        None => match value.iter().position(|byte| *byte == delimiter) {
            Some(long) => long,
            // A log may leave out the last delimiter.
            None if tag == 10 => value.len(),
            None => return Err(ends()),
        },
    };
    *rest = value.get(long + 1..).unwrap_or_default();
    value.get(..long).map(|value| (tag, value)).ok_or_else(ends)
}

/// The length from behind `BodyLength` to the checksum's field, and the sum of all bytes before that.
fn check(before: &[u8], length: usize, declared: usize, sum: &[u8], delimiter: u8) -> Result<(), Refusal> {
    if length != declared {
        return Err(wrong("BodyLength(9)", &format!("says {declared}, found {length}")));
    }
    let found = before.iter().fold(0_u8, |sum, byte| sum.wrapping_add(if *byte == delimiter { SOH } else { *byte }));
    let sum = sum.trim_ascii_end();
    let declared = Some(sum).filter(|sum| sum.len() == 3).and_then(number::<u16>);
    if declared != Some(u16::from(found)) {
        let shown = String::from_utf8_lossy(sum);
        return Err(wrong("CheckSum(10)", &format!("says {}, found {found:03}", quoted(&shown))));
    }
    Ok(())
}

/// Digits alone, and not too many.
fn number<T: FromStr>(digits: &[u8]) -> Option<T> {
    let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn broken(problem: &str) -> Refusal {
    Refusal::line(Code::LineNotFix, format!("not a FIX message: {problem}"))
}

fn wrong(name: &'static str, problem: &str) -> Refusal {
    Refusal::field(Code::FieldMalformed, name, problem)
}
