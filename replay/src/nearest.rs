//! Names close to one that is not known, for an error that helps.

/// The most names that are offered.
const OFFERED: usize = 3;

/// The known names nearest to `wanted`, nearest first, at most three; none that is far off.
///
/// ```
/// let known = ["EMAX-GBPUSD", "BBMR-6E", "FT-Sample"];
/// assert_eq!(ephor_replay::nearest("emax-gbpusd", known), ["EMAX-GBPUSD"]);
/// assert_eq!(ephor_replay::nearest("BBMR", known), ["BBMR-6E"]);
/// ```
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let contained = !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower));
            let distance = edits(&wanted, &lower);
            let near = distance <= wanted.chars().count().max(lower.chars().count()) / 2;
            (contained || near).then_some((if contained { distance.min(1) } else { distance }, name))
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(OFFERED).map(|(_, name)| name.to_owned()).collect()
}

/// Letters to put in, take out or change to get from one text to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        let mut next = vec![left];
        for (other, &up) in to.iter().zip(row.iter().skip(1)) {
            let changed = diagonal + usize::from(*other != letter);
            left = changed.min(up + 1).min(left + 1);
            diagonal = up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::edits;

    #[test]
    fn edits_are_counted_letter_by_letter() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }
}
