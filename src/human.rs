//! Durations as people read them.

use std::{fmt, time::Duration};

/// Shows a duration in the unit that suits its size, with about three digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Human(pub(crate) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let ms = seconds * 1000.0;
        let text = if self.0.is_zero() {
            "0 ms".to_owned()
        } else if ms < 9.95 {
            format!("{ms:.1} ms")
        } else if ms < 999.5 {
            format!("{ms:.0} ms")
        } else if seconds < 9.995 {
            decimal(format!("{seconds:.2}"))
        } else if seconds < 119.5 {
            decimal(format!("{seconds:.1}"))
        } else {
            // Adding half a second cannot matter where it would overflow.
            long(self.0.saturating_add(Duration::from_millis(500)).as_secs())
        };
        f.pad(&text)
    }
}

/// Without the zeros that say nothing.
fn decimal(digits: String) -> String {
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits} s")
}

/// The two largest units.
fn long(mut seconds: u64) -> String {
    let mut text = String::new();
    let mut units = 0;
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)] {
        let count = seconds / size;
        seconds %= size;
        if count > 0 && units < 2 {
            if units > 0 {
                text.push(' ');
            }
            text.push_str(&format!("{count} {unit}"));
        }
        if count > 0 || units > 0 {
            units += 1;
        }
    }
    text
}

/// "500 ms", or "0–100 ms".
pub(crate) fn range(min: Duration, max: Duration) -> String {
    let (low, high) = (Human(min).to_string(), Human(max).to_string());
    if low == high {
        return high;
    }
    let unit = |text: &str| text.split_once(' ').map(|(_, unit)| unit.to_owned());
    match low.split_once(' ') {
        Some((number, _)) if min.is_zero() || unit(&low) == unit(&high) => {
            format!("{number}–{high}")
        }
        _ => format!("{low}–{high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        for (nanos, text) in [
            (0, "0 ms"),
            (30_000, "0.0 ms"),
            (5_620_000, "5.6 ms"),
            (9_960_000, "10 ms"),
            (182_400_000, "182 ms"),
            (999_600_000, "1 s"),
            (1_000_000_000, "1 s"),
            (1_094_000_000, "1.09 s"),
            (9_996_000_000, "10 s"),
            (60_000_000_000, "60 s"),
            (75_250_000_000, "75.2 s"),
            (125_000_000_000, "2 min 5 s"),
            (3_600_000_000_000, "1 h"),
            (3_605_000_000_000, "1 h"),
            (5_400_000_000_000, "1 h 30 min"),
            (90_000_000_000_000, "1 d 1 h"),
        ] {
            assert_eq!(Human(Duration::from_nanos(nanos)).to_string(), text);
        }
        assert_eq!(Human(Duration::MAX).to_string(), "213503982334601 d 7 h");
    }

    #[test]
    fn the_width_is_kept() {
        assert_eq!(format!("{:>8}", Human(Duration::from_secs(1))), "     1 s");
    }
}
