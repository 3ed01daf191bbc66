//! What was spent, by role.

use super::SpendRow;
use crate::output::format;
use crate::report::data::ReportData;

pub fn spend(data: &ReportData) -> Vec<SpendRow> {
    let total = data.balance.total();
    let share = |cost: u64, calls: u64| {
        let (part, whole) = if total.cost.0 > 0 {
            (cost, total.cost.0)
        } else {
            (calls, total.model_calls)
        };
        (part as f64 / whole.max(1) as f64 * 100.0).round() as u32
    };
    let mut rows: Vec<SpendRow> = data
        .balance
        .spent
        .iter()
        .filter(|(_, spend)| spend.model_calls > 0 || spend.cost.0 > 0)
        .map(|(role, spend)| SpendRow {
            role: role.as_str().to_owned(),
            cost: spend.cost.to_string(),
            calls: format::count(spend.model_calls),
            input: format::count(spend.usage.input_tokens),
            output: format::count(spend.usage.output_tokens),
            share: share(spend.cost.0, spend.model_calls),
        })
        .collect();
    let lost = data.balance.lost;
    if lost.model_calls > 0 || lost.cost.0 > 0 {
        rows.push(SpendRow {
            role: "lost replies (worst case)".to_owned(),
            cost: lost.cost.to_string(),
            calls: format::count(lost.model_calls),
            input: "–".to_owned(),
            output: "–".to_owned(),
            share: share(lost.cost.0, lost.model_calls),
        });
    }
    rows
}

pub fn spend_total(data: &ReportData) -> SpendRow {
    let total = data.balance.total();
    SpendRow {
        role: "total".to_owned(),
        cost: total.cost.to_string(),
        calls: format::count(total.model_calls),
        input: format::count(total.usage.input_tokens),
        output: format::count(total.usage.output_tokens),
        share: 100,
    }
}
