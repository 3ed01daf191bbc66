//! A condition: an expression that is true or false.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::Expression;
use serde::Serialize;

use super::checks::unknown_operation;
use super::engine::{ENGINE, to_value};
use super::error::{TemplateError, TemplateErrorKind};
use super::text::dotted;

/// A compiled `when`: a minijinja expression without braces, such as `steps.route.text == "hard"`. Null, empty texts,
/// empty lists and 0 are false. Cloning shares it.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    expression: Arc<Expression<'static, 'static>>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl Condition {
    /// Compiles an expression.
    pub fn compile(expr: &str) -> Result<Self, TemplateError> {
        if expr.contains("{{") || expr.contains("{%") {
            return Err(TemplateError::new(
                TemplateErrorKind::Syntax,
                "condition",
                None,
                "a condition is written without braces, such as `steps.check.text == \"no\"`",
            ));
        }
        if expr.trim().is_empty() {
            return Err(TemplateError::new(
                TemplateErrorKind::Syntax,
                "condition",
                None,
                "the condition is empty",
            ));
        }
        let expression = ENGINE
            .compile_expression_owned(expr.to_owned())
            .map_err(|error| {
                let mut error = TemplateError::from_engine(&error, "condition", 0);
                error.line = None;
                error
            })?;
        if let Some(message) = unknown_operation(expr) {
            return Err(TemplateError::new(
                TemplateErrorKind::Syntax,
                "condition",
                None,
                message,
            ));
        }
        Ok(Self {
            source: Arc::from(expr),
            expression: Arc::new(expression),
        })
    }

    /// The names it reads, as [`super::TextTemplate::variables`] gives them.
    pub fn variables(&self) -> BTreeSet<Vec<String>> {
        dotted(self.expression.undeclared_variables(true))
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// A name without a value, or an operation on values that do not fit it.
    pub fn eval<S: Serialize>(&self, ctx: &S) -> Result<bool, TemplateError> {
        let value = self.expression.eval(to_value(ctx)).map_err(|error| {
            let mut error = TemplateError::from_engine(&error, "condition", 0);
            error.line = None;
            error
        })?;
        if value.is_undefined() {
            let mut error = TemplateError::new(
                TemplateErrorKind::Undefined,
                "condition",
                None,
                format!("`{}` has no value here", self.source.trim()),
            );
            error.variable = Some(self.source.trim().to_owned());
            return Err(error);
        }
        Ok(value.is_true())
    }
}
