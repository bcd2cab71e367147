//! Finds the code that each mutant is about.

use std::{collections::HashMap, ops::Range};

use syn::{
    BinOp, Block, ExprBinary, ExprMatch, ExprStruct, ExprUnary, ImplItemFn, ItemFn, Signature,
    TraitItemFn, spanned::Spanned, visit::Visit,
};

use crate::{Genre, Mutant};

/// Where a mutant is written, and how.
#[derive(Debug)]
pub(crate) struct Site {
    /// What is wrapped; empty where something is put between.
    pub(crate) range: Range<usize>,
    /// The function it is in, if it is in one.
    pub(crate) item: Range<usize>,
    pub(crate) how: How,
}

#[derive(Debug)]
pub(crate) enum How {
    /// `if alive { return … }` in front of a body.
    Return,
    /// One of several expressions: what is cut out of the range, to be replaced.
    Instead(Range<usize>),
    /// A guard for a match's arm that has none.
    Guard,
    /// The guard of an arm that is never to match.
    Never,
    /// A field of a structure that takes the others from this.
    Field { name: String, base: Range<usize> },
}

/// Reads a file for the sites of its mutants.
pub(crate) struct Sites<'m> {
    wanted: HashMap<(Kind, Range<usize>), Vec<&'m Mutant>>,
    item: Range<usize>,
    pub(crate) found: Vec<(Site, &'m Mutant)>,
    /// The `const` of functions that can be none while they ask.
    pub(crate) consts: Vec<Range<usize>>,
}

/// What a span of cargo-mutants is the span of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Body,
    Operator,
    Not,
    Arm,
    Guard,
    Field,
}

impl Kind {
    pub(crate) fn of(genre: Genre) -> Self {
        match genre {
            Genre::FnValue => Self::Body,
            Genre::BinaryOperator => Self::Operator,
            Genre::UnaryOperator => Self::Not,
            Genre::MatchArm => Self::Arm,
            Genre::MatchArmGuard => Self::Guard,
            Genre::StructField => Self::Field,
        }
    }
}

impl<'m> Sites<'m> {
    pub(crate) fn new(mutants: impl Iterator<Item = (Range<usize>, &'m Mutant)>) -> Self {
        let mut wanted: HashMap<_, Vec<_>> = HashMap::new();
        for (range, mutant) in mutants {
            let key = (Kind::of(mutant.genre), range);
            wanted.entry(key).or_default().push(mutant);
        }
        Self {
            wanted,
            item: 0..0,
            found: Vec::new(),
            consts: Vec::new(),
        }
    }

    /// How many mutants stand where no code was found.
    pub(crate) fn left(&self) -> usize {
        self.wanted.values().map(Vec::len).sum()
    }

    fn take(
        &mut self,
        kind: Kind,
        range: Range<usize>,
        site: impl Fn() -> (Range<usize>, How),
    ) -> bool {
        let Some(mutants) = self.wanted.remove(&(kind, range)) else {
            return false;
        };
        for mutant in mutants {
            let (range, how) = site();
            let item = self.item.clone();
            self.found.push((Site { range, item, how }, mutant));
        }
        true
    }

    fn function(&mut self, signature: &Signature, block: &Block, visit: impl FnOnce(&mut Self)) {
        let whole = signature.span().byte_range().start..block.span().byte_range().end;
        let outer = std::mem::replace(&mut self.item, whole);
        let before = self.found.len();
        if let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) {
            let (start, end) = (
                first.span().byte_range().start,
                last.span().byte_range().end,
            );
            self.take(Kind::Body, start..end, || (start..start, How::Return));
        }
        visit(self);
        if let (true, Some(word)) = (self.found.len() > before, signature.constness) {
            self.consts.push(word.span.byte_range());
        }
        self.item = outer;
    }
}

impl<'ast> Visit<'ast> for Sites<'_> {
    fn visit_item_fn(&mut self, node: &'ast ItemFn) {
        self.function(&node.sig, &node.block, |it| {
            syn::visit::visit_item_fn(it, node)
        });
    }

    fn visit_impl_item_fn(&mut self, node: &'ast ImplItemFn) {
        self.function(&node.sig, &node.block, |it| {
            syn::visit::visit_impl_item_fn(it, node)
        });
    }

    fn visit_trait_item_fn(&mut self, node: &'ast TraitItemFn) {
        if let Some(block) = &node.default {
            self.function(&node.sig, block, |it| {
                syn::visit::visit_trait_item_fn(it, node)
            });
        }
    }

    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        let whole = node.span().byte_range();
        let operator = operator(&node.op);
        self.take(Kind::Operator, operator.clone(), || {
            (whole.clone(), How::Instead(operator.clone()))
        });
        syn::visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        let (whole, operator) = (node.span().byte_range(), node.op.span().byte_range());
        self.take(Kind::Not, operator.clone(), || {
            (whole.clone(), How::Instead(operator.clone()))
        });
        syn::visit::visit_expr_unary(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast ExprMatch) {
        for arm in &node.arms {
            let span = arm.span().byte_range();
            let pattern = arm.pat.span().byte_range().end;
            let guard = arm
                .guard
                .as_ref()
                .map(|(_, guard)| guard.span().byte_range());
            let site = || match &guard {
                None => (pattern..pattern, How::Guard),
                Some(guard) => (guard.clone(), How::Never),
            };
            // With the comma behind it, or without.
            let _ = self.take(Kind::Arm, span.clone(), site)
                || self.take(
                    Kind::Arm,
                    span.start..arm.body.span().byte_range().end,
                    site,
                );
            if let Some(guard) = guard {
                self.take(Kind::Guard, guard.clone(), || {
                    (guard.clone(), How::Instead(guard.clone()))
                });
            }
        }
        syn::visit::visit_expr_match(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast ExprStruct) {
        if let Some(base) = &node.rest {
            for field in &node.fields {
                let span = field.span().byte_range();
                let (value, base) = (field.expr.span().byte_range(), base.span().byte_range());
                let syn::Member::Named(name) = &field.member else {
                    continue;
                };
                // `Name { field, ..base }` has no value of its own to wrap.
                let how = |name: String| How::Field {
                    name,
                    base: base.clone(),
                };
                let name = name.to_string();
                let shorthand = field.colon_token.is_none();
                let key = [span.clone(), span.start..span.end + 1]
                    .into_iter()
                    .find(|range| self.wanted.contains_key(&(Kind::Field, range.clone())));
                if let Some(key) = key {
                    self.take(Kind::Field, key, || {
                        let name = if shorthand {
                            format!("{name}:{name}")
                        } else {
                            name.clone()
                        };
                        (value.clone(), how(name))
                    });
                }
            }
        }
        syn::visit::visit_expr_struct(self, node);
    }
}

fn operator(op: &BinOp) -> Range<usize> {
    op.span().byte_range()
}
