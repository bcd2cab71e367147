//! Durations as people read them.

use std::{fmt, time::Duration};

/// Shows a duration in the unit that suits its size, with about three digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Human(pub(crate) Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        let text = if nanos == 0 {
            "0 ms".to_owned()
        } else if nanos < 9_950_000 {
            let tenths = rounded(nanos, 100_000);
            format!("{}.{} ms", tenths / 10, tenths % 10)
        } else if nanos < 999_500_000 {
            format!("{} ms", rounded(nanos, 1_000_000))
        } else if nanos < 9_995_000_000 {
            seconds(rounded(nanos, 10_000_000))
        } else if nanos < 119_500_000_000 {
            seconds(rounded(nanos, 100_000_000) * 10)
        } else {
            // Adding half a second cannot matter where it would overflow.
            long(self.0.saturating_add(Duration::from_millis(500)).as_secs())
        };
        f.pad(&text)
    }
}

/// In this unit, and to the even one from the middle between two, as floats are printed. Floats
/// themselves would bring 17 KB of code with them.
fn rounded(nanos: u64, unit: u64) -> u64 {
    let (whole, rest) = (nanos / unit, nanos % unit);
    let is_up = rest * 2 > unit || rest * 2 == unit && whole % 2 == 1;
    whole + u64::from(is_up)
}

/// Without the zeros that say nothing.
fn seconds(hundredths: u64) -> String {
    let (whole, part) = (hundredths / 100, hundredths % 100);
    match (part / 10, part % 10) {
        (0, 0) => format!("{whole} s"),
        (tenths, 0) => format!("{whole}.{tenths} s"),
        (tenths, more) => format!("{whole}.{tenths}{more} s"),
    }
}

/// A number with at most three digits after the point, without the zeros that say nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thousandths(pub(crate) u32);

impl Thousandths {
    /// The nearest to `number`, which is not negative.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    pub(crate) fn of(number: f64) -> Self {
        Self((number * 1000.0).round() as u32)
    }
}

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1000, self.0 % 1000);
        match (part % 10, part % 100) {
            (0, 0) if part == 0 => write!(f, "{whole}"),
            (0, 0) => write!(f, "{whole}.{}", part / 100),
            (0, _) => write!(f, "{whole}.{:02}", part / 10),
            _ => write!(f, "{whole}.{part:03}"),
        }
    }
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
    fn thousandths_are_shown_as_floats_are() {
        for thousandths in (0..3000).chain([12_345, 500_000, u32::MAX]) {
            let float = f64::from(thousandths) / 1000.0;
            assert_eq!(Thousandths(thousandths).to_string(), float.to_string());
            assert_eq!(Thousandths::of(float).0, thousandths);
        }
    }

    /// What was printed when floats did it, apart from their own errors in the middle of two.
    #[test]
    fn durations_are_rounded_as_floats_are() {
        let near = |nanos: u64| (nanos - 3..nanos + 3).chain([nanos * 97 / 31]);
        for nanos in [9_900_000, 412_345_678, 1_234_567_891, 11_900_000_001]
            .into_iter()
            .flat_map(near)
        {
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            let text = if nanos < 9_950_000 {
                format!("{:.1} ms", seconds * 1000.0)
            } else if nanos < 999_500_000 {
                format!("{:.0} ms", seconds * 1000.0)
            } else if nanos < 9_995_000_000 {
                format!("{seconds:.2} s")
            } else {
                format!("{seconds:.1} s")
            };
            let text = match text.strip_suffix(" s") {
                Some(digits) => format!("{} s", digits.trim_end_matches('0').trim_end_matches('.')),
                None => text,
            };
            assert_eq!(Human(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn the_width_is_kept() {
        assert_eq!(format!("{:>8}", Human(Duration::from_secs(1))), "     1 s");
    }
}
