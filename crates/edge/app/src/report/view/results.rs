//! Baseline against best, and the best with and without changes of structure.

use super::{ResultRow, StructureCard, name};
use crate::output::format;
use crate::report::data::{Candidate, ReportData, Score, Versus};

pub fn results(data: &ReportData) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    if let Some(val) = &data.val {
        rows.push(result("validation", "chose the winner", val, data));
    }
    if let Some(test) = &data.test {
        rows.push(result("sealed test", "opened once", test, data));
    }
    rows
}

fn result(
    split: &'static str,
    note: &'static str,
    versus: &Versus,
    data: &ReportData,
) -> ResultRow {
    let interval = |score: &Score| format::percent_interval(score.low, score.high);
    let comparison = versus.comparison.as_ref().filter(|_| data.improved());
    let none = || "–".to_owned();
    let mut names: Vec<&String> = versus.baseline.metrics.keys().collect();
    names.retain(|name| **name != data.metric);
    let value = |score: &Score, name: &String| {
        score
            .metrics
            .get(name)
            .map_or_else(none, |value| format::percent(*value))
    };
    let sides = [&versus.baseline, &versus.best];
    // a free model has no cost ratio, but calls take time and elsewhere money
    let [calls, other_calls] =
        sides.map(|score| score.calls_per_case().map_or_else(none, format::per_case));
    let [usd, other_usd] = sides.map(|score| score.usd_per_case().map_or_else(none, format::usd));
    ResultRow {
        split,
        note,
        baseline: format::percent(versus.baseline.mean),
        baseline_interval: interval(&versus.baseline),
        best: format::percent(versus.best.mean),
        best_interval: interval(&versus.best),
        gain: comparison.map_or_else(none, |c| format::points(c.gain)),
        gain_interval: comparison.map_or_else(none, |c| {
            format::points_interval(c.interval.0, c.interval.1)
        }),
        p: comparison.map_or_else(none, |c| format::p_value(c.p_value)),
        pairs: comparison.map_or_else(
            || format::counted(versus.baseline.counted, "case"),
            |c| {
                format!(
                    "{}, {} won, {} lost",
                    format::counted(c.pairs, "pair"),
                    c.wins,
                    c.losses
                )
            },
        ),
        cost_ratio: comparison
            .and_then(|c| c.cost_ratio)
            .map_or_else(none, format::ratio),
        metrics: names
            .into_iter()
            .map(|name| {
                (
                    name.clone(),
                    value(&versus.baseline, name),
                    value(&versus.best, name),
                )
            })
            .chain([
                ("model calls per case".to_owned(), calls, other_calls),
                ("dollars per case".to_owned(), usd, other_usd),
            ])
            .collect(),
    }
}

pub fn structure(data: &ReportData, fixed: Option<&Candidate>) -> Vec<StructureCard> {
    let card = |title, note, candidate: &Candidate| {
        let test = data.test.as_ref().and_then(|test| {
            if candidate.variant == data.best {
                Some(&test.best)
            } else if candidate.parent.is_none() {
                Some(&test.baseline)
            } else {
                None
            }
        });
        StructureCard {
            title,
            note,
            variant: candidate.variant.short(),
            name: name(candidate),
            val: candidate
                .val
                .as_ref()
                .map_or_else(|| "–".to_owned(), |score| format::percent(score.mean)),
            val_interval: candidate.val.as_ref().map_or_else(String::new, |score| {
                format::percent_interval(score.low, score.high)
            }),
            test: test.map(|score| format::percent(score.mean)),
            path: data
                .path_to(candidate.variant)
                .iter()
                .skip(1)
                .map(|step| name(step))
                .collect(),
        }
    };
    let mut cards = Vec::new();
    if let Some(fixed) = fixed {
        cards.push(card(
            "Structure kept",
            "the best reached by prompts and parameters alone",
            fixed,
        ));
    }
    if let Some(free) = data.find(data.best) {
        cards.push(card("Structure free", "the best of all", free));
    }
    cards
}
