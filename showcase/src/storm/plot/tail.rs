//! What hedges make of a service's tail, and of a service that slows down.

use std::{io, time::Duration};

use crate::{
    canvas::{ASKED, BAD, Canvas, End, FAINT, GOOD, GRID, INK, Place, picture},
    storm::tail::{Hedger, Measured},
};

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 320.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = HEIGHT - 48.0;
/// The times of the answers, and the load.
const LEFT: (f64, f64) = (60.0, 400.0);
const RIGHT: (f64, f64) = (470.0, WIDTH - 16.0);

const PERCENTILES: [(f64, &str); 4] = [
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
];
/// From 10 ms to 4 s.
const TIMES: [(u64, &str); 4] = [(10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (4000, "")];
const MOST: f64 = 2.2;

fn color(hedger: Hedger) -> plotters::style::RGBColor {
    match hedger {
        Hedger::None => ASKED,
        Hedger::Naive => BAD,
        Hedger::Layer => GOOD,
    }
}

/// The times of the answers when the service is well, and the load when it slows down.
pub fn tail(fair: &[(Hedger, Measured)], slow: &[(Hedger, Measured)]) -> io::Result<String> {
    picture((WIDTH as u32, HEIGHT as u32), |canvas| {
        let mut x = LEFT.0;
        for (hedger, _) in fair {
            canvas.rectangle((x, 12.0), (x + 18.0, 24.0), color(*hedger))?;
            canvas.text(hedger.name(), (x + 24.0, 18.0), End::Left, INK)?;
            x += 140.0;
        }
        times(canvas, fair)?;
        loads(canvas, slow)
    })
}

fn upwards(part: f64) -> f64 {
    BOTTOM - part.clamp(0.0, 1.0) * (BOTTOM - TOP)
}

fn times(canvas: &Canvas<'_>, runs: &[(Hedger, Measured)]) -> io::Result<()> {
    canvas.heading("answers take at most", (LEFT.0, TOP - 18.0))?;
    let y = |millis: f64| {
        let [first, .., last] = TIMES.map(|(millis, _)| (millis as f64).log10());
        upwards((millis.max(1.0).log10() - first) / (last - first))
    };
    // By how many nines.
    let x = |part: f64| {
        let nines = |part: f64| -(1.0 - part).log10();
        let [first, .., last] = PERCENTILES.map(|(part, _)| nines(part));
        LEFT.0 + (LEFT.1 - LEFT.0) * (nines(part) - first) / (last - first)
    };
    for (millis, text) in TIMES {
        let y = y(millis as f64);
        canvas.line(&[(LEFT.0, y), (LEFT.1, y)], GRID, 1)?;
        canvas.text(text, (LEFT.0 - 6.0, y), End::Right, FAINT)?;
    }
    for (part, text) in PERCENTILES {
        canvas.text(text, (x(part), BOTTOM + 14.0), End::Middle, FAINT)?;
    }
    let at = ((LEFT.0 + LEFT.1) / 2.0, HEIGHT - 14.0);
    canvas.text(
        "of the requests, when the service is well",
        at,
        End::Middle,
        FAINT,
    )?;
    for (hedger, run) in runs {
        let points: Vec<Place> = (0..=60)
            .map(|step| {
                let (least, most) = (std::f64::consts::LOG10_2, 3.0);
                let nines = least + f64::from(step) / 60.0 * (most - least);
                let part = 1.0 - 10f64.powf(-nines);
                (x(part), y(run.percentile(part).as_secs_f64() * 1000.0))
            })
            .collect();
        canvas.line(&points, color(*hedger), 2)?;
    }
    Ok(())
}

fn loads(canvas: &Canvas<'_>, runs: &[(Hedger, Measured)]) -> io::Result<()> {
    canvas.heading(
        "sent per request, when all slows down for 10 s",
        (RIGHT.0, TOP - 18.0),
    )?;
    for factor in [0.0, 1.0, 2.0] {
        let y = upwards(factor / MOST);
        canvas.line(&[(RIGHT.0, y), (RIGHT.1, y)], GRID, 1)?;
        canvas.text(factor, (RIGHT.0 - 6.0, y), End::Right, FAINT)?;
    }
    for (hedger, run) in runs {
        let count = run.seconds.len();
        let points: Vec<Place> = run
            .seconds
            .iter()
            .enumerate()
            .map(|(second, all)| {
                let along = second as f64 / count as f64;
                let factor = all.sent as f64 / all.asked.max(1) as f64;
                (
                    RIGHT.0 + along * (RIGHT.1 - RIGHT.0),
                    upwards(factor / MOST),
                )
            })
            .collect();
        canvas.line(&points, color(*hedger), 2)?;
    }
    let seconds = runs.first().map_or(0, |(_, run)| run.seconds.len());
    for part in [0.0, 0.5, 1.0] {
        let time = Duration::from_secs((seconds as f64 * part) as u64).as_secs();
        let x = RIGHT.0 + part * (RIGHT.1 - RIGHT.0);
        canvas.text(format!("{time} s"), (x, BOTTOM + 14.0), End::Middle, FAINT)?;
    }
    Ok(())
}
