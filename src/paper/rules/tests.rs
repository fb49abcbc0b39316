//! The example strategies over bars made by hand, and against themselves.

use ephor_governance::units::Timestamp;

use super::*;

/// Bars that open where the one before closed, a unit of range around both.
fn bars(closes: &[i64]) -> Vec<Bar> {
    let mut before = closes[0];
    let bar = |(number, close): (i64, &i64)| {
        let open = std::mem::replace(&mut before, *close);
        Bar {
            at: Timestamp::from_nanos(number * 3_600_000_000_000),
            open: open.into(),
            high: (open.max(*close) + 1).into(),
            low: (open.min(*close) - 1).into(),
            close: (*close).into(),
            volume: None,
        }
    };
    (0..).zip(closes).map(bar).collect()
}

fn wishes(kind: &Kind, closes: &[i64]) -> Vec<Option<Wish>> {
    let mut rule = kind.begin();
    bars(closes).iter().map(|bar| rule.on_bar(bar)).collect()
}

/// A letter a bar: what it wants, `.` while it has not seen enough.
fn stances(kind: &Kind, closes: &[i64]) -> String {
    let letter = |wish: &Option<Wish>| match wish.map(|wish| wish.stance) {
        None => '.',
        Some(Stance::Flat) => '-',
        Some(Stance::Long) => 'L',
        Some(Stance::Short) => 'S',
    };
    wishes(kind, closes).iter().map(letter).collect()
}

const CROSSING: crossing::Settings = crossing::Settings { fast_bars: 2, slow_bars: 4, long_only: false };

#[test]
fn averages_that_cross_turn_the_stance_around() {
    let kind = Kind::MovingAverageCross(CROSSING);
    assert_eq!(stances(&kind, &[10, 11, 12, 13, 14, 12, 9, 8, 9, 12]), "...LLLSSSL");
    let kind = Kind::MovingAverageCross(crossing::Settings { long_only: true, ..CROSSING });
    assert_eq!(stances(&kind, &[10, 11, 12, 13, 14, 12, 9, 8, 9, 12]), "...LLL---L");
}

#[test]
fn a_crossing_stops_at_the_far_end_of_its_slow_window() {
    let wish = wishes(&Kind::MovingAverageCross(CROSSING), &[10, 11, 12, 13])[3].unwrap();
    assert_eq!(wish, Wish { stance: Stance::Long, stop: Some(9.into()) });
}

#[test]
fn a_close_far_from_its_mean_is_taken_against_until_it_is_back() {
    let settings = reversion::Settings { bars: 5, deviations: Amount::new(15, 1), long_only: false };
    let kind = Kind::MeanReversion(settings.clone());
    // Mean 98, deviation sqrt(20): 90 is 1.79 of them away.
    assert_eq!(stances(&kind, &[100, 100, 100, 100, 90, 92, 97, 100, 101]), "....LL---");
    assert_eq!(stances(&kind, &[100, 100, 100, 100, 110, 108, 101, 100]), "....SS--");
    assert_eq!(stances(&kind, &[100, 100, 100, 100, 100, 100]), "....--", "nothing is far where nothing moves");
    let wish = wishes(&kind, &[100, 100, 100, 100, 90])[4].unwrap();
    assert_eq!(wish.stop, Some(82.into()), "as far below as the mean is above");
    let kind = Kind::MeanReversion(reversion::Settings { long_only: true, ..settings });
    assert_eq!(stances(&kind, &[100, 100, 100, 100, 110, 108]), "....--");
}

#[test]
fn deviations_are_exact_at_their_bound() {
    // Mean 12, deviation 4 (n - 1), close 8: exactly one deviation away is not beyond it.
    let at = |deviations| Kind::MeanReversion(reversion::Settings { bars: 3, deviations, long_only: false });
    assert_eq!(stances(&at(Amount::ONE), &[16, 12, 8]), "..-");
    assert_eq!(stances(&at(Amount::new(9_999, 4)), &[16, 12, 8]), "..L");
}

const BREAKOUT: breakout::Settings = breakout::Settings { entry_bars: 3, exit_bars: 2, long_only: false };

#[test]
fn a_close_beyond_the_range_before_it_is_followed_until_the_other_side() {
    let kind = Kind::Breakout(BREAKOUT);
    assert_eq!(stances(&kind, &[10, 10, 10, 12, 13, 14, 11, 10, 7, 5, 8, 12]), "...LLLLLSSSL");
    let kind = Kind::Breakout(breakout::Settings { long_only: true, ..BREAKOUT });
    assert_eq!(stances(&kind, &[10, 10, 10, 12, 13, 14, 11, 10, 7, 5, 8, 12]), "...LLLLL---L");
}

#[test]
fn every_rule_warms_up_as_long_as_it_says_and_wishes_the_same_twice() {
    let closes: Vec<i64> =
        (0..200).map(|n| 100 + (n * n * 7 + n * 13) % 29 + if n % 37 == 0 { 60 } else { 0 }).collect();
    for kind in Kind::examples() {
        let first = wishes(&kind, &closes);
        assert_eq!(first.iter().take_while(|wish| wish.is_none()).count(), kind.begin().warm_up() - 1);
        assert_eq!(first, wishes(&kind, &closes));
        assert!(first.iter().flatten().any(|wish| wish.stance != Stance::Flat), "{kind:?} never wants anything");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let fault = |kind: Kind| kind.fault().map(|(field, _)| field);
    assert_eq!(
        fault(Kind::MovingAverageCross(crossing::Settings { slow_bars: 10, ..Default::default() })),
        Some("slow_bars")
    );
    assert_eq!(
        fault(Kind::MovingAverageCross(crossing::Settings { fast_bars: 0, ..Default::default() })),
        Some("fast_bars")
    );
    let deviations = Amount::ZERO;
    assert_eq!(
        fault(Kind::MeanReversion(reversion::Settings { deviations, ..Default::default() })),
        Some("deviations")
    );
    assert_eq!(fault(Kind::MeanReversion(reversion::Settings { bars: 1, ..Default::default() })), Some("bars"));
    assert_eq!(fault(Kind::Breakout(breakout::Settings { exit_bars: 21, ..Default::default() })), Some("entry_bars"));
    for kind in Kind::examples() {
        assert_eq!(fault(kind), None);
    }
}
