//! A moment as people write it: a date, or a date and a time, in UTC where no zone is given.

use ephor_governance::units::Timestamp;

/// The moment, or `None` where the text is none.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    let written = text.replacen(' ', "T", 1);
    let midnight = format!("{written}T00:00:00Z");
    let (zoned, seconds) = (format!("{written}Z"), format!("{written}:00Z"));
    [written.as_str(), &midnight, &zoned, &seconds].into_iter().find_map(|form| form.parse().ok())
}
