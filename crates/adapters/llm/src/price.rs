//! What models cost: a table that ships with fapo, the user's table over it, and a model entry's own price over both.

use fapo_domain::model::project::{ModelSpec, Provider};
use fapo_domain::money::Price;
use serde::Deserialize;

/// The table that ships with fapo.
pub const DEFAULT_PRICES: &str = include_str!("../prices.toml");

/// Why a price table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not TOML, or not of the table's form; the source names the line.
    #[error("the price table cannot be read")]
    Syntax(#[from] toml::de::Error),
    /// An entry that makes no sense.
    #[error("price of `{model}`: {problem}")]
    Entry {
        /// The entry's model.
        model: String,
        /// What is wrong.
        problem: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    #[serde(default)]
    price: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    provider: Provider,
    model: String,
    input: f64,
    output: f64,
    #[serde(default)]
    cached_input: Option<f64>,
    /// When it was looked up; for people.
    #[serde(default)]
    #[expect(dead_code, reason = "checked for its type, read by people")]
    noted: Option<String>,
}

/// Prices by provider and model name.
#[derive(Debug, Clone)]
pub struct PriceTable {
    /// The user's entries before those that ship; in each table the longest pattern first.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    provider: Provider,
    /// Without the `*`.
    name: String,
    prefix: bool,
    price: Price,
}

impl PriceTable {
    /// Reads a table, and a user's table whose entries win.
    ///
    /// # Errors
    /// `Syntax` or `Entry` for the first table that cannot be used.
    pub fn load(default: &str, user: Option<&str>) -> Result<Self, PriceError> {
        let mut entries = match user {
            Some(text) => read(text)?,
            None => Vec::new(),
        };
        entries.extend(read(default)?);
        Ok(Self { entries })
    }

    /// The table that ships with fapo.
    pub fn builtin() -> Self {
        Self::load(DEFAULT_PRICES, None).expect("a test reads the table that ships")
    }

    /// The price of a model: its entry's own, else the user's, else the one that ships; `None` where nobody knows.
    pub fn price(&self, spec: &ModelSpec) -> Option<Price> {
        if spec.price.is_some() {
            return spec.price;
        }
        self.entries
            .iter()
            .find(|entry| {
                entry.provider == spec.provider
                    && if entry.prefix {
                        spec.model.starts_with(&entry.name)
                    } else {
                        spec.model == entry.name
                    }
            })
            .map(|entry| entry.price)
    }
}

fn read(text: &str) -> Result<Vec<Entry>, PriceError> {
    let file: TableFile = toml::from_str(text)?;
    let mut entries = Vec::with_capacity(file.price.len());
    for row in file.price {
        let sums = [row.input, row.output, row.cached_input.unwrap_or(0.0)];
        let (name, prefix) = match row.model.strip_suffix('*') {
            Some(name) => (name, true),
            None => (row.model.as_str(), false),
        };
        let problem = if sums.iter().any(|sum| !(sum.is_finite() && *sum >= 0.0)) {
            Some("dollars must be zero or more")
        } else if name.contains('*') {
            Some("`*` may stand at the end only")
        } else {
            None
        };
        if let Some(problem) = problem {
            let model = row.model;
            return Err(PriceError::Entry { model, problem });
        }
        entries.push(Entry {
            provider: row.provider,
            name: name.to_owned(),
            prefix,
            price: Price {
                input: row.input,
                output: row.output,
                cached_input: row.cached_input,
            },
        });
    }
    // An exact name beats a prefix of the same length.
    entries.sort_by_key(|entry: &Entry| (std::cmp::Reverse(entry.name.len()), entry.prefix));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(provider: &str, model: &str) -> ModelSpec {
        serde_json::from_value(serde_json::json!({"provider": provider, "model": model})).unwrap()
    }

    #[test]
    fn the_longest_entry_that_fits_counts() {
        let table = PriceTable::builtin();
        let input = |provider, model| table.price(&spec(provider, model)).map(|price| price.input);
        assert_eq!(input("openai", "gpt-4.1"), Some(2.0));
        assert_eq!(input("openai", "gpt-4.1-mini-2025-04-14"), Some(0.4));
        assert_eq!(input("openai", "gpt-4o-mini"), Some(0.15));
        assert_eq!(input("anthropic", "claude-opus-4-1-20250805"), Some(15.0));
        assert_eq!(input("anthropic", "claude-opus-4-5-20251101"), Some(5.0));
        assert_eq!(input("openai", "claude-opus-4-5"), None);
        assert_eq!(input("openai", "gpt-4o-audio-preview"), None);
        assert_eq!(input("sim", "anything"), Some(0.0));
    }

    #[test]
    fn the_models_own_price_beats_the_users_table_which_beats_the_default() {
        let user = "[[price]]\nprovider = \"openai\"\nmodel = \"gpt-*\"\ninput = 7\noutput = 8\n";
        let table = PriceTable::load(DEFAULT_PRICES, Some(user)).unwrap();
        let mut entry = spec("openai", "gpt-4.1-mini");
        assert_eq!(table.price(&entry).unwrap().input, 7.0);
        entry.price = Some(Price::FREE);
        assert_eq!(table.price(&entry).unwrap().input, 0.0);
        assert_eq!(table.price(&spec("openai", "o3")).unwrap().input, 2.0);
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        let row = |model: &str, input: &str| {
            let text = format!(
                "[[price]]\nprovider = \"openai\"\nmodel = \"{model}\"\ninput = {input}\noutput = 1.0\n"
            );
            PriceTable::load(&text, None)
        };
        assert!(row("a*", "1.0").is_ok());
        assert!(matches!(row("a*b", "1.0"), Err(PriceError::Entry { .. })));
        assert!(matches!(row("a", "-1.0"), Err(PriceError::Entry { .. })));
        assert!(matches!(row("a", "nan"), Err(PriceError::Entry { .. })));
        assert!(matches!(row("a", "\"x\""), Err(PriceError::Syntax(_))));
        assert!(PriceTable::load("prices = 1", None).is_err());
    }
}
