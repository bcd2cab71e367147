//! The schedule as a picture.

use std::{error::Error, ops::Range, time::Duration};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use tower_http_retry::dry_run::{Schedule, ScheduledRetry};

const WIDTH: u32 = 900;
const LEGEND: u32 = 40;
const RANGE: RGBColor = RGBColor(187, 208, 233);
const USUAL: RGBColor = RGBColor(70, 120, 180);
const MEDIAN: RGBColor = RGBColor(20, 40, 70);
/// Pictures of endless schedules would have no end either.
const MOST: usize = 30;

/// Draws when each retry is sent: a light bar from the earliest to the latest time that is
/// possible, a dark one from the median to the 95th percentile.
pub(crate) fn draw(schedule: &Schedule, title: &str) -> Result<String, String> {
    let mut svg = String::new();
    paint(schedule, title, &mut svg).map_err(|error| format!("the plot failed: {error}"))?;
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn paint(schedule: &Schedule, title: &str, svg: &mut String) -> Result<(), Box<dyn Error>> {
    let retries = &schedule.retries()[..schedule.retries().len().min(MOST)];
    let height = 150 + 34 * u32::try_from(retries.len().max(1))?;
    let whole = SVGBackend::with_string(svg, (WIDTH, height + LEGEND)).into_drawing_area();
    whole.fill(&WHITE)?;
    let (area, below) = whole.split_vertically(height);
    let Some(last) = retries.last() else {
        let middle = i32::try_from(WIDTH)? / 2;
        let reason = schedule.stop().map(|stop| format!("not retried: {stop}"));
        for (text, y) in [
            (title, 70),
            (reason.as_deref().unwrap_or("not retried"), 110),
        ] {
            let style = ("sans-serif", 18).into_font().color(&BLACK);
            let style = style.pos(Pos::new(HPos::Center, VPos::Center));
            whole.draw(&Text::new(text, (middle, y), style))?;
        }
        whole.present()?;
        return Ok(());
    };

    let unit = Unit::of(last.start.max);
    let end = unit.count(last.start.max);
    // A schedule that is all zero needs an axis as well.
    let time = 0.0..if end > 0.0 { end * 1.04 } else { 1.0 };
    let rows = retries.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 50)
        // The first retry is at the top.
        .build_cartesian_2d(
            time,
            Range {
                start: rows + 0.6,
                end: 0.4,
            },
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(format!("sent after the first failure ({})", unit.name))
        .y_desc("retry")
        .y_labels(retries.len())
        .x_label_formatter(&|time| {
            format!("{time:.2}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        })
        .y_label_formatter(&|row| only_whole(*row))
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .draw()?;
    bars(&mut chart, retries, unit)?;
    legend(&below, retries)?;
    whole.present()?;
    Ok(())
}

fn bars(
    chart: &mut Chart<'_, '_>,
    retries: &[ScheduledRetry],
    unit: Unit,
) -> Result<(), Box<dyn Error>> {
    for retry in retries {
        let row = f64::from(retry.number);
        let [min, p50, p95, max] = [
            retry.start.min,
            retry.start.p50,
            retry.start.p95,
            retry.start.max,
        ]
        .map(|time| unit.count(time));
        let bar = |from, to, half: f64, color: RGBColor| {
            Rectangle::new([(from, row - half), (to, row + half)], color.filled())
        };
        if !retry.start.is_exact() {
            chart.draw_series([bar(min, max, 0.30, RANGE), bar(p50, p95, 0.30, USUAL)])?;
        }
        chart.draw_series([PathElement::new(
            [(p50, row - 0.38), (p50, row + 0.38)],
            MEDIAN.stroke_width(3),
        )])?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, retries: &[ScheduledRetry]) -> Result<(), Box<dyn Error>> {
    let exact = retries.iter().all(|retry| retry.start.is_exact());
    let entries: &[(RGBColor, i32, &str)] = if exact {
        &[(MEDIAN, 3, "when it is sent")]
    } else {
        &[
            (RANGE, 18, "all that is possible"),
            (USUAL, 18, "median to 95th percentile"),
            (MEDIAN, 3, "median"),
        ]
    };
    let y = i32::try_from(LEGEND)? / 2 - 4;
    let mut x = 76;
    for (color, width, text) in entries {
        let corners = [(x, y - 7), (x + width, y + 7)];
        area.draw(&Rectangle::new(corners, color.filled()))?;
        let style = ("sans-serif", 14).into_font().color(&BLACK);
        let style = style.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(*text, (x + width + 8, y), style))?;
        // About seven pixels a letter.
        x += width + 40 + 7 * i32::try_from(text.len())?;
    }
    Ok(())
}

/// Labels between two retries would mean nothing.
fn only_whole(row: f64) -> String {
    if (row - row.round()).abs() < 1e-6 && row > 0.5 {
        format!("{row:.0}")
    } else {
        String::new()
    }
}

/// What times are counted in.
#[derive(Clone, Copy)]
struct Unit {
    name: &'static str,
    seconds: f64,
}

impl Unit {
    fn of(longest: Duration) -> Self {
        let (name, seconds) = match longest.as_secs_f64() {
            ..1.0 => ("milliseconds", 0.001),
            ..180.0 => ("seconds", 1.0),
            ..10_800.0 => ("minutes", 60.0),
            _ => ("hours", 3_600.0),
        };
        Self { name, seconds }
    }

    fn count(self, time: Duration) -> f64 {
        time.as_secs_f64() / self.seconds
    }
}
