//! A template that renders to one text.

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::{Environment, Value};
use serde::Serialize;

use super::checks::check_template;
use super::engine::{ENGINE, is_global, to_value};
use super::error::TemplateError;

/// The name under which each engine knows its only template.
const ONLY: &str = "t";

/// A compiled text template. Cloning shares it.
#[derive(Debug, Clone)]
pub struct TextTemplate(Arc<Compiled>);

struct Compiled {
    name: String,
    source: String,
    line_offset: u64,
    engine: Environment<'static>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled")
            .field("name", &self.name)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl TextTemplate {
    /// Compiles `source`; `name` (a file or a key path) stands in errors.
    pub fn compile(name: &str, source: &str) -> Result<Self, TemplateError> {
        Self::compile_at(name, source, 0)
    }

    /// As [`Self::compile`], for a part of a file that has `line_offset` lines before it.
    pub(super) fn compile_at(
        name: &str,
        source: &str,
        line_offset: u64,
    ) -> Result<Self, TemplateError> {
        check_template(name, source, line_offset)?;
        let mut engine = ENGINE.clone();
        engine
            .add_template_owned(ONLY, source.to_owned())
            .map_err(|error| TemplateError::from_engine(&error, name, line_offset))?;
        Ok(Self(Arc::new(Compiled {
            name: name.to_owned(),
            source: source.to_owned(),
            line_offset,
            engine,
        })))
    }

    /// The names it reads from its context, as dotted paths: `{{ steps.a.text }}` gives `["steps", "a", "text"]`. A static
    /// analysis: what a condition would skip is included, and an attribute reached by `[...]` ends the path.
    pub fn variables(&self) -> BTreeSet<Vec<String>> {
        self.0.engine.get_template(ONLY).map_or_else(
            |_| BTreeSet::new(),
            |template| dotted(template.undeclared_variables(true)),
        )
    }

    /// The name it was compiled under.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The source it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Renders with names taken from `ctx`. A [`Value`] (as [`super::render_context`] gives) is used as it is, without a
    /// copy; anything else is serialized first.
    ///
    /// # Errors
    /// A name without a value, fuel used up, or a filter used wrongly.
    pub fn render<S: Serialize>(&self, ctx: &S) -> Result<String, TemplateError> {
        self.render_value(to_value(ctx))
    }

    pub(super) fn render_value(&self, ctx: Value) -> Result<String, TemplateError> {
        self.0
            .engine
            .get_template(ONLY)
            .and_then(|template| template.render(ctx))
            .map_err(|error| TemplateError::from_engine(&error, &self.0.name, self.0.line_offset))
    }
}

/// The engine's names as paths, without those that the engine itself provides.
pub(super) fn dotted(names: impl IntoIterator<Item = String>) -> BTreeSet<Vec<String>> {
    names
        .into_iter()
        .map(|name| name.split('.').map(str::to_owned).collect::<Vec<_>>())
        .filter(|path| path.len() > 1 || !is_global(&path[0]))
        .collect()
}
