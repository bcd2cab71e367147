//! What each policy makes of the demand during an outage, and when the service is back.

use std::io;

use super::GOAL;
use crate::{
    canvas::{BAD, End, FAINT, GOOD, GRID, INK, picture},
    storm::{
        simulation::{Contender, Measured},
        table::recovery,
    },
};

const WIDTH: f64 = 840.0;
const LEFT: f64 = 186.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 52.0;
const ROW: f64 = 26.0;
const MOST: f64 = 6.0;

/// One bar for each policy; the runs of both faults are in the same order.
pub fn amplification(
    outage: &[(Contender, Measured)],
    dip: &[(Contender, Measured)],
) -> io::Result<String> {
    let bottom = TOP + outage.len() as f64 * ROW;
    let x = |factor: f64| LEFT + (RIGHT - LEFT) * factor.min(MOST) / MOST;
    picture((WIDTH as u32, bottom as u32 + 42), |canvas| {
        canvas.heading("sent per request during the outage", (LEFT, 14.0))?;
        canvas.heading("back after …", (RIGHT + 60.0, 14.0))?;
        canvas.text("the outage", (RIGHT + 60.0, 34.0), End::Left, FAINT)?;
        canvas.text("the dip", (RIGHT + 170.0, 34.0), End::Left, FAINT)?;
        for tick in 0..=MOST as u32 {
            let x = x(f64::from(tick));
            canvas.line(&[(x, TOP), (x, bottom)], GRID, 1)?;
            canvas.text(tick, (x, bottom + 12.0), End::Middle, FAINT)?;
        }
        for (i, ((contender, run), (_, dip))) in outage.iter().zip(dip).enumerate() {
            let y = TOP + (i as f64 + 0.5) * ROW;
            canvas.text(contender.name(), (LEFT - 10.0, y), End::Right, INK)?;
            let factor = run.amplification();
            let color = if factor <= GOAL { GOOD } else { BAD };
            canvas.rectangle((x(0.0), y - 8.0), (x(factor), y + 8.0), color)?;
            // Not upon the line of the goal.
            let end = if x(factor) + 36.0 > x(GOAL) {
                factor.max(GOAL)
            } else {
                factor
            };
            let at = (x(end) + 6.0, y);
            canvas.text(format!("{factor:.2}"), at, End::Left, INK)?;
            for (run, x) in [(run, RIGHT + 60.0), (dip, RIGHT + 170.0)] {
                let color = if run.recovery().is_some() { INK } else { BAD };
                canvas.text(recovery(run), (x, y), End::Left, color)?;
            }
        }
        canvas.dashes((x(GOAL), TOP - 8.0), (x(GOAL), bottom), INK)?;
        canvas.text(
            format!("goal: at most {GOAL}"),
            (x(GOAL), TOP - 16.0),
            End::Left,
            INK,
        )?;
        let at = (LEFT, bottom + 30.0);
        canvas.text("1 is the demand itself", at, End::Left, FAINT)
    })
}
