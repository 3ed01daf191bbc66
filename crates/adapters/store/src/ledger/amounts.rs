//! Arithmetic on amounts: saturating, money and calls alike.

use fapo_domain::ports::ledger::Amount;

pub(super) fn plus(a: Amount, b: Amount) -> Amount {
    Amount {
        cost: a.cost + b.cost,
        model_calls: a.model_calls.saturating_add(b.model_calls),
    }
}

pub(super) fn minus(a: Amount, b: Amount) -> Amount {
    Amount {
        cost: a.cost.saturating_sub(b.cost),
        model_calls: a.model_calls.saturating_sub(b.model_calls),
    }
}

pub(super) fn least(a: Amount, b: Amount) -> Amount {
    Amount {
        cost: a.cost.min(b.cost),
        model_calls: a.model_calls.min(b.model_calls),
    }
}
