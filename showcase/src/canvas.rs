//! What the plots are drawn with.

use std::{error::Error, fmt::Display, io};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// What callers want, and get: green. What harms them: red. These two and the blue are told
/// apart by the colour-blind as well (Okabe and Ito's palette).
pub(crate) const GOOD: RGBColor = RGBColor(0, 158, 115);
pub(crate) const BAD: RGBColor = RGBColor(213, 94, 0);
pub(crate) const ASKED: RGBColor = RGBColor(86, 180, 233);
pub(crate) const FURTHER: RGBColor = RGBColor(230, 159, 0);
pub(crate) const OTHER: RGBColor = RGBColor(204, 121, 167);
pub(crate) const INK: RGBColor = RGBColor(34, 34, 34);
pub(crate) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(crate) const SHADE: RGBColor = RGBColor(226, 226, 226);
pub(crate) const GRID: RGBColor = RGBColor(238, 238, 238);

/// A place in pixels, from the upper left corner.
pub(crate) type Place = (f64, f64);

/// Which end of a text is at its place.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Left,
    Middle,
    Right,
}

pub(crate) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws a picture of `size`; its SVG.
pub(crate) fn picture(
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> io::Result<()>,
) -> io::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let canvas = Canvas(area);
    done(canvas.0.fill(&WHITE))?;
    draw(&canvas)?;
    done(canvas.0.present())?;
    drop(canvas);
    Ok(svg)
}

fn pixel((x, y): Place) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

fn done<E: Error + Send + Sync + 'static>(result: Result<(), E>) -> io::Result<()> {
    result.map_err(io::Error::other)
}

impl Canvas<'_> {
    pub(crate) fn rectangle(&self, from: Place, to: Place, color: RGBColor) -> io::Result<()> {
        done(
            self.0
                .draw(&Rectangle::new([pixel(from), pixel(to)], color.filled())),
        )
    }

    /// A filled shape.
    pub(crate) fn shape(&self, corners: &[Place], color: RGBColor) -> io::Result<()> {
        let corners: Vec<_> = corners.iter().copied().map(pixel).collect();
        done(self.0.draw(&Polygon::new(corners, color)))
    }

    pub(crate) fn line(&self, points: &[Place], color: RGBColor, width: u32) -> io::Result<()> {
        let points: Vec<_> = points.iter().copied().map(pixel).collect();
        done(
            self.0
                .draw(&PathElement::new(points, color.stroke_width(width))),
        )
    }

    /// A dashed line, straight.
    pub(crate) fn dashes(&self, from: Place, to: Place, color: RGBColor) -> io::Result<()> {
        const DASH: f64 = 5.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let at = |along: f64| {
            let part = (along / length).min(1.0);
            (from.0 + part * dx, from.1 + part * dy)
        };
        let mut along = 0.0;
        while along < length {
            self.line(&[at(along), at(along + DASH)], color, 1)?;
            along += 2.0 * DASH;
        }
        Ok(())
    }

    /// A dot, or a cross in its place.
    pub(crate) fn mark(&self, at: Place, is_dot: bool, color: RGBColor) -> io::Result<()> {
        if is_dot {
            done(self.0.draw(&Circle::new(pixel(at), 4, color.filled())))
        } else {
            done(
                self.0
                    .draw(&Cross::new(pixel(at), 4, color.stroke_width(2))),
            )
        }
    }

    pub(crate) fn text(
        &self,
        text: impl Display,
        at: Place,
        end: End,
        color: RGBColor,
    ) -> io::Result<()> {
        self.write(text, at, end, ("sans-serif", 12).into_font(), color)
    }

    pub(crate) fn heading(&self, text: impl Display, at: Place) -> io::Result<()> {
        let font = ("sans-serif", 13).into_font().style(FontStyle::Bold);
        self.write(text, at, End::Left, font, INK)
    }

    /// `at` is half-way up the text.
    fn write(
        &self,
        text: impl Display,
        at: Place,
        end: End,
        font: FontDesc<'_>,
        color: RGBColor,
    ) -> io::Result<()> {
        let end = match end {
            End::Left => HPos::Left,
            End::Middle => HPos::Center,
            End::Right => HPos::Right,
        };
        let style = font.color(&color).pos(Pos::new(end, VPos::Center));
        done(self.0.draw(&Text::new(text.to_string(), pixel(at), style)))
    }
}
