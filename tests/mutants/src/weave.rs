//! Writes the mutants of one file into it.

use std::{collections::BTreeMap, error::Error, fmt::Write, ops::Range};

use serde::Serialize;
use syn::visit::Visit;

use crate::{
    Mutant, Position,
    site::{How, Site, Sites},
};

/// Where a mutant stands in the changed file.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    id: u32,
    start: usize,
    end: usize,
    /// The function.
    item: (usize, usize),
    /// Whether it is an arm of a match, without which the match may not be complete.
    arm: bool,
}

/// What is written around or into one range.
#[derive(Default)]
struct Edit<'m> {
    mutants: Vec<(&'m Site, &'m Mutant)>,
}

/// Returns the changed file, and where each mutant stands in it.
pub(crate) fn weave(
    source: &str,
    mutants: &[Mutant],
) -> Result<(String, Vec<Place>), Box<dyn Error>> {
    let file = syn::parse_file(source)?;
    let lines: Vec<_> = std::iter::once(0)
        .chain(source.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let at = |position: &Position| {
        let start = lines[position.line - 1];
        source[start..]
            .char_indices()
            .nth(position.column - 1)
            .map_or(source.len(), |(offset, _)| start + offset)
    };
    let spans = mutants
        .iter()
        .map(|m| (at(&m.span.start)..at(&m.span.end), m));
    let mut sites = Sites::new(spans);
    sites.visit_file(&file);
    if sites.left() > 0 {
        eprintln!("{} mutants stand at no code that was found", sites.left());
    }
    let mut edits: BTreeMap<(usize, std::cmp::Reverse<usize>, u8), Edit<'_>> = BTreeMap::new();
    for (site, mutant) in &sites.found {
        // A guard's own mutants go around those of its operators.
        let of_guard = match &site.how {
            How::Instead(cut) => *cut == site.range,
            How::Never => true,
            How::Return | How::Guard | How::Field { .. } => false,
        };
        let rank = u8::from(!of_guard);
        let key = (site.range.start, std::cmp::Reverse(site.range.end), rank);
        edits.entry(key).or_default().mutants.push((site, mutant));
    }
    let edits: Vec<_> = edits
        .into_iter()
        .map(|((start, end, _), edit)| (start..end.0, edit))
        .collect();
    let mut writer = Writer {
        source,
        out: String::new(),
        places: Vec::new(),
        moved: Vec::new(),
        consts: &sites.consts,
    };
    writer.range(0..source.len(), &edits);
    let (out, mut places, moved) = (writer.out, writer.places, writer.moved);
    let new = |old: usize| {
        let index = moved.partition_point(|(from, _)| *from <= old);
        index
            .checked_sub(1)
            .map_or(old, |i| moved[i].1 + (old - moved[i].0))
    };
    for place in &mut places {
        place.item = (new(place.item.0), new(place.item.1));
    }
    Ok((out, places))
}

struct Writer<'s> {
    source: &'s str,
    out: String,
    places: Vec<Place>,
    /// Where text of the source begins in the changed file.
    moved: Vec<(usize, usize)>,
    consts: &'s [Range<usize>],
}

impl Writer<'_> {
    /// Copies a range, with what is to be changed in it.
    fn range(&mut self, range: Range<usize>, edits: &[(Range<usize>, Edit<'_>)]) {
        let mut at = range.start;
        let mut rest = edits;
        while let Some(((inner, edit), others)) = rest.split_first() {
            // What is inside of this one.
            let count = others
                .iter()
                .take_while(|(r, _)| r.end <= inner.end && !inner.is_empty())
                .count();
            let (inside, after) = others.split_at(count);
            self.copy(at..inner.start);
            self.edit(inner.clone(), edit, inside);
            at = inner.end;
            rest = after;
        }
        self.copy(at..range.end);
    }

    fn copy(&mut self, range: Range<usize>) {
        let mut at = range.start;
        for word in self.consts.iter().filter(|w| range.contains(&w.start)) {
            self.moved.push((at, self.out.len()));
            self.out.push_str(&self.source[at..word.start]);
            at = word.end;
        }
        self.moved.push((at, self.out.len()));
        self.out.push_str(&self.source[at..range.end]);
    }

    fn place(&mut self, start: usize, site: &Site, mutant: &Mutant) {
        let end = self.out.len();
        let arm = matches!(site.how, How::Guard | How::Never);
        let item = (site.item.start, site.item.end);
        self.places.push(Place {
            id: mutant.id,
            start,
            end,
            item,
            arm,
        });
    }

    fn edit(&mut self, range: Range<usize>, edit: &Edit<'_>, inside: &[(Range<usize>, Edit<'_>)]) {
        let wraps = !range.is_empty();
        let mut field = None;
        if let Some((
            Site {
                how: How::Field { name, .. },
                ..
            },
            _,
        )) = edit.mutants.first()
        {
            field = name.split_once(':').map(|(name, _)| name.to_owned());
        }
        if let Some(name) = &field {
            let _ = write!(self.out, "{name}: ");
        }
        if wraps {
            self.out.push('(');
        }
        for (site, mutant) in &edit.mutants {
            let (start, id) = (self.out.len(), mutant.id);
            let _ = match &site.how {
                How::Return => write!(
                    self.out,
                    "if crate::mutant({id}) {{ return {}; }} ",
                    mutant.replacement
                ),
                How::Instead(cut) => write!(
                    self.out,
                    "if crate::mutant({id}) {{ {}{}{} }} else ",
                    &self.source[range.start..cut.start],
                    mutant.replacement,
                    &self.source[cut.end..range.end],
                ),
                How::Guard => write!(self.out, " if !crate::mutant({id})"),
                How::Never => write!(self.out, "if crate::mutant({id}) {{ false }} else "),
                How::Field { name, base } => {
                    let name = name.split(':').next().unwrap_or_default();
                    write!(
                        self.out,
                        "if crate::mutant({id}) {{ ({}).{name} }} else ",
                        &self.source[base.clone()]
                    )
                }
            };
            self.place(start, site, mutant);
        }
        if wraps {
            self.out.push('{');
            self.range(range, inside);
            self.out.push_str("})");
        }
    }
}
