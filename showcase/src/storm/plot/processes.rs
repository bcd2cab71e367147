//! What a budget for each process is worth, by how much each process sends.

use std::io;

use super::GOAL;
use crate::{
    canvas::{ASKED, BAD, End, FAINT, FURTHER, GOOD, GRID, INK, OTHER, Place, picture},
    storm::simulation::{Contender, Measured},
};

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = WIDTH - 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = HEIGHT - 48.0;
const MOST: f64 = 4.4;

/// From busy processes to idle ones, in powers of ten of the requests per second of each.
const BUSY: f64 = 3.0;
const IDLE: f64 = -1.0;

/// One line for each contender. Each element of `runs` is for one number of processes.
pub fn processes(runs: &[Vec<(Contender, Measured)>]) -> io::Result<String> {
    let place = |rate: f64, factor: f64| -> Place {
        let along = (BUSY - rate.log10()) / (BUSY - IDLE);
        let up = factor / MOST;
        (LEFT + along * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP))
    };
    let (busy, idle) = (10f64.powf(BUSY), 10f64.powf(IDLE));
    picture((WIDTH as u32, HEIGHT as u32), |canvas| {
        canvas.heading("sent per request during the outage", (LEFT, 14.0))?;
        for factor in 0..=MOST as u32 {
            let height = f64::from(factor);
            let (from, to) = (place(busy, height), place(idle, height));
            canvas.line(&[from, to], GRID, 1)?;
            canvas.text(factor, (from.0 - 8.0, from.1), End::Right, FAINT)?;
        }
        for power in IDLE as i32..=BUSY as i32 {
            let rate = 10f64.powi(power);
            let (x, y) = place(rate, 0.0);
            canvas.line(&[(x, TOP), (x, y + 4.0)], GRID, 1)?;
            canvas.text(rate, (x, y + 14.0), End::Middle, FAINT)?;
        }
        let (x, y) = place(busy, 4.0);
        let text = "no limit: the first attempt and three retries";
        canvas.text(text, (x + 6.0, y - 9.0), End::Left, FAINT)?;
        let (from, to) = (place(busy, GOAL), place(idle, GOAL));
        canvas.dashes(from, to, INK)?;
        canvas.text(
            format!("goal: at most {GOAL}"),
            (to.0, to.1 + 11.0),
            End::Right,
            INK,
        )?;

        let contenders = runs.first().map_or(0, Vec::len);
        let colors = [ASKED, GOOD, OTHER, FURTHER, BAD];
        for (line, color) in (0..contenders).zip(colors) {
            let points: Vec<_> = runs
                .iter()
                .map(|runs| &runs[line].1)
                .map(|run| {
                    let rate = run.scenario().rate_per_process();
                    (place(rate, run.amplification()), run.recovery().is_some())
                })
                .collect();
            let places: Vec<_> = points.iter().map(|(place, _)| *place).collect();
            canvas.line(&places, color, 2)?;
            for (place, recovers) in points {
                canvas.mark(place, recovers, color)?;
            }
        }
        // Where no line is: busy processes are limited by every budget.
        let (x, mut y) = place(700.0, 3.6);
        for (line, color) in (0..contenders).zip(colors) {
            let name = runs[0][line].0.name();
            canvas.line(&[(x, y), (x + 24.0, y)], color, 2)?;
            canvas.text(name, (x + 32.0, y), End::Left, INK)?;
            y += 18.0;
        }
        for (is_dot, text) in [(true, "the service is back"), (false, "it stays down")] {
            canvas.mark((x + 12.0, y), is_dot, FAINT)?;
            canvas.text(text, (x + 32.0, y), End::Left, INK)?;
            y += 18.0;
        }
        let at = ((LEFT + RIGHT) / 2.0, HEIGHT - 12.0);
        let what = "requests per second of each process, of 10 000 together";
        canvas.text(what, at, End::Middle, FAINT)
    })
}
