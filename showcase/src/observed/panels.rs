//! The dashboard's panels, drawn from the same numbers.

use std::io;

use plotters::style::RGBColor;

use super::Page;
use crate::canvas::{
    ASKED, BAD, Canvas, End, FAINT, FURTHER, GOOD, GRID, INK, OTHER, Place, SHADE, picture,
};

const REQUESTS: &str = "tower_http_retry_requests_total";
const ATTEMPTS: &str = "tower_http_retry_attempts_total";
const SUPPRESSED: &str = "tower_http_retry_suppressed_total";

const WIDTH: f64 = 960.0;
const PANEL: (f64, f64) = (270.0, 130.0);
const CORNER: (f64, f64) = (44.0, 58.0);
const STEP: (f64, f64) = (316.0, 206.0);
const COLORS: [RGBColor; 6] = [ASKED, FURTHER, OTHER, GOOD, BAD, INK];

/// A line of a panel: its name, and a value for each page.
struct Line {
    name: String,
    values: Vec<Option<f64>>,
}

impl Line {
    /// How requests end has the colours of what callers want and what harms them; `at` is the place
    /// among the panel's lines.
    fn color(&self, at: usize) -> RGBColor {
        match &*self.name {
            "first_try" => GOOD,
            "recovered" => ASKED,
            "failed_after_retries" => BAD,
            "failed_without_retry" => FURTHER,
            _ => COLORS[at % COLORS.len()],
        }
    }
}

/// One panel of the dashboard.
struct Panel {
    title: &'static str,
    unit: &'static str,
    /// Whether the lines are put on top of each other.
    stacked: bool,
    lines: Vec<Line>,
}

/// Draws what `pages` say, which were read one after the other; `faults` are stretches of time that
/// are shaded. Rates are those over `window` seconds.
///
/// # Errors
///
/// The picture cannot be drawn.
pub fn panels(pages: &[Page], faults: &[(f64, f64)], window: f64) -> io::Result<String> {
    let panels = queries(&Rates { pages, window });
    let rows = panels.len().div_ceil(3);
    let height = CORNER.1 + rows as f64 * STEP.1;
    let end = pages.last().map_or(1.0, |page| page.at);
    picture((WIDTH as u32, height as u32), |canvas| {
        canvas.heading("HTTP retries through an outage", (CORNER.0, 20.0))?;
        for (i, panel) in panels.iter().enumerate() {
            let corner = (
                CORNER.0 + (i % 3) as f64 * STEP.0,
                CORNER.1 + (i / 3) as f64 * STEP.1,
            );
            let times: Vec<f64> = pages.iter().map(|page| page.at).collect();
            Drawn { corner, end, panel }.draw(canvas, &times, faults)?;
        }
        Ok(())
    })
}

/// Asks about the pages what the dashboard asks about its data source.
struct Rates<'a> {
    pages: &'a [Page],
    window: f64,
}

impl Rates<'_> {
    /// Something of each page and the one that is a window older.
    fn each<T>(&self, ask: impl Fn(&Page, &Page) -> Option<T>) -> Vec<Option<T>> {
        let older = |page: &Page| {
            let mut older = self.pages.iter();
            older.rfind(|older| older.at <= page.at - self.window)
        };
        let asked = |page: &Page| ask(page, older(page)?);
        self.pages.iter().map(asked).collect()
    }

    fn rate(&self, metric: &str, labels: &[&str]) -> Vec<Option<f64>> {
        self.each(|page, older| Some(page.rate(older, metric, labels)))
    }

    /// A line for each value of a label.
    fn by(&self, metric: &str, label: &str) -> Vec<Line> {
        let values = self.pages.last().map(|last| last.values(metric, label));
        let line = |name: String| Line {
            values: self.rate(metric, &[&format!("{label}=\"{name}\"")]),
            name,
        };
        values.unwrap_or_default().into_iter().map(line).collect()
    }

    /// One sum by another.
    fn ratio(
        &self,
        name: &str,
        part: impl Fn(&Page, &Page) -> f64,
        whole: impl Fn(&Page, &Page) -> f64,
    ) -> Line {
        let ratio = |page: &Page, older: &Page| {
            let whole = whole(page, older);
            (whole > 0.0).then(|| part(page, older) / whole)
        };
        Line {
            name: name.to_owned(),
            values: self.each(ratio),
        }
    }
}

fn queries(rates: &Rates<'_>) -> Vec<Panel> {
    let requests = |page: &Page, older: &Page| page.rate(older, REQUESTS, &[]);
    let retries = |page: &Page, older: &Page| -> f64 {
        let kinds = ["retry", "unprocessed", "endpoint"].map(|kind| format!("kind=\"{kind}\""));
        let rates = kinds.iter().map(|kind| page.rate(older, ATTEMPTS, &[kind]));
        rates.sum()
    };
    let outcome = |name: &'static str| {
        move |page: &Page, older: &Page| {
            page.rate(older, REQUESTS, &[&format!("outcome=\"{name}\"")])
        }
    };
    let retried = move |page: &Page, older: &Page| {
        outcome("recovered")(page, older) + outcome("failed_after_retries")(page, older)
    };
    let quantile = |name: &str, quantile| Line {
        name: name.to_owned(),
        values: rates
            .each(|page, older| page.quantile(older, quantile, "tower_http_retry_wait_seconds")),
    };
    let balance = Line {
        name: "balance".to_owned(),
        values: rates.each(|page, _| Some(page.sum("tower_http_retry_budget_balance_ratio", &[]))),
    };
    let panel = |title, unit, stacked, lines| Panel {
        title,
        unit,
        stacked,
        lines,
    };
    vec![
        panel(
            "Requests by outcome",
            "/s",
            true,
            rates.by(REQUESTS, "outcome"),
        ),
        panel(
            "Retry ratio",
            "",
            false,
            vec![rates.ratio("retries / requests", retries, requests)],
        ),
        panel(
            "Recovered share",
            "",
            false,
            vec![rates.ratio("recovered", outcome("recovered"), retried)],
        ),
        panel(
            "Retries that were not made",
            "/s",
            true,
            rates.by(SUPPRESSED, "reason"),
        ),
        panel(
            "Waits before retries",
            "s",
            false,
            vec![quantile("p50", 0.5), quantile("p99", 0.99)],
        ),
        panel("Budget", "", false, vec![balance]),
    ]
}

/// A panel at its place.
struct Drawn<'a> {
    corner: Place,
    /// The last time that is shown.
    end: f64,
    panel: &'a Panel,
}

impl Drawn<'_> {
    fn draw(&self, canvas: &Canvas<'_>, times: &[f64], faults: &[(f64, f64)]) -> io::Result<()> {
        let (left, top) = self.corner;
        canvas.heading(self.panel.title, (left, top - 14.0))?;
        let most = self.most();
        for (from, to) in faults {
            let corners = [self.place(*from, 1.0), self.place(*to, 0.0)];
            canvas.rectangle(corners[0], corners[1], SHADE)?;
        }
        for part in [0.0, 0.5, 1.0] {
            let y = self.place(0.0, part).1;
            canvas.line(&[(left, y), (left + PANEL.0, y)], GRID, 1)?;
            let text = format!("{}{}", short(part * most), self.panel.unit);
            canvas.text(text, (left - 5.0, y), End::Right, FAINT)?;
        }
        self.draw_lines(canvas, times, most)?;
        let floor = [self.place(0.0, 0.0), self.place(self.end, 0.0)];
        canvas.line(&floor, FAINT, 1)?;
        let mut time = 0.0;
        while time <= self.end {
            let (x, y) = self.place(time, 0.0);
            canvas.text(format!("{time} s"), (x, y + 11.0), End::Middle, FAINT)?;
            time += 3.0;
        }
        self.write_legend(canvas)
    }

    fn draw_lines(&self, canvas: &Canvas<'_>, times: &[f64], most: f64) -> io::Result<()> {
        if !self.panel.stacked {
            for (at, line) in self.panel.lines.iter().enumerate() {
                let color = line.color(at);
                // Where there is no value, the line is broken.
                let points: Vec<_> = times.iter().zip(&line.values).collect();
                for part in points.split(|(_, value)| value.is_none()) {
                    let places: Vec<_> = part
                        .iter()
                        .filter_map(|(time, value)| Some(self.place(**time, (**value)? / most)))
                        .collect();
                    if places.len() > 1 {
                        canvas.line(&places, color, 2)?;
                    }
                }
            }
            return Ok(());
        }
        // There is no rate before the first window is over.
        let known = self
            .panel
            .lines
            .iter()
            .filter_map(|line| line.values.iter().position(Option::is_some));
        let known = known.min().unwrap_or(0);
        let mut below = vec![0.0; times.len()];
        for (at, line) in self.panel.lines.iter().enumerate() {
            let color = line.color(at);
            let above: Vec<f64> = below
                .iter()
                .zip(&line.values)
                .map(|(below, value)| below + value.unwrap_or(0.0))
                .collect();
            let up = times.iter().zip(&above).skip(known);
            let back = times.iter().zip(&below).skip(known).rev();
            let corners: Vec<_> = up
                .chain(back)
                .map(|(time, value)| self.place(*time, value / most))
                .collect();
            canvas.shape(&corners, color)?;
            below = above;
        }
        Ok(())
    }

    /// Below the panel, two to a line.
    fn write_legend(&self, canvas: &Canvas<'_>) -> io::Result<()> {
        let (left, top) = self.corner;
        for (i, line) in self.panel.lines.iter().enumerate() {
            let color = line.color(i);
            let x = left + (i % 2) as f64 * 138.0;
            let y = top + PANEL.1 + 27.0 + (i / 2) as f64 * 15.0;
            canvas.rectangle((x, y - 4.0), (x + 10.0, y + 4.0), color)?;
            canvas.text(&line.name, (x + 14.0, y), End::Left, INK)?;
        }
        Ok(())
    }

    fn place(&self, time: f64, part: f64) -> Place {
        (
            self.corner.0 + (time / self.end).clamp(0.0, 1.0) * PANEL.0,
            self.corner.1 + (1.0 - part.clamp(0.0, 1.0)) * PANEL.1,
        )
    }

    /// The upper end of the scale: a round number.
    fn most(&self) -> f64 {
        let times = self.panel.lines.iter().map(|line| line.values.len()).max();
        let at = |index: usize| {
            let values = self
                .panel
                .lines
                .iter()
                .filter_map(|line| line.values.get(index).copied().flatten());
            match self.panel.stacked {
                true => values.sum(),
                false => values.fold(0.0, f64::max),
            }
        };
        let highest = (0..times.unwrap_or(0)).map(at).fold(0.0, f64::max);
        let magnitude = 10f64.powf(highest.max(1e-3).log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * magnitude);
        let fits = round.into_iter().find(|round| *round >= highest);
        fits.unwrap_or(highest)
    }
}

/// Without what says nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}
