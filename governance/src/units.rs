//! Quantities with their units: exact amounts, instants, sizing multipliers.
//!
//! Money never passes through a float, and the few floats there are (ratios, scores) are made by
//! one conversion that gives the same bits on every machine. Each type has two written forms: for
//! people (decimal strings, RFC 3339) and for the log (integers).
//!
//! Invariant: no operation here panics or overflows; sums saturate, products say `None`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Powers of ten as floats; up to 1e22 exact, above that the nearest.
const POWERS_OF_TEN: [f64; 29] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28,
];

/// An exact decimal number: money, a price or a quantity; the field's name says which.
///
/// ```
/// use ephor_governance::units::Amount;
/// let pnl: Amount = "-12.50".parse().unwrap();
/// assert!(pnl.is_negative());
/// assert_eq!(pnl.to_string(), "-12.50");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(Decimal);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// One.
    pub const ONE: Self = Self(Decimal::ONE);

    /// `mantissa` divided by ten to the power of `scale` (at most 28).
    #[must_use]
    pub const fn new(mantissa: i64, scale: u32) -> Self {
        Self(Decimal::from_parts(
            (mantissa.unsigned_abs() & 0xFFFF_FFFF) as u32,
            (mantissa.unsigned_abs() >> 32) as u32,
            0,
            mantissa < 0,
            if scale > 28 { 28 } else { scale },
        ))
    }

    /// The decimal itself.
    #[must_use]
    pub const fn decimal(self) -> Decimal {
        self.0
    }

    /// Below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < Decimal::ZERO
    }

    /// Above zero.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }

    /// Exactly zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Without its sign.
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// The same number without zeros at the end of its fraction: the form in which equal numbers look alike.
    ///
    /// ```
    /// use ephor_governance::units::Amount;
    /// assert_eq!(Amount::new(10, 2).normalized().to_string(), "0.1");
    /// ```
    #[must_use]
    pub fn normalized(self) -> Self {
        Self(self.0.normalize())
    }

    /// The sum, held at the largest number that fits.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, held at the largest number that fits.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The product, or `None` where it does not fit.
    #[must_use]
    pub fn times(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// The product held at the largest number that fits: for comparing against a limit.
    #[must_use]
    pub fn times_saturating(self, other: Self) -> Self {
        Self(self.0.saturating_mul(other.0))
    }

    /// The nearest float: integer to float, then one division, so that every machine gives the same bits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is what is asked for")]
    pub fn to_f64(self) -> f64 {
        let divisor = POWERS_OF_TEN.get(self.0.scale() as usize).copied().unwrap_or(1e28);
        self.0.mantissa() as f64 / divisor
    }

    /// The decimal that a person would write for this float, or `None` where it is not finite or too large.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| format!("{value}").parse().ok()).flatten()
    }
}

impl From<Decimal> for Amount {
    fn from(value: Decimal) -> Self {
        Self(value)
    }
}

impl From<i64> for Amount {
    fn from(value: i64) -> Self {
        Self(Decimal::from(value))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an amount.
///
/// ```
/// use ephor_governance::units::{Amount, AmountError};
/// assert!(matches!("1e400".parse::<Amount>(), Err(AmountError::DoesNotFit { .. })));
/// assert!(matches!("1e".parse::<Amount>(), Err(AmountError::NotANumber { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a decimal number at all.
    #[error("not a decimal number: {text:?}")]
    NotANumber {
        /// What was found, cut to 40 characters.
        text: String,
    },
    /// More digits than an exact 28-digit decimal holds.
    #[error("decimal does not fit in 28 digits: {text:?}")]
    DoesNotFit {
        /// What was found, cut to 40 characters.
        text: String,
    },
}

/// Whether this is a decimal number at all, however many digits it takes.
fn is_numeric(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (number, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    digits(&number.replacen('.', "", 1)) && digits(exponent)
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed =
            if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        parsed.map(Self).map_err(|_| {
            let shown = text.chars().take(40).collect();
            if is_numeric(text) {
                AmountError::DoesNotFit { text: shown }
            } else {
                AmountError::NotANumber { text: shown }
            }
        })
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            (self.0.mantissa(), self.0.scale()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(AmountVisitor);
        }
        let (mantissa, scale) = <(i128, u32)>::deserialize(deserializer)?;
        Decimal::try_from_i128_with_scale(mantissa, scale).map(Self).map_err(de::Error::custom)
    }
}

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number, best as a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
        text.parse().map_err(de::Error::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Amount, E> {
        Ok(Amount::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Amount, E> {
        Ok(Amount(Decimal::from(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Amount, E> {
        Amount::from_f64(value).ok_or_else(|| de::Error::custom(format!("not a decimal number: {value}")))
    }
}

/// An instant: nanoseconds since 1970-01-01T00:00:00Z. From 1677 to 2262.
///
/// ```
/// use ephor_governance::units::Timestamp;
/// let at: Timestamp = "2012-02-15T00:00:00Z".parse().unwrap();
/// assert_eq!(at.to_string(), "2012-02-15T00:00:00Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// This many whole seconds later, held at the end of time.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        let seconds = if seconds > 9_223_372_036 { 9_223_372_036 } else { seconds };
        #[expect(clippy::cast_possible_wrap, reason = "bounded on the line above")]
        Self(self.0.saturating_add((seconds as i64).saturating_mul(1_000_000_000)))
    }

    /// Whole seconds from `earlier` to here; zero where `earlier` is later.
    #[must_use]
    pub const fn seconds_since(self, earlier: Self) -> u64 {
        let nanos = self.0.saturating_sub(earlier.0);
        if nanos < 0 { 0 } else { nanos.unsigned_abs() / 1_000_000_000 }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&DateTime::<Utc>::from_timestamp_nanos(self.0).to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// Why a text is not an instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between 1677 and 2262: {text:?}")]
pub struct TimestampError {
    /// What was found, cut to 40 characters.
    pub text: String,
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .and_then(|time| time.timestamp_nanos_opt())
            .map(Self)
            .ok_or_else(|| TimestampError { text: text.chars().take(40).collect() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// A share of the size asked for: 0 stops an order, 1 leaves it whole.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Multiplier(f64);

impl Multiplier {
    /// Nothing of the order.
    pub const ZERO: Self = Self(0.0);
    /// The whole order.
    pub const ONE: Self = Self(1.0);

    /// Clamped to 0 to 1; what is not a number is 0, because an unknown size is no size.
    #[must_use]
    pub fn new(value: f64) -> Self {
        if value >= 1.0 {
            Self::ONE
        } else if value > 0.0 {
            Self(value)
        } else {
            Self::ZERO
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The smaller of two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    /// Both applied after one another.
    #[must_use]
    pub fn compound(self, other: Self) -> Self {
        Self::new(self.0 * other.0)
    }

    /// Nothing goes through.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 <= 0.0
    }

    /// Everything goes through.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.0 >= 1.0
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
