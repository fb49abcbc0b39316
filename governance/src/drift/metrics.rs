//! The live metrics over a window of outcomes, each with a confidence interval where it has one.
//!
//! Sums are taken in one order, oldest first, with + - * / and the square root only, so every machine
//! gives the same bits.

use super::Metric;
use crate::trade::Measured;

/// Sums over the window that most metrics are made from.
pub(super) struct Sums {
    n: f64,
    wins: f64,
    ret: f64,
    ret2: f64,
    r: f64,
    r2: f64,
    /// Of gains and of losses, and below of their squares: side by side, because a processor adds both at once.
    sides: [f64; 2],
    sides2: [f64; 2],
}

pub(super) fn sums(outcomes: &[Measured]) -> Sums {
    let (mut wins, mut ret, mut sides, mut sides2) = (0_u32, 0.0, [0.0; 2], [0.0; 2]);
    let (mut r, mut r2) = (0.0, 0.0);
    // All in one pass: each sum waits for itself, and while it does the others go on.
    for outcome in outcomes {
        let pnl = outcome.pnl;
        ret += outcome.return_on_entry;
        r += outcome.r;
        r2 += outcome.r * outcome.r;
        // Without a branch: wins and losses come in no order that a processor could guess.
        wins += u32::from(pnl > 0.0);
        let gain = at_least_zero(pnl);
        let side = [gain, gain - pnl];
        for ((sum, sum2), value) in sides.iter_mut().zip(&mut sides2).zip(side) {
            *sum += value;
            *sum2 += value * value;
        }
    }
    let n = f64::from(u32::try_from(outcomes.len()).unwrap_or(u32::MAX));
    // The spread around the mean in a second pass: differences of large squares lose the digits that matter.
    let mean = if n > 0.0 { ret / n } else { 0.0 };
    let ret2 = outcomes.iter().fold(0.0, |sum, outcome| {
        let off = outcome.return_on_entry - mean;
        sum + off * off
    });
    Sums { n, wins: f64::from(wins), ret, ret2, r, r2, sides, sides2 }
}

/// A mean and its interval.
fn mean_of(outcomes: &[Measured], n: f64, value: impl Fn(&Measured) -> f64) -> (f64, Option<(f64, f64)>) {
    let (sum, sum2) = outcomes.iter().map(value).fold((0.0, 0.0), |(sum, sum2), x| (sum + x, sum2 + x * x));
    (sum / n, mean_interval(sum / n, sum2, n))
}

/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

fn mean_interval(mean: f64, sum2: f64, n: f64) -> Option<(f64, f64)> {
    if n < 2.0 {
        return None;
    }
    let variance = at_least_zero(sum2 - n * mean * mean) / (n - 1.0);
    let half = Z * (variance / n).sqrt();
    Some((mean - half, mean + half))
}

pub(super) fn at_least_zero(value: f64) -> f64 {
    if value > 0.0 { value } else { 0.0 }
}

/// Wilson's score interval: honest for small samples and near 0 and 1.
fn wilson_interval(rate: f64, n: f64) -> (f64, f64) {
    let scale = 1.0 + Z * Z / n;
    let centre = (rate + Z * Z / (2.0 * n)) / scale;
    let half = Z * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
    (centre - half, centre + half)
}

/// The ratio of two means by the delta method; gains and losses never fall on one trade, so their
/// covariance is minus the product of the means.
fn profit_factor_interval(s: &Sums, factor: f64) -> Option<(f64, f64)> {
    if s.n < 2.0 {
        return None;
    }
    let ([gain, loss], [gain2, loss2]) = (s.sides, s.sides2);
    let (gain, loss) = (gain / s.n, loss / s.n);
    let var_gain = at_least_zero(gain2 - s.n * gain * gain) / (s.n - 1.0);
    let var_loss = at_least_zero(loss2 - s.n * loss * loss) / (s.n - 1.0);
    let cov = -gain * loss * s.n / (s.n - 1.0);
    let variance = at_least_zero(var_gain + factor * factor * var_loss - 2.0 * factor * cov) / (s.n * loss * loss);
    let half = Z * variance.sqrt();
    Some((at_least_zero(factor - half), factor + half))
}

fn max_drawdown(outcomes: &[Measured], equity_now: f64) -> f64 {
    let start = outcomes.iter().fold(equity_now, |equity, outcome| equity - outcome.pnl);
    let (mut equity, mut peak, mut worst) = (start, start, 0.0);
    for outcome in outcomes {
        equity += outcome.pnl;
        if equity > peak {
            peak = equity;
        }
        let fall = if peak > 0.0 { (peak - equity) / peak } else { 1.0 };
        if fall > worst {
            worst = fall;
        }
    }
    worst
}

/// A metric's live value and its interval; `None` where it is not defined or cannot be adverse.
pub(super) fn live(metric: Metric, s: &Sums, outcomes: &[Measured], equity: f64) -> Option<(f64, Option<(f64, f64)>)> {
    match metric {
        Metric::WinRate => {
            let rate = s.wins / s.n;
            Some((rate, Some(wilson_interval(rate, s.n))))
        }
        Metric::AvgRr => Some((s.r / s.n, mean_interval(s.r / s.n, s.r2, s.n))),
        Metric::Sharpe => {
            let deviation = (s.ret2 / (s.n - 1.0)).sqrt();
            (deviation > 0.0).then(|| {
                let sharpe = s.ret / s.n / deviation;
                let half = Z * ((1.0 + sharpe * sharpe / 2.0) / s.n).sqrt();
                (sharpe, Some((sharpe - half, sharpe + half)))
            })
        }
        Metric::ProfitFactor => {
            let [gain, loss] = s.sides;
            let factor = gain / loss;
            (loss > 0.0).then(|| (factor, profit_factor_interval(s, factor)))
        }
        Metric::Expectancy => Some(mean_of(outcomes, s.n, |outcome| outcome.pnl)),
        Metric::AvgReturn => {
            let half = Z * (s.ret2 / (s.n - 1.0) / s.n).sqrt();
            let mean = s.ret / s.n;
            Some((mean, Some((mean - half, mean + half))))
        }
        Metric::MaxDrawdown => Some((max_drawdown(outcomes, equity), None)),
    }
}
