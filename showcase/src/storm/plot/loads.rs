//! The load over time, one panel for each policy.

use std::{io, time::Duration};

use crate::{
    canvas::{ASKED, BAD, Canvas, End, FAINT, GOOD, GRID, INK, Place, SHADE, picture},
    storm::{
        simulation::{Bin, Contender, Measured},
        table::recovery,
    },
};

const WIDTH: f64 = 840.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;
const GAP: f64 = 14.0;
const COLUMNS: usize = 3;
const PANEL: f64 = 128.0;
const HEADING: f64 = 22.0;

/// The highest load that is shown, as part of the capacity.
const MOST: f64 = 5.0;
/// Time before the fault that is shown, in seconds.
const BEFORE: f64 = 10.0;

/// What was sent, and what of it was answered in time, as part of what the healthy service can
/// do. The fault is called `fault`.
pub fn loads(runs: &[(Contender, Measured)], fault: &str) -> io::Result<String> {
    let rows = runs.len().div_ceil(COLUMNS);
    let height = TOP + rows as f64 * (HEADING + PANEL + GAP) + BOTTOM;
    picture((WIDTH as u32, height as u32), |canvas| {
        legend(canvas, fault)?;
        for (i, (contender, run)) in runs.iter().enumerate() {
            let (row, column) = (i / COLUMNS, i % COLUMNS);
            let width = (WIDTH - LEFT - COLUMNS as f64 * GAP) / COLUMNS as f64;
            let panel = Panel {
                left: LEFT + column as f64 * (width + GAP),
                top: TOP + row as f64 * (HEADING + PANEL + GAP) + HEADING,
                width,
                begin: run.scenario().before.as_secs_f64() - BEFORE,
                end: run.scenario().end().as_secs_f64(),
            };
            panel.draw(canvas, *contender, run)?;
            if column == 0 {
                panel.write_loads(canvas)?;
            }
            if i + COLUMNS >= runs.len() {
                panel.write_times(canvas, run)?;
            }
        }
        let at = ((LEFT + WIDTH) / 2.0, height - 12.0);
        let what = format!(
            "load, in percent of what the healthy service can do, over the seconds since the \
             {fault} began"
        );
        canvas.text(what, at, End::Middle, FAINT)
    })
}

fn legend(canvas: &Canvas<'_>, fault: &str) -> io::Result<()> {
    let y = 18.0;
    let mut x = LEFT;
    for (color, height, text, width) in [
        (INK, 1.0, "what the service can do", 184.0),
        (ASKED, 1.0, "what callers ask for", 166.0),
        (GOOD, 6.0, "answered in time", 150.0),
        (BAD, 6.0, "sent in vain", 122.0),
        (SHADE, 6.0, fault, 0.0),
    ] {
        canvas.rectangle((x, y - height), (x + 18.0, y + height), color)?;
        canvas.text(text, (x + 24.0, y), End::Left, INK)?;
        x += width;
    }
    Ok(())
}

struct Panel {
    left: f64,
    top: f64,
    width: f64,
    begin: f64,
    end: f64,
}

impl Panel {
    fn place(&self, time: f64, load: f64) -> Place {
        let along = (time - self.begin) / (self.end - self.begin);
        let up = load.min(MOST) / MOST;
        (
            self.left + along.clamp(0.0, 1.0) * self.width,
            self.top + (1.0 - up) * PANEL,
        )
    }

    fn draw(&self, canvas: &Canvas<'_>, contender: Contender, run: &Measured) -> io::Result<()> {
        let scenario = run.scenario();
        let middle = self.top - HEADING / 2.0 + 1.0;
        canvas.heading(contender.name(), (self.left, middle))?;
        let (verdict, color) = match run.recovery() {
            Some(Duration::ZERO) => (format!("back {}", recovery(run)), GOOD),
            Some(_) => (format!("back after {}", recovery(run)), GOOD),
            None => (recovery(run), BAD),
        };
        canvas.text(verdict, (self.left + self.width, middle), End::Right, color)?;

        let begin = scenario.before.as_secs_f64();
        let over = scenario.over().as_secs_f64();
        canvas.rectangle(self.place(begin, MOST), self.place(over, 0.0), SHADE)?;
        for load in 1..=MOST as u32 {
            let load = f64::from(load);
            let line = [self.place(self.begin, load), self.place(self.end, load)];
            canvas.line(&line, GRID, 1)?;
        }
        self.area(canvas, run, |bin| bin.sent, BAD)?;
        self.area(canvas, run, |bin| bin.answered, GOOD)?;
        let asked = scenario.demand / scenario.capacity;
        let asked = [self.place(self.begin, asked), self.place(self.end, asked)];
        canvas.line(&asked, ASKED, 2)?;
        let health = scenario.health();
        let last = health.last().map_or(1.0, |(_, health)| *health);
        let capacity: Vec<_> = health
            .into_iter()
            .chain([(self.end, last)])
            .map(|(time, health)| self.place(time, health))
            .collect();
        canvas.line(&capacity, INK, 2)?;
        let floor = [self.place(self.begin, 0.0), self.place(self.end, 0.0)];
        canvas.line(&floor, FAINT, 1)?;
        Ok(())
    }

    fn area(
        &self,
        canvas: &Canvas<'_>,
        run: &Measured,
        count: impl Fn(&Bin) -> u64,
        color: plotters::style::RGBColor,
    ) -> io::Result<()> {
        let scenario = run.scenario();
        let step = Measured::STEP.as_secs_f64();
        let full = scenario.capacity * scenario.share() * step;
        let loads: Vec<_> = run
            .since(Duration::from_secs_f64(self.begin))
            .map(|(at, bin)| (at.as_secs_f64() + step / 2.0, count(bin) as f64 / full))
            .collect();
        // Upright at both ends.
        let level = |load: Option<&(f64, f64)>| load.map_or(0.0, |(_, load)| *load);
        let begin = [(self.begin, 0.0), (self.begin, level(loads.first()))];
        let end = [(self.end, level(loads.last())), (self.end, 0.0)];
        let corners: Vec<_> = begin
            .into_iter()
            .chain(loads)
            .chain(end)
            .map(|(time, load)| self.place(time, load))
            .collect();
        canvas.shape(&corners, color)
    }

    fn write_loads(&self, canvas: &Canvas<'_>) -> io::Result<()> {
        for load in [1, 3, 5] {
            let (x, y) = self.place(self.begin, f64::from(load));
            let text = format!("{} %", 100 * load);
            canvas.text(text, (x - 6.0, y), End::Right, FAINT)?;
        }
        Ok(())
    }

    fn write_times(&self, canvas: &Canvas<'_>, run: &Measured) -> io::Result<()> {
        let begin = run.scenario().before.as_secs_f64();
        // Some seven to a panel.
        let steps = [15.0, 30.0, 60.0, 120.0, 300.0];
        let fits = |step: &f64| (self.end - begin) / step < 8.0;
        let step = steps.into_iter().find(fits).unwrap_or(600.0);
        let mut time = 0.0;
        while begin + time <= self.end {
            let (x, y) = self.place(begin + time, 0.0);
            canvas.line(&[(x, y), (x, y + 4.0)], FAINT, 1)?;
            canvas.text(time, (x, y + 13.0), End::Middle, FAINT)?;
            time += step;
        }
        Ok(())
    }
}
